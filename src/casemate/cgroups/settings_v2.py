"""``linux.resources`` of the runtime-spec as settings of cgroup v2. Pure.

Source: runtime-spec config-linux.md "Control groups", "Unified"; kernel
Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

from casemate.cgroups.convert import (
    blkio_weight_to_io_weight,
    cpu_max_text,
    cpu_shares_to_weight,
    limit_text,
    parse_cpu_list,
    swap_alone,
)
from casemate.cgroups.fields import boolean, device_number, integer, items, line, refuse, section
from casemate.cgroups.settings import Setting
from casemate.cgroups.settings_v1 import (
    MAX_SWAPPINESS,
    huge_page_settings,
    pids_text,
    rdma_lines,
    weight_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: Files of the core that a "unified" map may set; the others move or kill processes or belong to the parent.
_UNIFIED_CORE = frozenset({"cgroup.max.depth", "cgroup.max.descendants", "cgroup.pressure"})


def settings(resources: Mapping[str, Any]) -> tuple[list[Setting], list[str]]:
    """What to write, in a good order, and the names of what v2 has no meaning for. Devices: see ``devices``.

    Raises: Invalid.
    """
    ignored: list[str] = []
    wanted = [
        *_memory(section(resources, "memory"), ignored),
        *_cpu(section(resources, "cpu"), ignored),
        *_pids(section(resources, "pids")),
        *_block_io(section(resources, "blockIO"), ignored),
        *huge_page_settings(resources, "max"),
        *[Setting("rdma", "rdma", ("rdma.max", text)) for text in rdma_lines(section(resources, "rdma"))],
        *_unified(section(resources, "unified")),
    ]
    network = section(resources, "network")
    ignored += [f"network.{key}" for key in ("classID", "priorities") if network.get(key)]
    return wanted, ignored


def controllers(wanted: list[Setting]) -> list[str]:
    """The controllers that these settings need, each once, sorted."""
    return sorted({setting.controller for setting in wanted if setting.controller != "cgroup"})


def _memory(memory: Mapping[str, Any], ignored: list[str]) -> list[Setting]:
    found: list[Setting] = []
    limit = integer("memory", memory, "limit") or 0
    swap = swap_alone(limit, integer("memory", memory, "swap") or 0)
    if swap is not None:
        # Where swap is not counted there is none to limit; only a real limit would be missing.
        choice = ("memory.swap.max", limit_text(swap))
        found.append(Setting("memory.swap", "memory", choice, optional=swap <= 0))
    if limit:
        found.append(Setting("memory.limit", "memory", ("memory.max", limit_text(limit))))
    reservation = integer("memory", memory, "reservation")
    if reservation:
        found.append(Setting("memory.reservation", "memory", ("memory.low", limit_text(reservation))))
    unknown = ("kernel", "kernelTCP")
    ignored += [f"memory.{key}" for key in unknown if (integer("memory", memory, key) or 0) > 0]
    swappiness = integer("memory", memory, "swappiness", highest=MAX_SWAPPINESS)
    if swappiness is not None and swappiness >= 0:
        ignored.append("memory.swappiness")
    if boolean("memory", memory, "disableOOMKiller"):
        ignored.append("memory.disableOOMKiller")
    if boolean("memory", memory, "useHierarchy") is False:
        ignored.append("memory.useHierarchy")
    boolean("memory", memory, "checkBeforeUpdate")
    return found


def _cpu(cpu: Mapping[str, Any], ignored: list[str]) -> list[Setting]:
    found: list[Setting] = []
    idle = integer("cpu", cpu, "idle", lowest=0, highest=1)
    weight = cpu_shares_to_weight(integer("cpu", cpu, "shares", lowest=0) or 0)
    if weight and not idle:  # an idle group has no weight: the kernel refuses to set it
        found.append(Setting("cpu.shares", "cpu", ("cpu.weight", str(weight))))
    quota = integer("cpu", cpu, "quota") or 0
    period = integer("cpu", cpu, "period", lowest=0) or 0
    if quota or period:
        name = "cpu.quota" if quota else "cpu.period"
        found.append(Setting(name, "cpu", ("cpu.max", cpu_max_text(quota, period))))
    burst = integer("cpu", cpu, "burst", lowest=0)
    if burst is not None:
        found.append(Setting("cpu.burst", "cpu", ("cpu.max.burst", str(burst)), optional=burst == 0))
    if idle is not None:
        found.append(Setting("cpu.idle", "cpu", ("cpu.idle", str(idle)), optional=idle == 0))
    ignored += [f"cpu.{key}" for key in ("realtimePeriod", "realtimeRuntime") if integer("cpu", cpu, key)]
    for key in ("cpus", "mems"):
        listed = line("cpu", cpu, key)
        if listed:
            parse_cpu_list(listed)
            found.append(Setting(f"cpu.{key}", "cpuset", (f"cpuset.{key}", listed)))
    return found


def _pids(pids: Mapping[str, Any]) -> list[Setting]:
    text = pids_text(pids)
    return [] if text is None else [Setting("pids.limit", "pids", ("pids.max", text))]


def _block_io(block: Mapping[str, Any], ignored: list[str]) -> list[Setting]:
    found: list[Setting] = []
    weight = weight_of("blockIO", block, "weight")
    if weight:
        found.append(Setting("blockIO.weight", "io", *_weight_choices("", weight)))
    if weight_of("blockIO", block, "leafWeight"):
        ignored.append("blockIO.leafWeight")  # CFQ's, gone with it in Linux 5.0
    for where, item in items(block, "weightDevice"):
        device = f"{device_number(where, item)} "
        value = weight_of(where, item, "weight")
        if value:
            found.append(Setting("blockIO.weightDevice", "io", *_weight_choices(device, value)))
        if weight_of(where, item, "leafWeight"):
            ignored.append("blockIO.weightDevice.leafWeight")
    for key, word in (
        ("throttleReadBpsDevice", "rbps"),
        ("throttleWriteBpsDevice", "wbps"),
        ("throttleReadIOPSDevice", "riops"),
        ("throttleWriteIOPSDevice", "wiops"),
    ):
        for where, item in items(block, key):
            rate = integer(where, item, "rate", lowest=0) or 0
            text = f"{device_number(where, item)} {word}={rate or 'max'}"
            found.append(Setting(f"blockIO.{key}", "io", ("io.max", text)))
    return found


def _weight_choices(device: str, weight: int) -> tuple[tuple[str, str], tuple[str, str]]:
    """BFQ keeps v1's range, io.weight has v2's; a kernel has the files of its own schedulers."""
    converted = blkio_weight_to_io_weight(weight)
    return ("io.bfq.weight", f"{device}{weight}"), ("io.weight", f"{device}{converted}")


def _unified(unified: Mapping[str, Any]) -> list[Setting]:
    """The map's own files, in the order given.

    Raises: Invalid for a key that is no control file of a controller, or would do something else than set a
    limit.
    """
    found: list[Setting] = []
    for key, value in unified.items():
        controller, dot, rest = key.partition(".")
        plain = (
            key.isascii() and key.replace(".", "").replace("_", "").isalnum() and controller and dot and rest
        )
        if not plain or (controller == "cgroup" and key not in _UNIFIED_CORE):
            raise refuse(f"unified.{key}", "it is not a limit that can be set")
        if not isinstance(value, str) or not all(text.isprintable() for text in value.split("\n")):
            raise refuse(f"unified.{key}", "its value must be text")
        # One line a write: io.max and its like read the first line of a write and forget the rest.
        lines = [text for text in value.split("\n") if text] or [""]
        found += [Setting(f"unified.{key}", controller, (key, text)) for text in lines]
    return found
