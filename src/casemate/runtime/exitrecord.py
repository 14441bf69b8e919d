"""The durable exit record and the log index, as ``enter`` writes them (src/enter/record.c, stream.c)."""

from __future__ import annotations

import errno
import os
import struct

from casemate.errors import Corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD_NAME = "exit"
LOG_NAME = "log"
INDEX_NAME = "log.index"
INDEX_RECORD = struct.Struct("<QQIHH")  # time_ns, offset, length, stream 1|2, flags
LOST_BEFORE = 1  # flag: output before this record was dropped, because the disk was full
SIGNAL_BASE = 128
_LIMIT_BYTES = 64 * 1024


class ExitRecord:
    """How a container ended.

    ``code`` is meaningful when ``signal`` is 0. ``dropped_bytes`` of output did not fit on the disk.
    ``lost``: keeper and guard were killed in a way that hid the status (Linux before 6.15), ``code`` is 255
    then. ``collected`` has the end values of cgroup files by label.
    """

    __slots__ = ("code", "collected", "core_dumped", "dropped_bytes", "lost", "signal", "time_ns")

    def __init__(self, fields: dict[str, int], collected: dict[str, bytes]) -> None:
        self.code = fields["code"]
        self.signal = fields["signal"]
        self.core_dumped = bool(fields["core"])
        self.time_ns = fields["time_ns"]
        self.dropped_bytes = fields["dropped"]
        self.lost = bool(fields.get("lost", 0))
        self.collected = collected

    @property
    def exit_code(self) -> int:
        """The code that a shell would show: 128 plus the signal that ended it."""
        return SIGNAL_BASE + self.signal if self.signal else self.code


def read_exit_record(dir_fd: int) -> ExitRecord | None:
    """The record in a container's directory; None while it has not ended. Raises Corrupt."""
    try:
        fd = os.open(RECORD_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    with open(fd, "rb") as file:
        return parse_exit_record(file.read(_LIMIT_BYTES))


def parse_exit_record(data: bytes) -> ExitRecord:
    """Read the record's bytes. Unknown keys are kept out, missing ones are Corrupt."""
    head, _, rest = data.partition(b"\n")
    words = head.decode("ascii", "replace").split()
    try:
        fields = {key: int(value) for key, _, value in (word.partition("=") for word in words[1:])}
        if words[:1] == ["exit"]:
            return ExitRecord(fields, dict(_sections(rest)))
        error: Exception = ValueError(f"first word of {head[:40]!r}")
    except (ValueError, KeyError) as problem:
        error = problem
    raise Corrupt("read", "exit record", f"unexpected {error}") from error


def _sections(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Label and content of each ``== label length`` section; a section that was cut off is left out."""
    while data.startswith(b"== "):
        head, _, rest = data.partition(b"\n")
        label, _, length = head[3:].decode("ascii", "replace").rpartition(" ")
        size = int(length)
        if len(rest) < size:
            return
        yield label, rest[:size]
        data = rest[size + 1 :]


def status_of(wait_status: int) -> int:
    """The exit code (128 + signal) of a wait status as ``Launched.wait_exit`` returns it."""
    signal = wait_status & 0x7F
    return SIGNAL_BASE + signal if signal else wait_status >> 8 & 0xFF
