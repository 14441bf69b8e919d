"""Tar archives written reproducibly: equal images give equal bytes.

Owner 0:0, mode 0644, time 0, ustar headers, members in the order of the image (config, layers, manifest, then
the index files).
Source: POSIX.1-2024 pax, "ustar Interchange Format".
"""

from __future__ import annotations

import os
import stat

from casemate.errors import AlreadyExists, Denied, Exhausted, Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_BLOCK = 512
_MAX_NAME = 100
_OCTAL_LIMIT = 1 << 33
_END_BLOCKS = 2


class ArchiveWriter:
    """A new archive at ``path``, which appears under its name only when ``finish`` succeeded.

    "-" is standard output; it, ``/proc/self/fd/N``, pipes and devices are written to directly.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._names: set[str] = set()
        self._draft = ""
        try:
            self._fd = _direct_fd(path)
            if self._fd < 0:
                self._draft = f"{path}.{os.getpid()}.tmp"
                self._fd = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise AlreadyExists("write archive", self._draft, "another save may be running") from None
        except OSError as error:
            raise Denied("write archive", path, os.strerror(error.errno or 0).lower()) from None

    def has(self, name: str) -> bool:
        """Tell whether ``name`` has been written."""
        return name in self._names

    def add_directory(self, name: str) -> None:
        """Write a directory, once."""
        if name not in self._names:
            self._names.add(name)
            self._write(_header(name + "/", 0, b"5", 0o755))

    def add(self, name: str, size_bytes: int, chunks: Iterable[bytes]) -> None:
        """Write one file of exactly ``size_bytes``.

        Raises: Exhausted (disk), Internal when the size is wrong.
        """
        self._names.add(name)
        self._write(_header(name, size_bytes, b"0", 0o644))
        left = size_bytes
        for data in chunks:
            left -= len(data)
            if left < 0:
                break
            self._write(data)
        if left:
            raise Internal(
                "write archive", f"{self._path}:{name}", f"{size_bytes - left} of {size_bytes} bytes came"
            )
        self._write(bytes(-size_bytes % _BLOCK))

    def finish(self) -> None:
        """Write the end, make the archive durable and give it its name."""
        self._write(bytes(_END_BLOCKS * _BLOCK))
        if self._draft:
            os.fsync(self._fd)
            os.replace(self._draft, self._path)
            self._draft = ""
        self.close()

    def close(self) -> None:
        """Close the archive; drop it when it was not finished."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._draft:
            os.unlink(self._draft)
            self._draft = ""

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise Exhausted("write archive", self._path, os.strerror(error.errno or 0).lower()) from None


def _direct_fd(path: str) -> int:
    """Return a descriptor of what renaming cannot replace; -1 when ``path`` names a file or nothing."""
    if path == "-":
        return os.dup(1)
    number = path.removeprefix("/proc/self/fd/")
    if number != path and number.isascii() and number.isdigit():
        return os.dup(int(number))
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            return -1
    except FileNotFoundError:
        return -1
    return os.open(path, os.O_WRONLY | os.O_CLOEXEC)


def _header(name: str, size_bytes: int, kind: bytes, mode: int) -> bytes:
    encoded = name.encode("utf-8")
    if len(encoded) > _MAX_NAME:
        raise Internal("write archive", name, "the name is too long")
    # Above 8 GiB: GNU base-256, which every reader of today knows.
    size = b"%011o\0" % size_bytes if size_bytes < _OCTAL_LIMIT else b"\x80" + size_bytes.to_bytes(11, "big")
    fields = [
        encoded.ljust(_MAX_NAME, b"\0"),
        b"%07o\0" % mode,
        b"%07o\0" % 0,
        b"%07o\0" % 0,
        size,
        b"%011o\0" % 0,
        b" " * 8,
        kind,
        bytes(100),
        b"ustar\x0000",
        bytes(64),
        b"%07o\0" % 0,
        b"%07o\0" % 0,
    ]
    block = b"".join(fields).ljust(_BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
