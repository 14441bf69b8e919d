"""A freshly built root file system as an image source: compressed, hashed and described as OCI says.

Source: OCI image-spec, "Image Manifest" and "Image Configuration".
"""

from __future__ import annotations

import hashlib
import json
import os
import time

from casemate.errors import NotFound
from casemate.oci.mediatype import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from casemate.oci.platform import host_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from casemate.core.transport import Descriptor
    from casemate.engine.bootstrap.recipe import Recipe

CHUNK = 1 << 20
KEY_LABEL = "dev.casemate.bootstrap.key"
_GZIP_WINDOW = 31
_LEVEL = 2


class LayerFile:
    """A gzip layer in a file, with the digests of its compressed and uncompressed bytes."""

    __slots__ = ("diff_id", "digest", "path", "size_bytes")

    def __init__(self, path: str, digest: str, diff_id: str, size_bytes: int) -> None:
        self.path = path
        self.digest = digest
        self.diff_id = diff_id
        self.size_bytes = size_bytes


def compress_layer(tar: BinaryIO, path: str) -> LayerFile:
    """Compress ``tar`` into ``path``. Streams; the same tar and the same isal give the same bytes."""
    from isal import isal_zlib

    plain, packed, size = hashlib.sha256(), hashlib.sha256(), 0
    compressor = isal_zlib.compressobj(level=_LEVEL, wbits=_GZIP_WINDOW)
    with open(path, "wb") as out:
        while data := tar.read(CHUNK):
            plain.update(data)
            size += _emit(out, packed, compressor.compress(data))
        size += _emit(out, packed, compressor.flush())
    return LayerFile(path, f"sha256:{packed.hexdigest()}", f"sha256:{plain.hexdigest()}", size)


def _emit(out: BinaryIO, packed: hashlib._Hash, data: bytes) -> int:
    """Write compressed bytes and add them to their digest; return how many."""
    packed.update(data)
    out.write(data)
    return len(data)


class BuiltSource:
    """An ``ImageSource`` over one layer file and the documents made for it."""

    def __init__(self, recipe: Recipe, key: str, layer: LayerFile) -> None:
        self._layer = layer
        self._config = json.dumps(config_document(recipe, key, layer.diff_id), sort_keys=True).encode()
        descriptor = {"mediaType": OCI_LAYER_GZIP, "digest": layer.digest, "size": layer.size_bytes}
        config = {"mediaType": OCI_CONFIG, "digest": digest_of(self._config), "size": len(self._config)}
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [descriptor]}
        self._manifest = json.dumps(manifest, sort_keys=True).encode()

    def manifest(self, digest: str | None = None) -> tuple[bytes, str]:
        """The image's only manifest. Raises: NotFound for the digest of another."""
        if digest is not None and digest != digest_of(self._manifest):
            raise NotFound("read manifest", digest, "the built image has another")
        return self._manifest, OCI_MANIFEST

    def iter_blob(self, descriptor: Descriptor, *, offset: int = 0) -> Iterator[bytes]:
        """The configuration or the layer, in pieces. Raises: NotFound."""
        if descriptor.digest == digest_of(self._config):
            yield self._config[offset:]
            return
        if descriptor.digest != self._layer.digest:
            raise NotFound("read blob", descriptor.digest, "it is not part of the built image")
        with open(self._layer.path, "rb") as file:
            file.seek(offset)
            while data := file.read(CHUNK):
                yield data

    def close(self) -> None:
        """Nothing is held open."""


def digest_of(data: bytes) -> str:
    """The digest of a document."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def config_document(recipe: Recipe, key: str, diff_id: str) -> dict[str, object]:
    """The OCI image configuration."""
    from casemate.engine.bootstrap.recipe import PATH

    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(recipe.epoch))
    platform = host_platform()
    words = [
        "casemate image bootstrap",
        recipe.reference,
        *(["--include", ",".join(recipe.include)] * bool(recipe.include)),
    ]
    return {
        "created": created,
        "architecture": platform.architecture,
        "os": "linux",
        **({"variant": platform.variant} if platform.variant else {}),
        "config": {
            "Env": [PATH],
            "Cmd": ["bash" if recipe.kind == "debian" else "sh"],
            "Labels": {KEY_LABEL: key, "org.opencontainers.image.title": recipe.reference},
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [
            {
                "created": created,
                "created_by": " ".join(words),
                "comment": f"casemate on {os.uname().sysname}",
            }
        ],
    }
