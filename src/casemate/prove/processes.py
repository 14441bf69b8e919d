"""The processes that a round of checks is responsible for.

Whoever proves becomes the reaper of orphans, so that whatever a runtime leaves behind is seen among its own children.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from casemate.kernel.process import set_subreaper

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LISTEN = "0A"
ACCEPTING = "00010000"


@contextmanager
def reaping_orphans() -> Iterator[None]:
    """Inside, orphans of what we start become our children; those that live at the end are killed."""
    set_subreaper(subreaper=True)
    try:
        yield
    finally:
        for pid in family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        set_subreaper(subreaper=False)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _parents() -> dict[int, int]:
    """Process -> its parent; those that have ended are left out."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _read(f"/proc/{name}/stat").rpartition(")")[2].split()
            if fields and fields[0] != "Z":
                found[int(name)] = int(fields[1])
    return found


def _below(top: int) -> set[int]:
    parents = _parents()
    found = {top}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def family() -> set[int]:
    """All that we started and what that started, without ourselves."""
    return _below(os.getpid()) - {os.getpid()}


def inside(pid: int) -> set[int]:
    """A container's first process and all below it."""
    return _below(pid)


def strangers() -> list[str]:
    """Descriptions of living descendants, after those that have ended were buried."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return [_read(f"/proc/{pid}/cmdline").replace("\0", " ")[:100] or str(pid) for pid in family()]


def resident_bytes(pids: set[int]) -> int:
    """Memory that processes have in use together, shared pages counted more than once."""
    sizes = (_read(f"/proc/{pid}/statm").split() for pid in pids)
    return sum(int(fields[1]) * PAGE_BYTES for fields in sizes if fields)


def listening(pids: set[int]) -> tuple[list[str], list[str]]:
    """(addresses on TCP, paths of Unix sockets, abstract ones with an @) on which these processes listen."""
    inodes = set()
    for pid in pids:
        with suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    inodes.add(os.readlink(f"/proc/{pid}/fd/{fd}").removeprefix("socket:[").rstrip("]"))
    tcp = []
    for name in ("tcp", "tcp6"):
        for line in _read(f"/proc/net/{name}").splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and fields[9] in inodes:
                tcp.append(fields[1])
    rows = (line.split() for line in _read("/proc/net/unix").splitlines()[1:])
    unix = [row[7] for row in rows if len(row) > 7 and row[3] == ACCEPTING and row[6] in inodes]  # noqa: PLR2004 - a name
    return tcp, unix
