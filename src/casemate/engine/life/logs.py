"""Reading a container's log: raw bytes in ``log``.

And in ``log.index`` when and on which stream they were written.

The keeper appends to both and rotates them together (``log.1``, ``log.index.1``, ...). Data after the last
index record was written by a
keeper that was killed in between: it belongs to stream 1 at an unknown time.
"""

from __future__ import annotations

import os
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RECORD = struct.Struct("<QQIHH")
_MAX_FILES = 1000
_MAX_PIECE_BYTES = 1 << 20
_POLL_S = 0.05


class LogLine:
    """One piece of output as it was written: ``time_ns`` since 1970 (0.

    Unknown), ``stream`` 1 or 2, ``data`` (not always a whole line).
    """

    __slots__ = ("data", "stream", "time_ns")

    def __init__(self, time_ns: int, stream: int, data: bytes) -> None:
        self.time_ns = time_ns
        self.stream = stream
        self.data = data


class _File:
    """One log file and its index, open; survives being rotated away."""

    __slots__ = ("at", "index_at", "index_fd", "inode", "log_fd")

    def __init__(self, directory: str, suffix: str) -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        self.log_fd = os.open(f"{directory}/log{suffix}", flags)
        try:
            self.index_fd = os.open(f"{directory}/log.index{suffix}", flags)
        except FileNotFoundError:
            self.index_fd = -1
        self.inode = os.fstat(self.log_fd).st_ino
        self.at = 0
        self.index_at = 0

    def close(self) -> None:
        """Close both."""
        for fd in (self.log_fd, self.index_fd):
            if fd >= 0:
                os.close(fd)

    def iter_new(self, *, final: bool) -> Iterator[LogLine]:
        """Pieces that were not yielded yet.

        ``final``: also bytes that have no record (their writer is gone).
        """
        while self.index_fd >= 0:
            data = os.pread(self.index_fd, _RECORD.size * 512, self.index_at)
            whole = len(data) - len(data) % _RECORD.size
            if not whole:
                break
            for time_ns, offset, length, stream, _ in _RECORD.iter_unpack(data[:whole]):
                self.index_at += _RECORD.size
                if length > _MAX_PIECE_BYTES * 16:
                    continue
                piece = os.pread(self.log_fd, length, offset)
                self.at = max(self.at, offset + length)
                if piece:
                    yield LogLine(time_ns, stream if stream in {1, 2} else 1, piece)
        while final:
            piece = os.pread(self.log_fd, _MAX_PIECE_BYTES, self.at)
            if not piece:
                break
            self.at += len(piece)
            yield LogLine(0, 1, piece)


def read_log(
    directory: str,
    *,
    is_running: Callable[[], bool],
    follow: bool = False,
    tail: int | None = None,
    since_ns: int | None = None,
    until_ns: int | None = None,
) -> Iterator[LogLine]:
    """Pieces of the log in ``directory``, oldest first.

    With ``follow`` until ``is_running`` says no or ``until_ns`` has passed.
    """
    pieces = _iter_all(directory, is_running, follow=follow, until_ns=until_ns, tail=tail)
    for piece in pieces:
        if since_ns is not None and piece.time_ns and piece.time_ns < since_ns:
            continue
        if until_ns is not None and piece.time_ns > until_ns:
            return
        yield piece


def _iter_all(
    directory: str, is_running: Callable[[], bool], *, follow: bool, until_ns: int | None, tail: int | None
) -> Iterator[LogLine]:
    running = follow and is_running()
    held: list[LogLine] = []
    current: _File | None = None
    try:
        for suffix in _suffixes(directory):
            if current is not None:
                current.close()
            current = _open(directory, suffix)
            if current is None:
                continue
            new = current.iter_new(final=bool(suffix) or not running)
            if tail is None:
                yield from new
            else:
                held = last_lines([*held, *new], tail)
        yield from held
        while running:
            running = is_running() and (until_ns is None or time.time_ns() < until_ns)
            current, pieces = _advance(directory, current, final=not running)
            got = False
            for piece in pieces:
                got = True
                yield piece
            if running and not got:
                time.sleep(_POLL_S)
    finally:
        if current is not None:
            current.close()


def _advance(directory: str, current: _File | None, *, final: bool) -> tuple[_File | None, list[LogLine]]:
    """New pieces, moving on to the next file when the present one was rotated away."""
    pieces: list[LogLine] = []
    if current is not None:
        pieces += current.iter_new(final=final)
    newest = _open(directory, "")
    if newest is None:
        return current, pieces
    if current is not None and newest.inode == current.inode:
        newest.close()
        return current, pieces
    if current is not None:
        pieces += current.iter_new(final=True)
        current.close()
    pieces += newest.iter_new(final=final)
    return newest, pieces


def _suffixes(directory: str) -> list[str]:
    """Suffixes of the files that exist, oldest first, the current one ("") last."""
    numbers = []
    for name in os.listdir(directory):
        suffix = name.removeprefix("log.")
        if suffix != name and suffix.isdigit() and int(suffix) < _MAX_FILES:
            numbers.append(int(suffix))
    return [*(f".{number}" for number in sorted(numbers, reverse=True)), ""]


def _open(directory: str, suffix: str) -> _File | None:
    try:
        return _File(directory, suffix)
    except FileNotFoundError:
        return None


def last_lines(pieces: list[LogLine], count: int) -> list[LogLine]:
    """The pieces that make up the last ``count`` lines; the first one is cut at its line's start."""
    if count <= 0:
        return []
    kept: list[LogLine] = []
    # A line end closes the line before it, so the one to find is in front of the first line wanted.
    left = count + bool(pieces and pieces[-1].data.endswith(b"\n"))
    for piece in reversed(pieces):
        position = len(piece.data)
        while left and (position := piece.data.rfind(b"\n", 0, position)) >= 0:
            left -= 1
        if left:
            kept.append(piece)
            continue
        rest = piece.data[position + 1 :]
        if rest:
            kept.append(LogLine(piece.time_ns, piece.stream, rest))
        break
    return kept[::-1]
