"""Media types of images: the OCI names and docker's older names for the same things.

Sources: OCI image-spec, "OCI Image Media Types"; distribution, "Image Manifest Version 2, Schema 2".
"""

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYOUT_HEADER = "application/vnd.oci.layout.header.v1+json"

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"

SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

INDEXES = frozenset((OCI_INDEX, DOCKER_INDEX))
MANIFESTS = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
SCHEMA1_TYPES = frozenset((SCHEMA1, SCHEMA1_SIGNED))
IMAGE_CONFIGS = frozenset((OCI_CONFIG, DOCKER_CONFIG))

ACCEPTED = (OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST)
"""What a registry is asked for; schema 1 is left out, because it names layers that nobody can verify."""

_COMPRESSION = {
    OCI_LAYER: "",
    DOCKER_LAYER: "",
    OCI_LAYER_GZIP: "gzip",
    DOCKER_LAYER_GZIP: "gzip",
    OCI_LAYER_ZSTD: "zstd",
    DOCKER_LAYER_ZSTD: "zstd",
}
_FOREIGN = {
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar": "",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
}


def is_layer(media_type: str) -> bool:
    """Tell whether ``media_type`` is a file system layer that we can unpack."""
    return media_type in _COMPRESSION or media_type in _FOREIGN


def is_foreign_layer(media_type: str) -> bool:
    """Tell whether the layer's content is meant to be fetched from elsewhere (which we never do)."""
    return media_type in _FOREIGN


def layer_compression(media_type: str) -> str | None:
    """Return "gzip", "zstd", "" (plain tar), or None when ``media_type`` is no layer."""
    found = _COMPRESSION.get(media_type)
    return found if found is not None else _FOREIGN.get(media_type)


def plain_type(header: str) -> str:
    """Return a Content-Type header's media type without parameters, in lower case."""
    return header.partition(";")[0].strip().lower()
