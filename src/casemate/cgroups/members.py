"""The processes of a group: listing, signalling and killing them without ever hitting a stranger.

A pid read from cgroup.procs may belong to somebody else a moment later. So a process is pinned by a pidfd
first and its membership is checked afterwards, through /proc/PID/cgroup; only then the signal goes to the
pidfd.
"""

from __future__ import annotations

import errno
import os
import time

from casemate.cgroups.hierarchy import parse_own
from casemate.cgroups.settings import find_text
from casemate.cgroups.tree import descendants
from casemate.errors import TimedOut
from casemate.kernel.libc import KernelError
from casemate.kernel.pidfd import pidfd_open, pidfd_send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SIGKILL = 9

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.02


def pids_of(*paths: str) -> list[int]:
    """The processes of these groups and of all below them, as pids of the caller's pid namespace, sorted.

    Those that the caller's pid namespace does not show appear as 0 in the kernel's list and are left out.
    """
    found: set[int] = set()
    for path in paths:
        for directory in descendants(path):
            text = find_text(directory, "cgroup.procs")
            found.update(int(word) for word in (text or "").split())
    return sorted(found - {0})


def is_member(pid: int, groups: Mapping[frozenset[str], str]) -> bool:
    """Whether the process is now in or below one of these groups (paths as in /proc/PID/cgroup)."""
    try:
        with open(f"/proc/{pid}/cgroup", "rb") as file:
            own = parse_own(os.fsdecode(file.read()))
    except OSError:
        return False
    for controllers, group in groups.items():
        path = own.get(controllers, "")  # of a removed group only zombies are left: "/x (deleted)"
        if path == group or path.startswith(group.rstrip("/") + "/"):
            return True
    return False


def signal_members(pids: Iterable[int], signal: int, belongs: Callable[[int], bool]) -> int:
    """Send a signal to each of these processes that still is a member; how many got it.

    Raises: KernelError, EPERM.
    """
    reached = 0
    for pid in pids:
        try:
            pinned = pidfd_open(pid)
        except KernelError as error:
            if error.errno in (errno.ESRCH, errno.EINVAL):  # gone, or no thread group leader any more
                continue
            raise
        with pinned:
            if belongs(pid):
                reached += pidfd_send_signal(pinned.fileno(), signal)
    return reached


def kill_until_empty(
    path: str, timeout_s: float, pids: Callable[[], list[int]], strike: Callable[[int], None]
) -> None:
    """Call ``strike`` with 0, 1, 2, ... until the group has no process left.

    Raises: TimedOut, with the pids that remain; they hang in the kernel (state D) or are new all the time.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    blow = 0
    while left := pids():
        strike(blow)
        blow += 1
        if time.monotonic() >= deadline:
            shown = ", ".join(str(pid) for pid in left[:8])
            raise TimedOut("kill the processes of cgroup", path, f"{len(left)} remain: {shown}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
