"""Out-of-memory kills of a control group, as they happen: a descriptor to poll.

Version 1 tells an eventfd (kernel Documentation/admin-guide/cgroup-v1/memory.rst, section 10); version 2 makes memory.events
readable as urgent data whenever it changes (cgroup-v2.rst).
"""

from __future__ import annotations

import os
import select

from casemate.cgroups.stats.figures import parse_pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cgroups.manager import Cgroup

_V1, _V2 = "memory.oom_control", "memory.events"
_SIZE = 4096


class OomWatch:
    """Kills by lack of memory in one group. ``fd`` is -1 when its kills cannot be seen."""

    __slots__ = ("_directory", "_file", "_kills", "events", "fd")

    def __init__(self, group: Cgroup) -> None:
        self.fd = self._file = -1
        self._directory = ""
        self.events = select.POLLIN
        for label, fd in group.collect():
            if label in (_V1, _V2) and self._file < 0:
                self._file = fd
                self.fd = self._listen(fd, label)
            else:
                os.close(fd)
        self._kills = self._count()

    def _listen(self, file: int, label: str) -> int:
        if label == _V2:
            self.events = select.POLLPRI
            return file
        told = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._directory = os.path.dirname(os.readlink(f"/proc/self/fd/{file}"))
        control = os.open(f"{self._directory}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(control, f"{told} {file}".encode())
        finally:
            os.close(control)
        return told

    def _count(self) -> int:
        if self._file < 0:
            return 0
        try:
            return parse_pairs(os.pread(self._file, _SIZE, 0).decode()).get("oom_kill", 0)
        except OSError:  # ENODEV: the group was removed
            return 0

    def take(self) -> int:
        """Return how many there were since the last call; to be called whenever ``fd`` has something to say."""
        if self.events == select.POLLIN:
            # Told before the kill is counted; told once more when the group is removed.
            told = self._told()
            return min(told, 1) if self.fd >= 0 and os.path.exists(f"{self._directory}/{_V1}") else 0
        before, self._kills = self._kills, max(self._kills, self._count())
        return self._kills - before

    def _told(self) -> int:
        try:
            return os.eventfd_read(self.fd) if self.fd >= 0 else 0
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Stop listening."""
        for fd in {self.fd, self._file} - {-1}:
            os.close(fd)
        self.fd = self._file = -1
