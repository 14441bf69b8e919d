"""What was seen, kept small: one entry for each kind of failure, with how often, when first and when last.

The file's size is bounded by the number of entries and the length of a text, whatever the container does. It is written over
itself, never renamed: the directory may be removed at any time, and no name may appear in it then.
"""

from __future__ import annotations

import os
import time
import zlib

from casemate.oci.quick_json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_ENTRIES = 200
MAX_TEXT = 240


class Ledger:
    """The entries of one run of a container; ``head`` stands before them in the file."""

    __slots__ = ("_entries", "_fd", "dirty", "head", "others")

    def __init__(self, fd: int, head: dict[str, Any]) -> None:
        self._fd = fd
        self._entries: dict[tuple[object, ...], dict[str, Any]] = {}
        self.head = head
        self.others = 0
        self.dirty = False

    def count(self, key: tuple[object, ...]) -> bool:
        """Count one more of an entry that is there, or that there is no room for; False when it has to be added."""
        self.dirty = True
        entry = self._entries.get(key)
        if entry is not None:
            entry["count"] += 1
            entry["last_ns"] = time.time_ns()
            return True
        if len(self._entries) >= MAX_ENTRIES:
            self.others += 1
            return True
        return False

    def add(self, key: tuple[object, ...], entry: dict[str, Any]) -> None:
        """Add an entry that ``count`` did not know."""
        now = time.time_ns()
        self._entries[key] = {**entry, "count": 1, "first_ns": now, "last_ns": now}

    def save(self, *, ended: bool = False) -> None:
        """Write everything over what the file held. A disk that is full keeps the last state."""
        self.dirty = False
        document = {
            **self.head,
            "ended": ended,
            "others": self.others,
            "entries": list(self._entries.values()),
        }
        body = dumps(document).encode("utf-8", "replace")
        data = b"witness 1 %d %d\n" % (len(body), zlib.crc32(body)) + body
        try:
            os.pwrite(self._fd, data, 0)
            os.ftruncate(self._fd, len(data))
        except OSError:
            return


def read_ledger(fd: int) -> dict[str, Any] | None:
    """The document of a ledger's file; None when it is empty, damaged, or being written at this moment."""
    from casemate.errors import CasemateError
    from casemate.oci.quick_json import loads

    data = os.pread(fd, MAX_ENTRIES * (MAX_TEXT * 16), 0)
    head, _, body = data.partition(b"\n")
    words = head.split()
    if len(words) != 4 or words[:2] != [b"witness", b"1"] or words[2:] != _sums(body):  # noqa: PLR2004 - the fields of the first line
        return None
    try:
        document: dict[str, Any] = loads(body.decode(), what="ledger")
    except (CasemateError, UnicodeDecodeError):
        return None
    return document


def _sums(body: bytes) -> list[bytes]:
    return [b"%d" % len(body), b"%d" % zlib.crc32(body)]
