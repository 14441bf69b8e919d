"""Files inside a tar archive on disk: one pass over the headers, then random access to the contents.

Nothing is ever extracted. The archive has to be seekable: a compressed one, or one from a pipe, is first
spooled into an unnamed file.
"""

from __future__ import annotations

import os

from casemate.errors import Denied, Exhausted, Invalid, NotFound, Unsupported
from casemate.image.tar_header import BLOCK, ZERO_BLOCK, Header
from casemate.image.tar_pax import PaxRecords
from casemate.oci.quoting import quoted
from casemate.registry.files import CHUNK_BYTES, cut_short, member_name
from casemate.registry.inflate import compression_of, inflated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MAX_MEMBERS = 100_000
SPOOL_LIMIT_BYTES = 64 << 30
_MAX_EXTENSION_BYTES = 1 << 20
_MAX_LINKS = 8
_REGULAR = frozenset((b"0", b"\0", b"7"))


class ArchiveFiles:
    """``ImageFiles`` inside a tar archive; ``path`` "-" is standard input."""

    def __init__(self, path: str) -> None:
        self.label = path
        self._file = _seekable(path)
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        try:
            self._scan()
        except BaseException:
            self._file.close()
            raise

    def size_bytes(self, name: str) -> int:
        """Return the file's size."""
        return self._find(name)[1]

    def read(self, name: str, *, limit_bytes: int) -> bytes:
        """Return a small file whole. Raises: Exhausted past ``limit_bytes``."""
        size = self._find(name)[1]
        if size > limit_bytes:
            raise Exhausted(
                "read", f"{self.label}:{name}", f"{size} bytes are over the limit of {limit_bytes}"
            )
        return b"".join(self.chunks(name))

    def chunks(self, name: str, *, offset: int = 0) -> Iterator[bytes]:
        """Yield the file's bytes from ``offset``."""
        start, size = self._find(name)
        while offset < size:
            data = os.pread(self._file.fileno(), min(CHUNK_BYTES, size - offset), start + offset)
            if not data:
                raise cut_short(self.label, name)
            offset += len(data)
            yield data

    def has(self, name: str) -> bool:
        """Tell whether the archive holds a regular file called ``name``."""
        return name in self._members

    def close(self) -> None:
        """Close the archive."""
        self._file.close()

    def _find(self, name: str) -> tuple[int, int]:
        clean = member_name(name, what=self.label)
        for _ in range(_MAX_LINKS):
            if clean not in self._links:
                break
            # Old "docker save" links equal layers to each other: ../<id>/layer.tar
            target = self._links[clean]
            clean = member_name(_joined(clean, target), what=self.label)
        found = self._members.get(clean)
        if found is None:
            raise NotFound("open", f"{self.label}:{clean}", "no such file in the archive")
        return found

    def _scan(self) -> None:
        fd, at, end = self._file.fileno(), 0, os.fstat(self._file.fileno()).st_size
        pax: PaxRecords | None = None
        long_name: bytes | None = None
        while block := os.pread(fd, BLOCK, at):
            if len(block) < BLOCK:
                raise cut_short(self.label, "header")
            if block == ZERO_BLOCK:
                break
            header = self._header(block)
            at += BLOCK
            size = header.size_bytes
            if pax is not None and (stated := pax.number(b"size")) is not None:
                size = stated
            if size < 0 or at + size > end:
                raise cut_short(self.label, quoted(header.name.decode("utf-8", "replace")))
            if header.kind in {b"x", b"L"}:
                extension = self._extension(at, size)
                pax = PaxRecords(extension) if header.kind == b"x" else pax
                long_name = extension.rstrip(b"\0") if header.kind == b"L" else long_name
            elif header.kind != b"g":
                self._keep(header, pax, long_name, (at, size))
                pax = long_name = None
            at += -(-size // BLOCK) * BLOCK
        if not self._members:
            raise Invalid("read archive", self.label, "it is not a tar archive or it is empty")

    def _header(self, block: bytes) -> Header:
        try:
            return Header(block)
        except Invalid:
            raise Invalid("read archive", self.label, "it is not a tar archive, or it is damaged") from None

    def _extension(self, at: int, size: int) -> bytes:
        if size > _MAX_EXTENSION_BYTES:
            raise Exhausted("read archive", self.label, f"an extended header has {size} bytes")
        return os.pread(self._file.fileno(), size, at)

    def _keep(
        self, header: Header, pax: PaxRecords | None, long_name: bytes | None, place: tuple[int, int]
    ) -> None:
        name_bytes, link_bytes = long_name or header.name, header.link
        if pax is not None:
            name_bytes, link_bytes = pax.get(b"path") or name_bytes, pax.get(b"linkpath") or link_bytes
        if header.kind not in _REGULAR and header.kind != b"2":
            return  # directories say nothing; devices, FIFOs and hard links have no place in an image archive
        name = member_name(name_bytes.decode("utf-8", "surrogateescape"), what=self.label)
        if name in self._members or name in self._links:
            raise Invalid("read archive", self.label, f"it holds {quoted(name)} twice")
        if len(self._members) + len(self._links) >= MAX_MEMBERS:
            raise Exhausted("read archive", self.label, f"it holds more than {MAX_MEMBERS} files")
        if header.kind == b"2":
            self._links[name] = link_bytes.decode("utf-8", "surrogateescape")
        else:
            self._members[name] = place


def _joined(name: str, target: str) -> str:
    """Return where a link inside the archive leads; ``..`` stays only where it would leave the archive."""
    parts = name.split("/")[:-1]
    for part in target.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts) if not target.startswith("/") else target


def _seekable(path: str) -> BinaryIO:
    try:
        file: BinaryIO = open(path if path != "-" else 0, "rb", buffering=0, closefd=path != "-")  # noqa: SIM115 - returned
    except FileNotFoundError:
        raise NotFound("open archive", path, "it does not exist") from None
    except OSError as error:
        raise Denied("open archive", path, os.strerror(error.errno or 0).lower()) from None
    try:
        if not file.seekable():
            file = _spooled(file, path)
        kind = _archive_compression(file, path)
        return _spooled(inflated(file, kind, what=path), path) if kind else file
    except BaseException:
        file.close()
        raise


def _archive_compression(file: BinaryIO, path: str) -> str:
    kind = compression_of(os.pread(file.fileno(), 8, 0))
    if kind in {"xz", "bzip2"}:
        raise Unsupported("read archive", path, f"it is compressed with {kind}", hint=f"{kind} -d it first")
    return kind


def _spooled(source: BinaryIO, path: str) -> BinaryIO:
    """Return an unnamed file with everything that ``source`` (closed afterwards) yields."""
    import tempfile

    spool: BinaryIO = tempfile.TemporaryFile(prefix="casemate-", buffering=0)  # noqa: SIM115 - returned
    try:
        with source:
            _copy(source, spool, path)
    except OSError as error:
        spool.close()
        raise Exhausted("read archive", path, os.strerror(error.errno or 0).lower()) from None
    except BaseException:
        spool.close()
        raise
    return spool


def _copy(source: BinaryIO, spool: BinaryIO, path: str) -> None:
    total = 0
    while data := source.read(CHUNK_BYTES):
        total += len(data)
        if total > SPOOL_LIMIT_BYTES:
            raise Exhausted("read archive", path, f"it is larger than {SPOOL_LIMIT_BYTES} bytes")
        view = memoryview(data)
        while view:
            view = view[spool.write(view) :]
