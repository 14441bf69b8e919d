"""What a container may use: OCI linux.resources and process.rlimits from options and the host's size."""

from __future__ import annotations

import os

from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from casemate.engine.options import ContainerOptions

DEFAULT_PIDS = 2048
DEFAULT_MEMORY_SHARE = 0.8
MIN_MEMORY_BYTES = 6 << 20
CPU_PERIOD_US = 100_000
RLIM_INFINITY = 2**64 - 1
DEFAULT_NOFILE = (1024, 524288)
RLIMITS = "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK"


def host_memory_bytes() -> int:
    """Physical memory of the host in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def build_resources(options: ContainerOptions, *, device_rules: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """OCI ``linux.resources``: memory 80 % of the host, no swap and 2048 processes unless asked otherwise.

    Raises: Invalid.
    """
    resources: dict[str, Any] = {"devices": list(device_rules), "memory": _memory(options)}
    pids = DEFAULT_PIDS if options.pids_limit is None else options.pids_limit
    resources["pids"] = {"limit": pids if pids > 0 else -1}
    cpu = _cpu(options)
    if cpu:
        resources["cpu"] = cpu
    return resources


def _memory(options: ContainerOptions) -> dict[str, Any]:
    limit = options.memory_bytes
    total = options.memory_swap_bytes
    if limit is None:
        if total is not None and total > 0:
            raise Invalid("limit memory", "", "a swap limit needs a memory limit", hint="add --memory")
        limit = int(host_memory_bytes() * DEFAULT_MEMORY_SHARE) >> 20 << 20
    if 0 < limit < MIN_MEMORY_BYTES:
        raise Invalid("limit memory", f"{limit} bytes", "minimum memory limit allowed is 6MB")
    if limit <= 0:
        return {"limit": -1}
    if total is not None and 0 < total < limit:
        raise Invalid("limit memory", "", "the memory and swap limit must not be below the memory limit")
    memory: dict[str, Any] = {"limit": limit, "swap": limit if total in {None, 0} else total}
    if options.memory_reservation_bytes is not None:
        memory["reservation"] = options.memory_reservation_bytes
    return memory


def _cpu(options: ContainerOptions) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    if options.cpus is not None:
        available = os.cpu_count() or 1
        if not 0.01 <= options.cpus <= available:  # noqa: PLR2004 - the kernel's floor of 1 ms a period
            raise Invalid("limit cpus", options.cpus, f"range of CPUs is from 0.01 to {available}.00")
        cpu["period"] = CPU_PERIOD_US
        cpu["quota"] = int(options.cpus * CPU_PERIOD_US)
    if options.cpu_shares:
        cpu["shares"] = options.cpu_shares
    if options.cpuset_cpus:
        if not all(c.isdigit() or c in ",-" for c in options.cpuset_cpus):
            raise Invalid("limit cpus", repr(options.cpuset_cpus), "expected a list such as 0-2,4")
        cpu["cpus"] = options.cpuset_cpus
    return cpu


def build_rlimits(
    ulimits: Mapping[str, Sequence[int]], defaults: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """OCI ``process.rlimits``: the profile's, overridden by ``ulimits``.

    Raises: Invalid for an unknown name or soft > hard.
    """
    merged = {str(rule["type"]): (int(rule["soft"]), int(rule["hard"])) for rule in defaults}
    known = RLIMITS.split()
    for name, (soft, hard) in ulimits.items():
        short = name.upper().removeprefix("RLIMIT_")
        if short not in known:
            raise Invalid("set ulimit", repr(name), "no such limit", hint=f"known: {RLIMITS.lower()}")
        pair = tuple(RLIM_INFINITY if value < 0 else value for value in (soft, hard))
        if pair[0] > pair[1]:
            raise Invalid("set ulimit", name, "the soft limit is above the hard limit")
        merged[f"RLIMIT_{short}"] = (pair[0], pair[1])
    return [{"type": name, "soft": soft, "hard": hard} for name, (soft, hard) in sorted(merged.items())]


def clamp_rlimits(
    rules: Sequence[dict[str, Any]], allowed: Mapping[str, int], asked: Sequence[str]
) -> list[dict[str, Any]]:
    """``rules`` with hard limits cut to what this process may give (``allowed``: type -> hard limit).

    Raises: Invalid when one of ``asked`` (set by the user, not by the profile) would have to be cut.
    """
    clamped = []
    for rule in rules:
        top = allowed.get(str(rule["type"]), RLIM_INFINITY)
        if rule["hard"] > top and rule["type"] in asked:
            raise Invalid(
                "set ulimit",
                str(rule["type"])[7:].lower(),
                f"the hard limit of this user is {top}",
                hint="ask for no more",
            )
        clamped.append({"type": rule["type"], "soft": min(rule["soft"], top), "hard": min(rule["hard"], top)})
    return clamped
