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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MAX_SWAPPINESS = 100


def settings(resources: Mapping[str, Any]) -> tuple[list[Setting], list[str]]:
    """What to write, in a good order, and the names of what v1 has no meaning for. Devices: see ``devices``.

    Raises: Invalid.
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
    if section(resources, "unified"):
        ignored.append("unified")
    return wanted, ignored


def _memory(memory: Mapping[str, Any], ignored: list[str]) -> list[Setting]:
    found: list[Setting] = []
    limit = integer("memory", memory, "limit")
    swap = integer("memory", memory, "swap")
    if limit == -1 and not swap:
        swap = -1  # unlimited memory would be refused while memory+swap is limited
    if limit and limit > 0 and swap and 0 < swap < limit:
        raise refuse("memory.swap", f"memory and swap together, {swap}, are below memory.limit, {limit}")
    for name, file, value in (
        ("limit", "memory.limit_in_bytes", limit),
        ("swap", "memory.memsw.limit_in_bytes", swap),
        ("reservation", "memory.soft_limit_in_bytes", integer("memory", memory, "reservation")),
    ):
        if value:
            found.append(Setting(f"memory.{name}", "memory", (file, str(value))))
    swappiness = integer("memory", memory, "swappiness", highest=MAX_SWAPPINESS)
    if swappiness is not None and swappiness >= 0:
        found.append(Setting("memory.swappiness", "memory", ("memory.swappiness", str(swappiness))))
    # A group without OOM killer does not die, it hangs, for ever and unkillably as long as nobody raises its
    # limit.
    if boolean("memory", memory, "disableOOMKiller"):
        ignored.append("memory.disableOOMKiller")
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
            found.append(Setting(f"cpu.{name}", "cpu", (file, str(value))))
    if idle is not None:
        found.append(Setting("cpu.idle", "cpu", ("cpu.idle", str(idle))))
    for name in ("cpus", "mems"):
        listed = line("cpu", cpu, name)
        if listed:
            parse_cpu_list(listed)
            found.append(Setting(f"cpu.{name}", "cpuset", (f"cpuset.{name}", listed)))
    return found


def _pids(pids: Mapping[str, Any]) -> list[Setting]:
    limit = integer("pids", pids, "limit")
    if limit is None:
        return []
    # 0 has always meant "no limit" to runc and docker; a limit of 0 could not even hold the first process.
    return [Setting("pids.limit", "pids", ("pids.max", str(limit) if limit > 0 else "max"))]


def _block_io(block: Mapping[str, Any]) -> list[Setting]:
    found: list[Setting] = []
    lowest, highest = MIN_BLKIO_WEIGHT, MAX_BLKIO_WEIGHT
    weight = integer("blockIO", block, "weight", lowest=0, highest=highest)
    if weight:
        if weight < lowest:
            raise refuse("blockIO.weight", f"{weight} is not between {lowest} and {highest}")
        choices = (("blkio.weight", str(weight)), ("blkio.bfq.weight", str(weight)))
        found.append(Setting("blockIO.weight", "blkio", *choices))
    for where, item in items(block, "weightDevice"):
        value = integer(where, item, "weight", lowest=0, highest=highest)
        if value:
            text = f"{device_number(where, item)} {value}"
            choices = (("blkio.weight_device", text), ("blkio.bfq.weight_device", text))
            found.append(Setting("blockIO.weightDevice", "blkio", *choices))
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


def huge_page_size(where: str, item: Mapping[str, Any]) -> str:
    """The page size of a hugepageLimits entry, as it is part of a file name: ``2MB``.

    Raises: Invalid.
    """
    size = line(where, item, "pageSize") or ""
    if not (size[:-2].isascii() and size[:-2].isdigit() and size[-2:] in ("KB", "MB", "GB")):
        raise refuse(f"{where}.pageSize", f"it must be a size such as 2MB, not {size!r}")
    return size


def _huge_pages(resources: Mapping[str, Any]) -> list[Setting]:
    found: list[Setting] = []
    for where, item in items(resources, "hugepageLimits"):
        size = huge_page_size(where, item)
        limit = str(integer(where, item, "limit", lowest=0) or 0)
        found.append(Setting("hugepageLimits", "hugetlb", (f"hugetlb.{size}.limit_in_bytes", limit)))
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
