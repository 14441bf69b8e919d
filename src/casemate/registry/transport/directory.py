"""``dir:``: skopeo's plain directory: manifest.json, and blobs named by the hexadecimal part of their digest.

Source: containers-transports(5).
"""

from __future__ import annotations

import os

from casemate.errors import Corrupt, Denied, Exhausted
from casemate.oci.digest import digest_of, hex_of
from casemate.oci.strict_json import DOCUMENT_LIMIT_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from casemate.core.transport import Descriptor
    from casemate.registry.files import ImageFiles

_VERSION = b"Directory Transport Version: 1.1\n"


class DirectorySource:
    """``core.transport.ImageSource`` of the one image in the directory."""

    def __init__(self, files: ImageFiles) -> None:
        self._files = files
        self.names: list[str] = []

    def manifest(self, digest: str | None = None) -> tuple[bytes, str]:
        """Return (raw manifest or index, "": the directory keeps no media type)."""
        data = self._files.read("manifest.json", limit_bytes=DOCUMENT_LIMIT_BYTES)
        if digest is None or digest_of(data) == digest:
            return data, ""
        return self._files.read(f"{hex_of(digest)}.manifest.json", limit_bytes=DOCUMENT_LIMIT_BYTES), ""

    def iter_blob(self, descriptor: Descriptor, *, offset: int = 0) -> Iterator[bytes]:
        """Yield the blob's bytes from ``offset``. Raises: NotFound, Corrupt (another size than stated)."""
        name = hex_of(descriptor.digest)
        size = self._files.size_bytes(name)
        if size != descriptor.size_bytes:
            raise Corrupt(
                "read", f"{self._files.label}/{name}", f"{size} bytes, expected {descriptor.size_bytes}"
            )
        return self._files.chunks(name, offset=offset)

    def close(self) -> None:
        """Close the directory."""
        self._files.close()


class DirectorySink:
    """``core.transport.ImageSink`` of one image. Names are not kept: the format has no place for them."""

    parallel = False

    def __init__(self, path: str) -> None:
        self._path = path
        self._manifests: dict[str, bytes] = {}
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise Denied("write image directory", path, os.strerror(error.errno or 0).lower()) from None

    def put_blob(self, descriptor: Descriptor, read: Callable[[], Iterator[bytes]]) -> None:
        """Store a blob."""
        self._write(hex_of(descriptor.digest), read())

    def put_manifest(self, data: bytes, media_type: str, digest: str) -> None:  # noqa: ARG002 - not kept by the format
        """Store a manifest or index."""
        self._manifests[digest] = data

    def commit(self, digest: str, names: list[str]) -> None:  # noqa: ARG002 - see the class
        """Write the manifests: ``digest`` as the directory's own, others beside it."""
        self._write("version", (_VERSION,))
        for other, data in self._manifests.items():
            if other != digest:
                self._write(f"{hex_of(other)}.manifest.json", (data,))
        self._write("manifest.json", (self._manifests[digest],))

    def close(self) -> None:
        """Nothing stays open."""

    def _write(self, name: str, chunks: Iterable[bytes]) -> None:
        path = f"{self._path}/{name}"
        try:
            with open(path, "wb") as file:
                file.writelines(chunks)
        except OSError as error:
            raise Exhausted("write image directory", path, os.strerror(error.errno or 0).lower()) from None
