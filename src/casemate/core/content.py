"""The content store as other rooms see it: immutable blobs named by digest.

Life cycle: ``ingest`` -> write -> ``commit`` (verified, atomic, idempotent: success means *the content is
stored*, whoever stored it). An ingest that is not committed keeps its partial bytes under its key, so that
the next ingest of the same key resumes at ``offset``; garbage collection removes abandoned ones. Nothing
here buffers a blob in memory.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from typing import BinaryIO, Protocol
else:
    Protocol = object


class BlobInfo:
    """A stored blob: its digest and its size in bytes."""

    __slots__ = ("digest", "size_bytes")

    def __init__(self, digest: str, size_bytes: int) -> None:
        self.digest = digest
        self.size_bytes = size_bytes


class Ingest(Protocol):
    """One blob on its way in; a context manager that keeps partial data unless ``commit`` succeeded or ``abort`` was called."""

    offset: int
    """Bytes already held from an earlier attempt (already part of the running hash)."""

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``; raises Exhausted on a full disk or when more than the expected size arrives."""

    def truncate(self) -> None:
        """Forget the partial bytes: ``offset`` becomes 0 (the server could not resume)."""

    def commit(self) -> BlobInfo:
        """Verify size and digest, fsync, rename into place. Raises Corrupt (partial data removed) on mismatch."""

    def abort(self) -> None:
        """Remove the partial bytes."""


class ContentStore(Protocol):
    """Content-addressed blobs. Every method raises Invalid for a digest that is not canonical."""

    def find(self, digest: str) -> BlobInfo | None:
        """Return the blob's size, or None when it is absent."""

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading (seekable, unverified). Raises NotFound."""

    def read(self, digest: str, *, limit_bytes: int) -> bytes:
        """Read a small blob whole and verify its digest. Raises NotFound, Corrupt, Exhausted past ``limit_bytes``."""

    def ingest(
        self, key: str, *, digest: str | None = None, size_bytes: int | None = None
    ) -> AbstractContextManager[Ingest]:
        """Begin or resume writing a blob. ``digest``/``size_bytes`` are verified by ``commit`` when given."""

    def put(self, data: bytes) -> BlobInfo:
        """Store small ``data``; idempotent."""

    def delete(self, digest: str) -> None:
        """Remove a blob; absent is success. Only the garbage collector calls this."""

    def iter_blobs(self) -> Iterator[BlobInfo]:
        """Yield every stored blob."""
