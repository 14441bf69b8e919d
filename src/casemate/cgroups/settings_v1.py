"""``linux.resources`` of the runtime-spec as settings of cgroup v1. Pure.

Source: runtime-spec config-linux.md "Control groups"; kernel Documentation/admin-guide/cgroup-v1.
"""

from __future__ import annotations

from casemate.cgroups.convert import (
    MAX_BLKIO_WEIGHT,
    MAX_SHARES,
    MIN_BLKIO_WEIGHT,
    MIN_SHARES,
    parse_cpu_list,
)
from casemate.cgroups.fields import boolean, device_number, integer, items, line, refuse, section
from casemate.cgroups.settings import Setting
from casemate.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MAX_SWAPPINESS = 100
_LARGEST_UINT64 = (1 << 64) - 1


def settings(resources: Mapping[str, Any]) -> tuple[list[Setting], list[str]]:
    """What to write, in a good order, and the names of what v1 has no meaning for. Devices: see ``devices``.

    Raises: Invalid, Unsupported (``unified``).
    """
    ignored: list[str] = []
    wanted = [
        *_memory(section(resources, "memory"), ignored),
        *_cpu(section(resources, "cpu")),
        *_pids(section(resources, "pids")),
        *_block_io(section(resources, "blockIO")),
        *_huge_pages(resources),
        *_network(section(resources, "network")),
        *_rdma(section(resources, "rdma")),
    ]
    _refuse_unified(section(resources, "unified"))
    return wanted, ignored


def _refuse_unified(unified: Mapping[str, Any]) -> None:
    """Its keys are v2's file names: none of them would be set.

    Raises: Unsupported.
    """
    if unified:
        keys = ", ".join(f"unified.{key}" for key in unified)
        raise Unsupported(
            "limit the container",
            keys,
            "these are control files of cgroup v2, and this machine has v1",
            hint="use memory, cpu, pids and the like, or boot with systemd.unified_cgroup_hierarchy=1",
        )


def _memory(memory: Mapping[str, Any], ignored: list[str]) -> list[Setting]:
    found: list[Setting] = []
    limit = integer("memory", memory, "limit")
    swap = integer("memory", memory, "swap")
    lifted = limit == -1 and not swap
    if lifted:
        swap = -1  # unlimited memory would be refused while memory+swap is limited
    if limit and limit > 0 and swap and 0 < swap < limit:
        raise refuse("memory.swap", f"memory and swap together, {swap}, are below memory.limit, {limit}")
    for name, file, value in (
        ("limit", "memory.limit_in_bytes", limit),
        ("swap", "memory.memsw.limit_in_bytes", swap),
        ("reservation", "memory.soft_limit_in_bytes", integer("memory", memory, "reservation")),
    ):
        if value:
            optional = name == "swap" and lifted  # nobody asked for it where swap is not counted
            found.append(Setting(f"memory.{name}", "memory", (file, str(value)), optional=optional))
    swappiness = integer("memory", memory, "swappiness", highest=MAX_SWAPPINESS)
    if swappiness is not None and swappiness >= 0:
        found.append(Setting("memory.swappiness", "memory", ("memory.swappiness", str(swappiness))))
    # Whoever asks for this gets processes that wait, killable, until somebody raises the limit.
    if boolean("memory", memory, "disableOOMKiller"):
        found.append(Setting("memory.disableOOMKiller", "memory", ("memory.oom_control", "1")))
    # Since Linux 5.11 every group is hierarchical, as every group of ours was before.
    if boolean("memory", memory, "useHierarchy") is False:
        ignored.append("memory.useHierarchy")
    boolean("memory", memory, "checkBeforeUpdate")  # v1 refuses a limit below the usage by itself
    # Kernel memory has been part of limit since Linux 4.5; its own limits are deprecated, and runc ignores
    # them too.
    kernel = ("kernel", "kernelTCP")
    ignored += [f"memory.{key}" for key in kernel if (integer("memory", memory, key) or 0) > 0]
    return found


def _cpu(cpu: Mapping[str, Any]) -> list[Setting]:
    found: list[Setting] = []
    idle = integer("cpu", cpu, "idle", lowest=0, highest=1)
    shares = integer("cpu", cpu, "shares", lowest=0)
    if shares:
        if not MIN_SHARES <= shares <= MAX_SHARES:
            raise refuse("cpu.shares", f"{shares} is not between {MIN_SHARES} and {MAX_SHARES}")
        if not idle:  # an idle group has no shares: the kernel refuses to set them
            found.append(Setting("cpu.shares", "cpu", ("cpu.shares", str(shares))))
    for name, file in (
        ("period", "cpu.cfs_period_us"),
        ("quota", "cpu.cfs_quota_us"),
        ("burst", "cpu.cfs_burst_us"),
        ("realtimePeriod", "cpu.rt_period_us"),
        ("realtimeRuntime", "cpu.rt_runtime_us"),
    ):
        value = integer("cpu", cpu, name)
        if value or (value == 0 and name == "burst"):
            found.append(Setting(f"cpu.{name}", "cpu", (file, str(value)), optional=value == 0))
    if idle is not None:
        found.append(Setting("cpu.idle", "cpu", ("cpu.idle", str(idle)), optional=idle == 0))
    for name in ("cpus", "mems"):
        listed = line("cpu", cpu, name)
        if listed:
            parse_cpu_list(listed)
            found.append(Setting(f"cpu.{name}", "cpuset", (f"cpuset.{name}", listed)))
    return found


def _pids(pids: Mapping[str, Any]) -> list[Setting]:
    text = pids_text(pids)
    return [] if text is None else [Setting("pids.limit", "pids", ("pids.max", text))]


def pids_text(pids: Mapping[str, Any]) -> str | None:
    """The content of pids.max, which is the same file in both versions; None when no limit is asked for.

    0 is a limit (runtime-spec 1.3); the first process joins from outside, which is not counted against it, so 1 is the
    same and is what systemd takes.
    Raises: Invalid.
    """
    limit = integer("pids", pids, "limit")
    return None if limit is None else "max" if limit < 0 else str(limit or 1)


def _block_io(block: Mapping[str, Any]) -> list[Setting]:
    found = _weight(block, "weight", ("blkio.weight", "blkio.bfq.weight"))
    found += _weight(block, "leafWeight", ("blkio.leaf_weight",))
    for where, item in items(block, "weightDevice"):
        number = device_number(where, item)
        for key, files in (
            ("weight", ("blkio.weight_device", "blkio.bfq.weight_device")),
            ("leafWeight", ("blkio.leaf_weight_device",)),
        ):
            value = weight_of(where, item, key)
            if value:
                choices = [(file, f"{number} {value}") for file in files]
                found.append(Setting(f"blockIO.weightDevice.{key}", "blkio", *choices))
    for key, file in (
        ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
        ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
        ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
        ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
    ):
        for where, item in items(block, key):
            rate = integer(where, item, "rate", lowest=0) or 0
            found.append(Setting(f"blockIO.{key}", "blkio", (file, f"{device_number(where, item)} {rate}")))
    return found


def _weight(block: Mapping[str, Any], key: str, files: tuple[str, ...]) -> list[Setting]:
    value = weight_of("blockIO", block, key)
    return [Setting(f"blockIO.{key}", "blkio", *[(file, str(value)) for file in files])] if value else []


def weight_of(where: str, fields: Mapping[str, Any], key: str) -> int:
    """A block weight as v1 and BFQ count it, 10 to 1000; 0 when there is none.

    Raises: Invalid.
    """
    value = integer(where, fields, key, lowest=0, highest=MAX_BLKIO_WEIGHT) or 0
    if value and value < MIN_BLKIO_WEIGHT:
        raise refuse(f"{where}.{key}", f"{value} is not between {MIN_BLKIO_WEIGHT} and {MAX_BLKIO_WEIGHT}")
    return value


def huge_page_size(where: str, item: Mapping[str, Any]) -> str:
    """The page size of a hugepageLimits entry, as it is part of a file name: ``2MB``.

    Raises: Invalid.
    """
    size = line(where, item, "pageSize") or ""
    if not (size[:-2].isascii() and size[:-2].isdigit() and size[-2:] in ("KB", "MB", "GB")):
        raise refuse(f"{where}.pageSize", f"it must be a size such as 2MB, not {size!r}")
    return size


def _huge_pages(resources: Mapping[str, Any]) -> list[Setting]:
    """Both what is in use and what is reserved; a hybrid machine may have the controller on its v2 side."""
    return huge_page_settings(resources, "limit_in_bytes", "max")


def huge_page_settings(resources: Mapping[str, Any], *suffixes: str) -> list[Setting]:
    """The settings of hugepageLimits for files that end like this, the first that exists.

    Raises: Invalid.
    """
    found: list[Setting] = []
    for where, item in items(resources, "hugepageLimits"):
        size = huge_page_size(where, item)
        limit = str(integer(where, item, "limit", lowest=0, highest=_LARGEST_UINT64) or 0)
        for kind, optional in (("", False), (".rsvd", True)):  # reservations are counted since Linux 5.7
            choices = [(f"hugetlb.{size}{kind}.{suffix}", limit) for suffix in suffixes]
            found.append(Setting("hugepageLimits", "hugetlb", *choices, optional=optional))
    return found


def _network(network: Mapping[str, Any]) -> list[Setting]:
    found: list[Setting] = []
    class_id = integer("network", network, "classID", lowest=0, highest=0xFFFFFFFF)
    if class_id:
        found.append(Setting("network.classID", "net_cls", ("net_cls.classid", str(class_id))))
    for where, item in items(network, "priorities"):
        name = line(where, item, "name") or ""
        if not name or " " in name:
            raise refuse(f"{where}.name", f"{name!r} is not the name of an interface")
        priority = integer(where, item, "priority", lowest=0, highest=0xFFFFFFFF) or 0
        found.append(Setting("network.priorities", "net_prio", ("net_prio.ifpriomap", f"{name} {priority}")))
    return found


def _rdma(rdma: Mapping[str, Any]) -> list[Setting]:
    return [Setting("rdma", "rdma", ("rdma.max", text)) for text in rdma_lines(rdma)]


def rdma_lines(rdma: Mapping[str, Any]) -> list[str]:
    """``device hca_handle=N hca_object=N`` for each device; the same file in both versions.

    Raises: Invalid.
    """
    lines: list[str] = []
    for device in rdma:
        if not device or not device.isprintable() or " " in device or "/" in device:
            raise refuse("rdma", f"{device!r} is not the name of a device")
        limits = {} if rdma[device] is None else rdma[device]
        if not isinstance(limits, dict):
            raise refuse(f"rdma.{device}", "it must be an object")
        words = [device]
        for key, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            value = integer(f"rdma.{device}", limits, key, lowest=0)
            if value is not None:
                words.append(f"{word}={value}")
        if len(words) > 1:
            lines.append(" ".join(words))
    return lines
