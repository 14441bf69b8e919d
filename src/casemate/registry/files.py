"""Files of an image on disk, by the names inside a directory or inside a tar archive.

``oci``, ``oci-archive``, ``docker-archive`` and ``dir`` differ in where their bytes lie and in what the files
mean; this module is the first half. Names come from outside, so they are checked here: relative, no ``..``,
regular files only, nothing that can block.
"""

from __future__ import annotations

import errno
import os
import stat

from casemate.errors import Corrupt, Denied, Exhausted, Invalid, NotFound
from casemate.oci.quoting import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol
else:
    Protocol = object

CHUNK_BYTES = 256 << 10


class ImageFiles(Protocol):
    """Read access to named files.

    Every method raises NotFound for a name that is absent and Invalid for a bad one.
    """

    label: str

    def size_bytes(self, name: str) -> int:
        """Return the file's size."""

    def read(self, name: str, *, limit_bytes: int) -> bytes:
        """Return a small file whole. Raises: Exhausted past ``limit_bytes``."""

    def chunks(self, name: str, *, offset: int = 0) -> Iterator[bytes]:
        """Yield the file's bytes from ``offset``."""

    def close(self) -> None:
        """Release what is open."""


class DirectoryFiles:
    """``ImageFiles`` below one directory.

    A symbolic link may be followed: what it leads to is verified by digest.
    """

    def __init__(self, path: str) -> None:
        self.label = path
        try:
            self._dir_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound("open image directory", path, "it does not exist") from None
        except OSError as error:
            raise Denied("open image directory", path, os.strerror(error.errno or 0).lower()) from None

    def size_bytes(self, name: str) -> int:
        """Return the file's size."""
        fd = self._open(name)
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def read(self, name: str, *, limit_bytes: int) -> bytes:
        """Return a small file whole. Raises: Exhausted past ``limit_bytes``."""
        data = bytearray()
        for chunk in self.chunks(name):
            data += chunk
            if len(data) > limit_bytes:
                raise Exhausted(
                    "read", f"{self.label}/{name}", f"it is over the limit of {limit_bytes} bytes"
                )
        return bytes(data)

    def chunks(self, name: str, *, offset: int = 0) -> Iterator[bytes]:
        """Yield the file's bytes from ``offset``."""
        fd = self._open(name)
        try:
            while data := os.pread(fd, CHUNK_BYTES, offset):
                offset += len(data)
                yield data
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the directory."""
        if self._dir_fd >= 0:
            os.close(self._dir_fd)
            self._dir_fd = -1

    def _open(self, name: str) -> int:
        clean = member_name(name, what=self.label)
        try:
            # O_NONBLOCK: a FIFO planted among the blobs must not hang us before fstat tells what it is.
            fd = os.open(clean, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self._dir_fd)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                raise NotFound("open", f"{self.label}/{clean}", "no such file in the image") from None
            raise Denied("open", f"{self.label}/{clean}", os.strerror(error.errno or 0).lower()) from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Invalid("open", f"{self.label}/{clean}", "it is not a regular file")
        return fd


def member_name(name: str, *, what: str) -> str:
    """Return ``name`` without ``./`` and doubled slashes. Raises: Invalid when it could leave its folder."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts or "\0" in name or not parts:
        raise Invalid("read", what, f"{quoted(name)} is not the name of a file inside it")
    return "/".join(parts)


def cut_short(label: str, name: str) -> Corrupt:
    """Return the error for a file that ends before its size."""
    return Corrupt(
        "read", f"{label}:{name}", "the file ends too early", hint="copy or download the archive again"
    )
