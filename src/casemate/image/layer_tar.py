"""A layer's tar archive as a stream of entries: the one parser for everything that reads layers.

It refuses instead of guessing wherever tar implementations are known to disagree (SECURITY C14): two values
for one field, sizes on things that have no content, global headers that change entries, data behind the end.
It holds one header and one chunk at a time, so that memory does not grow with the archive (C15).
"""

from __future__ import annotations

from casemate.errors import Corrupt, Exhausted, Invalid
from casemate.image.tar_header import BLOCK, ZERO_BLOCK, Header
from casemate.image.tar_pax import PaxRecords, require_harmless_global
from casemate.image.tar_sparse import SparseMap, read_map_in_data, read_old_gnu, read_pax_map
from casemate.image.tar_stream import ByteStream
from casemate.oci.quoting import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

FILE: Final = "file"
DIRECTORY: Final = "directory"
SYMLINK: Final = "symbolic link"
HARDLINK: Final = "hard link"
FIFO: Final = "fifo"
CHAR_DEVICE: Final = "character device"
BLOCK_DEVICE: Final = "block device"

_KINDS = {
    b"0": FILE,
    b"\0": FILE,
    b"7": FILE,
    b"S": FILE,
    b"1": HARDLINK,
    b"2": SYMLINK,
    b"3": CHAR_DEVICE,
    b"4": BLOCK_DEVICE,
    b"5": DIRECTORY,
    b"6": FIFO,
}
_PAX, _PAX_SUN, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK, _SPARSE = b"x", b"X", b"g", b"L", b"K", b"S"
_USTAR_MAX_SIZE = 0o77777777777


class Limits:
    """How much one layer may ask for.

    The defaults are above what published images need and below what harms.
    """

    __slots__ = (
        "depth",
        "entries",
        "extension_bytes",
        "file_bytes",
        "name_bytes",
        "path_bytes",
        "total_bytes",
        "xattr_bytes",
    )

    def __init__(self) -> None:
        self.entries = 1_000_000
        self.total_bytes = 64 << 30
        self.file_bytes = 32 << 30
        self.depth = 200
        self.name_bytes = 255
        self.path_bytes = 4000
        self.extension_bytes = 1 << 20
        self.xattr_bytes = 128 << 10


class Entry:
    """One file of a layer.

    ``path`` is relative and normalised ('' is the layer's root); ``link`` is as written.
    """

    __slots__ = (
        "gid",
        "kind",
        "link",
        "mode",
        "mtime_ns",
        "path",
        "size_bytes",
        "sparse",
        "stored_bytes",
        "uid",
        "xattrs",
    )

    def __init__(self, kind: str, path: bytes) -> None:
        self.kind = kind
        self.path = path
        self.link = b""
        self.mode = 0
        self.uid = 0
        self.gid = 0
        self.mtime_ns = 0
        self.size_bytes = 0
        self.stored_bytes = 0
        self.sparse: SparseMap | None = None
        self.xattrs: dict[bytes, bytes] = {}


class _Extensions:
    """What extension headers have announced for the next entry."""

    __slots__ = ("long_link", "long_name", "pax")

    def __init__(self) -> None:
        self.pax: PaxRecords | None = None
        self.long_name: bytes | None = None
        self.long_link: bytes | None = None

    def is_empty(self) -> bool:
        return self.pax is None and self.long_name is None and self.long_link is None


class LayerReader:
    """Iterate for entries; after each, ``data`` yields its content (what is not read is passed over)."""

    __slots__ = ("_left", "_limits", "_padding", "_stream", "_total_bytes", "entries")

    def __init__(self, next_chunk: Callable[[], bytes], limits: Limits | None = None) -> None:
        self._stream = ByteStream(next_chunk)
        self._limits = limits or Limits()
        self._left = 0
        self._padding = 0
        self._total_bytes = 0
        self.entries = 0

    def __iter__(self) -> Iterator[Entry]:
        """Every entry, in order. Raises: Invalid, Corrupt, Exhausted."""
        while (entry := self._next()) is not None:
            yield entry

    def data(self) -> Iterator[memoryview]:
        """The stored content of the current entry, in pieces, once."""
        size_bytes, self._left = self._left, 0
        return self._stream.pieces(size_bytes)

    def _next(self) -> Entry | None:
        """The next entry, None behind the last."""
        extensions = None
        while True:
            self._stream.skip(self._left + self._padding)
            self._left = self._padding = 0
            block = self._stream.take_block(BLOCK)
            if not block or block == ZERO_BLOCK:
                self._finish(block, extensions)
                return None
            header = Header(block)
            if header.kind in _KINDS:
                return self._entry(header, extensions)
            if header.kind == _PAX_GLOBAL:
                require_harmless_global(self._extension_data(header))
                continue
            extensions = extensions or _Extensions()
            self._extend(header, extensions)

    def _finish(self, block: bytes, extensions: _Extensions | None) -> None:
        """Check the end: two zero blocks (or, as some tools leave it, none), then nothing but zeros."""
        if extensions is not None:
            raise Corrupt("read layer", "", "the archive ends behind an extension header")
        if block:
            self._stream.require_zeros()

    def _extend(self, header: Header, extensions: _Extensions) -> None:
        """Take one extension header for the next entry.

        Raises: Invalid for a second one of its kind, or a mixture.
        """
        kind = header.kind
        if kind in (_PAX, _PAX_SUN) and extensions.is_empty():
            extensions.pax = PaxRecords(self._extension_data(header))
        elif kind == _LONG_NAME and extensions.long_name is None and extensions.pax is None:
            extensions.long_name = self._long_text(header)
        elif kind == _LONG_LINK and extensions.long_link is None and extensions.pax is None:
            extensions.long_link = self._long_text(header)
        elif kind in (_PAX, _PAX_SUN, _LONG_NAME, _LONG_LINK):
            raise Invalid(
                "read layer", "", "an entry has several extension headers, which tools understand differently"
            )
        else:
            raise Invalid(
                "read layer", quoted_path(header.name), f"entries of type {header.kind!r} are not supported"
            )

    def _extension_data(self, header: Header) -> bytes:
        """The content of an extension header."""
        size_bytes = header.size_bytes
        if not 0 <= size_bytes <= self._limits.extension_bytes:
            raise Exhausted("read layer", "", f"an extension header of {size_bytes} bytes is too large")
        self._count()
        self._padding = -size_bytes % BLOCK
        return self._stream.take(size_bytes)

    def _long_text(self, header: Header) -> bytes:
        """The name in a GNU long name header. Raises: Invalid for a NUL before its end."""
        value = self._extension_data(header).removesuffix(b"\0")
        if not value or b"\0" in value:
            raise Invalid("read layer", "", "a long name is empty or contains a NUL")
        return value

    def _count(self) -> None:
        """Count one header. Raises: Exhausted."""
        self.entries += 1
        if self.entries > self._limits.entries:
            raise Exhausted("read layer", "", f"the archive has more than {self._limits.entries} entries")

    def _entry(self, header: Header, extensions: _Extensions | None) -> Entry:
        """The entry of a header and its extensions, with its content next in the stream."""
        self._count()
        kind = _KINDS[header.kind]
        name, link = header.name, header.link
        pax = None
        if extensions is not None:
            pax = extensions.pax
            name = extensions.long_name or name
            link = extensions.long_link or link
            if pax is not None:
                name = pax.get(b"GNU.sparse.name") or pax.get(b"path") or name
                link = pax.get(b"linkpath") or link
        if kind == FILE and name.endswith(b"/"):
            kind = DIRECTORY  # as v7 wrote directories; every tar still reads them so
        entry = Entry(kind, self.normalized(name))
        entry.mode = header.mode & 0o7777
        entry.uid, entry.gid = header.uid, header.gid
        entry.mtime_ns = header.mtime_s * 1_000_000_000
        entry.stored_bytes = header.size_bytes
        if kind in (SYMLINK, HARDLINK):
            entry.link = self._checked_link(entry, link)
        if pax is not None:
            _apply_pax(entry, header, pax)
            self._require_small_xattrs(entry)
        self._take_content(entry, header, pax)
        return entry

    def _take_content(self, entry: Entry, header: Header, pax: PaxRecords | None) -> None:
        """Settle sizes and the sparse map; account for them. Raises: Invalid, Exhausted."""
        stored = entry.stored_bytes
        if min(stored, entry.uid, entry.gid) < 0:
            raise Invalid("read layer", quoted_path(entry.path), "a size or an owner is negative")
        if stored and entry.kind != FILE:
            raise Invalid(
                "read layer", quoted_path(entry.path), f"a {entry.kind} claims {stored} bytes of content"
            )
        self._left, self._padding = stored, -stored % BLOCK
        entry.size_bytes = stored
        if header.kind == _SPARSE:
            segments, real_size_bytes = read_old_gnu(header.block, self._stream.take)
            entry.sparse = SparseMap(segments, real_size_bytes, stored_bytes=stored)
        elif pax is not None and entry.kind == FILE:
            entry.sparse = self._pax_sparse(entry, pax)
        if entry.sparse is not None:
            entry.size_bytes = entry.sparse.real_size_bytes
        self._total_bytes += max(entry.size_bytes, stored)
        for size_bytes, limit in (
            (entry.size_bytes, self._limits.file_bytes),
            (self._total_bytes, self._limits.total_bytes),
        ):
            if size_bytes > limit:
                raise Exhausted("read layer", quoted_path(entry.path), f"more than {limit} bytes of content")

    def _pax_sparse(self, entry: Entry, pax: PaxRecords) -> SparseMap | None:
        """The sparse map that PAX records announce, in any of GNU tar's three formats."""
        real_size_bytes = pax.number(b"GNU.sparse.realsize")
        if real_size_bytes is None:
            real_size_bytes = pax.number(b"GNU.sparse.size")
        version = (pax.get(b"GNU.sparse.major"), pax.get(b"GNU.sparse.minor"))
        if version == (b"1", b"0") and real_size_bytes is not None:
            segments, used = read_map_in_data(self._stream.take, entry.stored_bytes)
            self._left -= used
            entry.stored_bytes -= used
            return SparseMap(segments, real_size_bytes, stored_bytes=entry.stored_bytes)
        listed = read_pax_map(pax)
        if listed is None and real_size_bytes is None and version == (None, None):
            return None
        if listed is None or real_size_bytes is None:
            raise Invalid("read layer", quoted_path(entry.path), "its sparse map is incomplete")
        return SparseMap(listed, real_size_bytes, stored_bytes=entry.stored_bytes)

    def normalized(self, name: bytes) -> bytes:
        """``name`` without ``.``, empty components and leading slashes.

        Raises: Invalid for ``..`` or nothing.
        """
        if not name:
            raise Invalid("read layer", "", "an entry has no name")
        if name[0] in b"/." or b"//" in name or b"/." in name or name[-1] in b"/":
            parts = [part for part in name.split(b"/") if part not in (b"", b".")]
            if b".." in parts:
                raise Invalid("read layer", quoted_path(name), "the path contains '..'")
            name = b"/".join(parts)
        else:
            parts = name.split(b"/")
        limits = self._limits
        if len(name) > limits.path_bytes or len(parts) > limits.depth:
            raise Exhausted("read layer", quoted_path(name), "the path is too long or too deep")
        if len(name) > limits.name_bytes and max(map(len, parts)) > limits.name_bytes:
            raise Exhausted(
                "read layer", quoted_path(name), f"a name is longer than {limits.name_bytes} bytes"
            )
        return name

    def _checked_link(self, entry: Entry, link: bytes) -> bytes:
        """The target of a link; a hard link's is a path of this layer. Raises: Invalid, Exhausted."""
        if not link:
            raise Invalid("read layer", quoted_path(entry.path), f"the {entry.kind} has no target")
        if len(link) > self._limits.path_bytes:
            raise Exhausted(
                "read layer", quoted_path(entry.path), f"the target of the {entry.kind} is too long"
            )
        return self.normalized(link) if entry.kind == HARDLINK else link

    def _require_small_xattrs(self, entry: Entry) -> None:
        """Raises: Exhausted for more extended attributes than any file system stores."""
        if sum(len(name) + len(value) for name, value in entry.xattrs.items()) > self._limits.xattr_bytes:
            raise Exhausted("read layer", quoted_path(entry.path), "its extended attributes are too large")


def _apply_pax(entry: Entry, header: Header, pax: PaxRecords) -> None:
    """Let PAX records override the header.

    Raises: Invalid when the two contradict each other about the size.
    """
    size_bytes = pax.number(b"size")
    if size_bytes is not None:
        if header.size_bytes != size_bytes <= _USTAR_MAX_SIZE:
            raise Invalid(
                "read layer",
                quoted_path(entry.path),
                f"its size is {header.size_bytes} in one header and {size_bytes} in another",
                hint="such archives show different files to different tools: do not trust this image",
            )
        if header.kind == _SPARSE:
            raise Invalid("read layer", quoted_path(entry.path), "it mixes GNU and PAX headers")
        entry.stored_bytes = size_bytes
    for key, name in ((b"uid", "uid"), (b"gid", "gid")):
        if (number := pax.number(key)) is not None:
            setattr(entry, name, number)
    mtime_ns = pax.time_ns(b"mtime")
    if mtime_ns is not None:
        entry.mtime_ns = mtime_ns
    entry.xattrs = pax.xattrs()


def quoted_path(path: bytes) -> str:
    """A path of the archive, safe to show."""
    return quoted(path.decode("utf-8", "backslashreplace"))
