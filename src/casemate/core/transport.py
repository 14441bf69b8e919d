"""Where images come from and go to: registry, oci layout, archives, directories.

A source answers with raw bytes whose digest the caller verifies; it never interprets an image.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol
else:
    Protocol = object


class Descriptor:
    """An OCI content descriptor (image-spec, "Descriptor")."""

    __slots__ = ("annotations", "digest", "media_type", "platform", "size_bytes", "urls")

    def __init__(
        self,
        media_type: str,
        digest: str,
        size_bytes: int,
        *,
        platform: dict[str, object] | None = None,
        annotations: dict[str, str] | None = None,
        urls: tuple[str, ...] = (),
    ) -> None:
        self.media_type = media_type
        self.digest = digest
        self.size_bytes = size_bytes
        self.platform = platform
        self.annotations = annotations or {}
        self.urls = urls


class Progress(Protocol):
    """Receives progress of transfers; methods may be called from any thread and must not block."""

    def event(self, item: str, status: str, *, current: int = 0, total: int = 0) -> None:
        """Report one step: ``item`` is a short digest or a name, ``status`` docker's wording ("Downloading")."""


class ImageSource(Protocol):
    """Read side of one image reference in one transport."""

    def manifest(self, digest: str | None = None) -> tuple[bytes, str]:
        """Return (raw manifest or index, media type): the reference's own, or the one with ``digest``."""

    def iter_blob(self, descriptor: Descriptor, *, offset: int = 0) -> Iterator[bytes]:
        """Yield the blob's bytes from ``offset``. Raises Unsupported when it cannot start at a non-zero offset."""

    def close(self) -> None:
        """Release connections and files."""


class ImageSink(Protocol):
    """Write side: blobs first, then manifests, then ``commit`` makes the reference visible."""

    def put_blob(self, descriptor: Descriptor, read: Callable[[], Iterator[bytes]]) -> None:
        """Store a blob; idempotent."""

    def put_manifest(self, data: bytes, media_type: str, digest: str) -> None:
        """Store a manifest or index."""

    def commit(self, digest: str, names: list[str]) -> None:
        """Finish: make ``digest`` the image that the sink holds under ``names``."""
