"""Freezing a group in both versions: ask, then wait until the kernel says that every task has stopped."""

from __future__ import annotations

import time

from casemate.cgroups.settings import find_text, write_file
from casemate.errors import TimedOut

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0002, 0.01
_ASK_AGAIN_EVERY = 50  # v1: tasks that fork while it freezes can keep it FREEZING; asking again catches them


def freeze_v1(path: str, timeout_s: float) -> None:
    """Stop every task of a v1 freezer group and of those below it.

    Raises: TimedOut, after thawing it again, so that a half-frozen container is never left behind.
    Source: kernel Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    turn = 0
    while True:
        if turn % _ASK_AGAIN_EVERY == 0:
            write_file(path, "freezer.state", "FROZEN")
        if find_text(path, "freezer.state") == "FROZEN":
            return
        if time.monotonic() >= deadline:
            write_file(path, "freezer.state", "THAWED")
            raise TimedOut("freeze cgroup", path, f"not all tasks stopped within {timeout_s:g} s")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        turn += 1


def thaw_v1(path: str) -> None:
    """Let the tasks go on. Raises: KernelError."""
    write_file(path, "freezer.state", "THAWED")


def is_frozen_v1(path: str) -> bool:
    """Whether the group, or one above it, is frozen or about to be."""
    return find_text(path, "freezer.state") in ("FROZEN", "FREEZING")


def freeze_v2(path: str, timeout_s: float) -> None:
    """Stop every task of a v2 group and of those below it.

    Raises: TimedOut, after thawing it again.
    Needs: Linux 5.2.
    Source: kernel Documentation/admin-guide/cgroup-v2.rst, cgroup.freeze.
    """
    write_file(path, "cgroup.freeze", "1")
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while not is_frozen_v2(path):
        if time.monotonic() >= deadline:
            write_file(path, "cgroup.freeze", "0")
            raise TimedOut("freeze cgroup", path, f"not all tasks stopped within {timeout_s:g} s")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def thaw_v2(path: str) -> None:
    """Let the tasks go on. Raises: KernelError."""
    write_file(path, "cgroup.freeze", "0")


def is_frozen_v2(path: str) -> bool:
    """Whether every task has stopped."""
    return "frozen 1" in (find_text(path, "cgroup.events") or "").split("\n")
