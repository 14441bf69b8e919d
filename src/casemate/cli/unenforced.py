"""Limits that were asked for and that this user cannot have: said on stderr, once, when the container is made."""

from __future__ import annotations

import os

from casemate.cli import streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.engine.options import ContainerOptions

# flag, option, what the runtime-spec calls it
_LIMITS = (
    ("memory", "memory_bytes", "memory.limit"),
    ("memory-swap", "memory_swap_bytes", "memory.swap"),
    ("memory-reservation", "memory_reservation_bytes", "memory.reservation"),
    ("cpus", "cpus", "cpu.quota"),
    ("cpu-shares", "cpu_shares", "cpu.shares"),
    ("cpuset-cpus", "cpuset_cpus", "cpu.cpus"),
    ("pids-limit", "pids_limit", "pids.limit"),
)
_EVERY: dict[str, Any] = {
    "memory": {"limit": 1 << 30, "swap": 2 << 30, "reservation": 1 << 30},
    "cpu": {"quota": 100000, "shares": 1024, "cpus": "0"},
    "pids": {"limit": 1},
}


def unenforceable() -> tuple[list[str], str]:
    """The flags of limits that this user cannot have on this machine, and why, as the end of a sentence."""
    from casemate.cgroups.manager import open_manager

    manager = open_manager(rootless=os.geteuid() != 0)
    missing = set(manager.check("casemate", _EVERY))
    flags = [f"--{flag}" for flag, _, name in _LIMITS if name in missing]
    return flags, manager.why or "this kernel has no controller for it"


def say_unenforced(options: ContainerOptions) -> None:
    """One line for whoever asks for limits that will not hold; nothing otherwise."""
    asked = [f"--{flag}" for flag, name, _ in _LIMITS if getattr(options, name) is not None]
    if not asked:
        return
    missing, why = unenforceable()
    vain = [flag for flag in asked if flag in missing]
    if vain:
        streams.note(f"casemate: {', '.join(vain)} cannot be enforced: {why}")
