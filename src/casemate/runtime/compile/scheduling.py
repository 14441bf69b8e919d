"""How the kernel serves the program: `scheduler`, `ioPriority`, `execCPUAffinity`, `linux.memoryPolicy`, `linux.personality`.

Imported only when a spec has one of them. What needs CAP_SYS_NICE is done by the parent to its waiting child, which may have
lost that right with its user namespace.
Source: sched_setattr(2), ioprio_set(2), sched_setaffinity(2), set_mempolicy(2), personality(2).
"""

from __future__ import annotations

import os
import struct

from casemate.errors import Invalid, Unsupported
from casemate.kernel.features import kernel_version
from casemate.runtime.compile.namespaces import has_capability
from casemate.runtime.schema.linux import MEMORY_FLAGS
from casemate.runtime.schema.process import IO_CLASSES, POLICIES, SCHEDULER_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.compile.build import Build

_ATTRIBUTES = struct.Struct("<IIQiIQQQ")  # struct sched_attr, version 0
_CLAMPS = struct.Struct("<II")  # what version 1 adds
_POLICIES = dict(
    zip(POLICIES, range(len(POLICIES)), strict=True)
)  # the kernel's own order: OTHER is 0, DEADLINE 6
_FLAGS = {name: 1 << number for number, name in enumerate(SCHEDULER_FLAGS)}
_CLAMP_FLAGS = _FLAGS["SCHED_FLAG_UTIL_CLAMP_MIN"] | _FLAGS["SCHED_FLAG_UTIL_CLAMP_MAX"]
_IO_CLASSES = {name: number for number, name in enumerate(IO_CLASSES, 1)}
_IO_CLASS_SHIFT = 13
MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MODE_FLAGS = {name: 1 << 13 + number for number, name in enumerate(MEMORY_FLAGS)}
_DOMAINS = {"LINUX": 0x0000, "LINUX32": 0x0008}
_REAL_TIME = ("SCHED_FIFO", "SCHED_RR")
_CAP_SYS_ADMIN, _CAP_SYS_NICE = 21, 23
_MOST_BITS = 8192
_NICEST = 20
_SINCE = {"MPOL_PREFERRED_MANY": (5, 15), "MPOL_WEIGHTED_INTERLEAVE": (6, 9)}
_RIGHT = "give the runtime CAP_SYS_NICE, as root of the host has it"


def refuse_priorities(process: dict[str, Any], resources: dict[str, Any]) -> None:
    """Raise Unsupported for a priority that this host or this user cannot give."""
    if process.get("scheduler"):
        _refuse_scheduler(process["scheduler"], resources)
    wanted = process.get("ioPriority") or {}
    if wanted.get("class") == "IOPRIO_CLASS_RT" and not (
        has_capability(_CAP_SYS_NICE) or has_capability(_CAP_SYS_ADMIN)
    ):
        raise Unsupported("apply process.ioPriority", "IOPRIO_CLASS_RT", "it needs CAP_SYS_NICE", hint=_RIGHT)


def _refuse_scheduler(wanted: dict[str, Any], resources: dict[str, Any]) -> None:
    doing, policy, why, hint = "apply process.scheduler", wanted["policy"], "", _RIGHT
    flags = set(wanted.get("flags") or ())
    if policy == "SCHED_ISO":
        raise Unsupported(doing, policy, "Linux has the name but no such policy")
    if any("UTIL_CLAMP" in flag for flag in flags) and not os.path.exists(
        "/proc/sys/kernel/sched_util_clamp_min"
    ):
        raise Unsupported(doing, "SCHED_FLAG_UTIL_CLAMP", "this kernel was built without CONFIG_UCLAMP_TASK")
    if not has_capability(_CAP_SYS_NICE):
        why = _missing_right(wanted)
    elif policy in _REAL_TIME and _groups_share_real_time() and not _real_time_runtime(resources):
        why = "the control group would have no real-time share"
        hint = "set linux.resources.cpu.realtimeRuntime (its parent groups need one as well)"
    if why:
        raise Unsupported(doing, policy, why, hint=hint)


def _missing_right(wanted: dict[str, Any]) -> str:
    import resource

    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    real_time = limit if limit != resource.RLIM_INFINITY else 1 << 31
    if wanted["policy"] in _REAL_TIME and (wanted.get("priority") or 0) > real_time:
        return f"priority {wanted['priority']} needs CAP_SYS_NICE, RLIMIT_RTPRIO is {real_time}"
    if wanted["policy"] == "SCHED_DEADLINE":
        return "it needs CAP_SYS_NICE"
    nice = wanted.get("nice") or 0
    limit = resource.getrlimit(resource.RLIMIT_NICE)[0]
    reach = min(os.getpriority(os.PRIO_PROCESS, 0), _NICEST - limit if limit >= 0 else -_NICEST)
    return f"nice {nice} needs CAP_SYS_NICE, this user may go down to {reach}" if nice < reach else ""


def _groups_share_real_time() -> bool:
    """Whether version 1 groups have a share of real time each (CONFIG_RT_GROUP_SCHED), which is nothing for a new one."""
    return os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us")


def _real_time_runtime(resources: dict[str, Any]) -> int:
    return (resources.get("cpu") or {}).get("realtimeRuntime") or 0


def refuse_linux(linux: dict[str, Any]) -> None:
    """Raise Unsupported for a memory policy or an execution domain that this host does not have."""
    if (linux.get("personality") or {}).get("flags"):
        names = ", ".join(linux["personality"]["flags"])
        raise Unsupported("apply linux.personality.flags", names, "the specification defines none")
    policy = linux.get("memoryPolicy")
    if not policy:
        return
    doing, mode = "apply linux.memoryPolicy", policy["mode"]
    if not os.path.exists("/proc/self/numa_maps"):
        raise Unsupported(doing, mode, "this kernel was built without CONFIG_NUMA")
    since = _SINCE.get(mode)
    if since and kernel_version() < since:
        raise Unsupported(doing, mode, f"it needs Linux {since[0]}.{since[1]}")
    if "MPOL_F_RELATIVE_NODES" in (policy.get("flags") or ()):
        return
    missing = set(bits(policy.get("nodes") or "")) - set(_nodes_with_memory())
    if missing:
        names = ", ".join(str(number) for number in sorted(missing)[:8])
        raise Unsupported(doing, policy["nodes"], f"this host has no memory node {names}")


def _nodes_with_memory() -> list[int]:
    with open("/sys/devices/system/node/has_memory", encoding="utf-8") as file:
        return bits(file.read().strip())


def bits(text: str) -> list[int]:
    """Return the numbers of a list such as 0-3,7, whose form was checked. Raises: Invalid for absurdly large ones."""
    found: list[int] = []
    for part in text.replace(" ", "").split(",") if text.strip() else ():
        low, _, high = part.partition("-")
        if max(len(low), len(high)) > len(str(_MOST_BITS)) or int(high or low) >= _MOST_BITS:
            raise Invalid("read list of processors or memory nodes", text[:60], f"{_MOST_BITS} are the most")
        found += range(int(low), int(high or low) + 1)
    return found


def _mask(text: str) -> bytes:
    numbers = bits(text)
    value = sum(1 << number for number in set(numbers))
    return value.to_bytes((value.bit_length() + 63) // 64 * 8, "little")


def add_priorities(build: Build) -> None:
    """Let the parent give the waiting child its scheduling policy and its priority of input and output."""
    wanted = build.process.get("scheduler")
    if wanted:
        meaning = f"apply process.scheduler {wanted['policy']}"
        build.beside("SCHEDULER", attributes(wanted), meaning=meaning, hint=_RIGHT)
    wanted = build.process.get("ioPriority")
    if wanted:
        number = _IO_CLASSES[wanted["class"]] << _IO_CLASS_SHIFT | (wanted.get("priority") or 0)
        meaning = f"apply process.ioPriority {wanted['class']}"
        build.beside("IO_PRIORITY", number, meaning=meaning, hint=_RIGHT)


def attributes(wanted: dict[str, Any]) -> bytes:
    """Return the struct sched_attr of a `scheduler` object."""
    flags = 0
    for name in wanted.get("flags") or ():
        flags |= _FLAGS[name]
    clamps = _CLAMPS.pack(0, 0) if flags & _CLAMP_FLAGS else b""
    numbers = [wanted.get(name) or 0 for name in ("nice", "priority", "runtime", "deadline", "period")]
    return (
        _ATTRIBUTES.pack(_ATTRIBUTES.size + len(clamps), _POLICIES[wanted["policy"]], flags, *numbers)
        + clamps
    )


def add_first_affinity(build: Build) -> None:
    """Let `enter`, and by inheritance its child, run on `execCPUAffinity.initial` until the child is in its control group."""
    text = (build.process.get("execCPUAffinity") or {}).get("initial")
    if text:
        build.before("AFFINITY", _mask(text), meaning=f"apply process.execCPUAffinity.initial {text}")


def add_final_affinity(build: Build) -> None:
    """Let the child, now in its control group, run on `execCPUAffinity.final`."""
    text = (build.process.get("execCPUAffinity") or {}).get("final")
    if text:
        build.inside("AFFINITY", _mask(text), meaning=f"apply process.execCPUAffinity.final {text}")


def add_surroundings(build: Build) -> None:
    """Let the child take its memory policy and execution domain, before seccomp may forbid both calls."""
    policy = build.linux.get("memoryPolicy")
    if policy:
        mode = MODES[policy["mode"]]
        for name in policy.get("flags") or ():
            mode |= MODE_FLAGS[name]
        meaning = f"apply linux.memoryPolicy {policy['mode']}"
        build.inside("MEMORY_POLICY", _mask(policy.get("nodes") or ""), mode, meaning=meaning)
    domain = build.linux.get("personality")
    if domain:
        build.inside(
            "PERSONALITY",
            _DOMAINS[domain["domain"]],
            meaning=f"apply linux.personality {domain['domain']}",
        )
