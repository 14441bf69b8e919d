"""Limits that were asked for and that this user cannot have: said on stderr, once, when the container is made."""

from __future__ import annotations

import os

from casemate.cli import streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.engine.options import ContainerOptions

_LIMITS = (
    ("memory", "memory_bytes"),
    ("memory-swap", "memory_swap_bytes"),
    ("memory-reservation", "memory_reservation_bytes"),
    ("cpus", "cpus"),
    ("cpu-shares", "cpu_shares"),
    ("cpuset-cpus", "cpuset_cpus"),
    ("pids-limit", "pids_limit"),
)


def say_unenforced(options: ContainerOptions) -> None:
    """One line for an ordinary user without control groups who asked for limits; nothing otherwise."""
    if os.geteuid() == 0:
        return
    asked = [f"--{flag}" for flag, name in _LIMITS if getattr(options, name) is not None]
    if not asked:
        return
    from casemate.cgroups.manager import open_manager

    if open_manager(rootless=True).kind == "none":
        streams.note(
            f"casemate: {', '.join(asked)} cannot be enforced: this user has no control groups of its own"
        )
