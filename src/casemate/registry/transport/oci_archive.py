"""``oci-archive:`` and the writing side of ``docker-archive:``: an image layout in a tar archive.

docker 25 and later write one archive that is both: the OCI layout, and a manifest.json that points to the
same blobs. So do we for ``docker-archive``: docker, podman and skopeo load it, each by the half it knows, and
no digest changes.
"""

from __future__ import annotations

import json

from casemate.core.transport import Descriptor
from casemate.errors import Invalid
from casemate.image.manifest import Index, Manifest, encode_index, parse_manifest
from casemate.oci import mediatype
from casemate.oci.image_spec import LAYOUT_CONTENT, LAYOUT_FILE, LAYOUT_INDEX
from casemate.oci.reference import parse_reference
from casemate.registry.archive_writer import ArchiveWriter
from casemate.registry.transport.oci_layout import blob_name, name_annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ArchiveSink:
    """``core.transport.ImageSink`` into one tar archive, which may hold several images.

    ``finish`` completes it and gives it its name; ``close`` drops one that was not finished.
    """

    parallel = False

    def __init__(self, path: str, *, for_docker: bool, name: str = "") -> None:
        self._writer = ArchiveWriter(path)
        self._for_docker = for_docker
        self._name = name
        self._manifests: dict[str, tuple[bytes, str]] = {}
        self._images: list[tuple[str, list[str]]] = []

    def put_blob(self, descriptor: Descriptor, read: Callable[[], Iterator[bytes]]) -> None:
        """Write a blob, once."""
        name = blob_name(descriptor.digest)
        if not self._writer.has(name):
            self._start()
            self._writer.add(name, descriptor.size_bytes, read())

    def put_manifest(self, data: bytes, media_type: str, digest: str) -> None:
        """Write a manifest or index, once."""
        self._manifests[digest] = (data, media_type)
        if not self._writer.has(blob_name(digest)):
            self._start()
            self._writer.add(blob_name(digest), len(data), (data,))

    def commit(self, digest: str, names: list[str]) -> None:
        """Note that the archive holds ``digest`` under ``names``; ``finish`` writes it down."""
        self._images.append((digest, [self._name] if self._name else names))

    def finish(self) -> None:
        """Write the index files and give the archive its name."""
        self._start()
        entries = [
            Descriptor(
                self._manifests[digest][1], digest, len(self._manifests[digest][0]), annotations=annotations
            )
            for digest, names in self._images
            for annotations in name_annotations(names)
        ]
        index = encode_index(Index(mediatype.OCI_INDEX, entries))
        self._writer.add(LAYOUT_INDEX, len(index), (index,))
        if self._for_docker:
            listing = json.dumps(
                [self._docker_entry(*image) for image in self._images], separators=(",", ":")
            ).encode()
            self._writer.add("manifest.json", len(listing), (listing,))
        self._writer.add(LAYOUT_FILE, len(LAYOUT_CONTENT), (LAYOUT_CONTENT,))
        self._writer.finish()

    def close(self) -> None:
        """Drop the archive unless it was finished."""
        self._writer.close()

    def _start(self) -> None:
        self._writer.add_directory("blobs")
        self._writer.add_directory("blobs/sha256")

    def _docker_entry(self, digest: str, names: list[str]) -> dict[str, object]:
        data, media_type = self._manifests[digest]
        manifest = parse_manifest(data, media_type)
        if not isinstance(manifest, Manifest):
            raise Invalid(
                "write docker archive", digest, "docker archives hold one platform of an image, not an index"
            )
        return {
            "Config": blob_name(manifest.config.digest),
            "RepoTags": [parse_reference(name).familiar() for name in names],
            "Layers": [blob_name(layer.digest) for layer in manifest.layers],
        }
