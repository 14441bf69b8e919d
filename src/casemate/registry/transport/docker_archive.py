"""``docker-archive:``: what ``docker save`` writes, of any version.

manifest.json names a config and layer files; there is no manifest with digests, so one is made: config and
layers are named by the digests that the files have, and the config's digest, which is docker's image id, is
what it was.
Source: docker, "Docker Image Specification v1.2", "Combined
Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import hashlib

from casemate.core.transport import Descriptor
from casemate.errors import Invalid, NotFound
from casemate.image.config import ImageConfig
from casemate.image.manifest import Manifest, encode_manifest
from casemate.oci import mediatype
from casemate.oci.digest import digest_of, from_hex, is_digest
from casemate.oci.quoting import quoted
from casemate.oci.reference import parse_reference
from casemate.oci.strict_json import DOCUMENT_LIMIT_BYTES, loads
from casemate.registry.inflate import compression_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from casemate.registry.archive_files import ArchiveFiles

_LAYER_TYPES = {
    "": mediatype.DOCKER_LAYER,
    "gzip": mediatype.DOCKER_LAYER_GZIP,
    "zstd": mediatype.DOCKER_LAYER_ZSTD,
}
_BLOB_FOLDER = "blobs/sha256/"
_MAX_IMAGES = 4096


class ArchivedImage:
    """One entry of manifest.json."""

    __slots__ = ("config_name", "layer_names", "names")

    def __init__(self, config_name: str, layer_names: list[str], names: list[str]) -> None:
        self.config_name = config_name
        self.layer_names = layer_names
        self.names = names


class DockerArchiveSource:
    """``core.transport.ImageSource`` for one image of the archive.

    ``selector`` is an image name, ``@N`` (position), or "" when there is only one.
    """

    def __init__(self, files: ArchiveFiles, selector: str = "") -> None:
        self._files = files
        image = _choose(read_listing(files), selector, files.label)
        self.names = image.names
        self._places: dict[str, str] = {}
        self._data = self._make_manifest(image)

    def manifest(self, digest: str | None = None) -> tuple[bytes, str]:
        """Return (the manifest made for the image, media type). Raises: NotFound for any other digest."""
        if digest is not None and digest != digest_of(self._data):
            raise NotFound("read", f"{self._files.label}:{digest}", "the archive has no such manifest")
        return self._data, mediatype.DOCKER_MANIFEST

    def iter_blob(self, descriptor: Descriptor, *, offset: int = 0) -> Iterator[bytes]:
        """Yield the bytes of the config or of a layer from ``offset``. Raises: NotFound."""
        place = self._places.get(descriptor.digest)
        if place is None:
            raise NotFound("read", f"{self._files.label}:{descriptor.digest}", "the archive has no such blob")
        return self._files.chunks(place, offset=offset)

    def close(self) -> None:
        """Close the archive."""
        self._files.close()

    def _make_manifest(self, image: ArchivedImage) -> bytes:
        what = f"config of {self._files.label}"
        config_data = self._files.read(image.config_name, limit_bytes=DOCUMENT_LIMIT_BYTES)
        config = ImageConfig.parse(config_data, what=what)
        if len(config.diff_ids) != len(image.layer_names):
            raise Invalid(
                "read", what, f"{len(config.diff_ids)} diff ids for {len(image.layer_names)} layers"
            )
        self._places[digest_of(config_data)] = image.config_name
        layers = []
        for name, diff_id in zip(image.layer_names, config.diff_ids, strict=True):
            layers.append(self._layer(name, diff_id))
            self._places[layers[-1].digest] = name
        described = Descriptor(mediatype.DOCKER_CONFIG, digest_of(config_data), len(config_data))
        return encode_manifest(Manifest(mediatype.DOCKER_MANIFEST, described, layers))

    def _layer(self, name: str, diff_id: str) -> Descriptor:
        size = self._files.size_bytes(name)
        kind = compression_of(next(self._files.chunks(name), b""))
        media_type = _LAYER_TYPES.get(kind)
        if media_type is None:
            raise Invalid("read", f"{self._files.label}:{name}", f"the layer is compressed with {kind}")
        digest = diff_id if not kind else self._digest_of_file(name)
        return Descriptor(media_type, digest, size)

    def _digest_of_file(self, name: str) -> str:
        stated = "sha256:" + name.removeprefix(_BLOB_FOLDER)
        if name.startswith(_BLOB_FOLDER) and is_digest(stated):
            return stated  # verified like every digest when the blob is fetched
        running = hashlib.sha256()
        for data in self._files.chunks(name):
            running.update(data)
        return from_hex(running.hexdigest())


def read_listing(files: ArchiveFiles) -> list[ArchivedImage]:
    """Return the images of manifest.json. Raises: Invalid, NotFound when it is no docker archive."""
    what = f"manifest.json of {files.label}"
    found = loads(files.read("manifest.json", limit_bytes=DOCUMENT_LIMIT_BYTES), what=what)
    if not isinstance(found, list) or not 0 < len(found) <= _MAX_IMAGES:
        raise Invalid("read", what, "it is not a list of images")
    return [_image(entry, what) for entry in found]


def _image(entry: object, what: str) -> ArchivedImage:
    if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str):
        raise Invalid("read", what, "an image has no Config")
    layers, names = entry.get("Layers") or [], entry.get("RepoTags") or []
    for texts in (layers, names):
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Invalid("read", what, "Layers or RepoTags is not a list of strings")
    return ArchivedImage(entry["Config"], layers, [parse_reference(name).canonical() for name in names])


def _choose(images: list[ArchivedImage], selector: str, label: str) -> ArchivedImage:
    if not selector:
        if len(images) == 1:
            return images[0]
        names = ", ".join(name for image in images[:16] for name in image.names[:4])
        raise Invalid("choose image", label, f"it holds {len(images)} images", hint=f"add one of: {names}")
    if selector.startswith("@") and selector[1:].isascii() and selector[1:].isdigit():
        at = int(selector[1:6])
        if at < len(images):
            return images[at]
    else:
        wanted = parse_reference(selector).canonical()
        for image in images:
            if wanted in image.names:
                return image
    raise NotFound("choose image", f"{quoted(selector)} in {label}", "the archive has no such image")
