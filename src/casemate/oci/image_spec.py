"""Words of the image specification: annotation keys, names inside a layout, and the JSON shapes of documents.

The shapes are for whoever writes a document; what is read comes from strangers and passes ``image.manifest``
and ``image.config``.
Source: OCI image-spec 1.1, "Annotations", "Image Layout", "Image Configuration".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    class RunConfigJson(TypedDict, total=False):
        """``config`` of an image config: how to run it. Keys as docker wrote them first."""

        User: str
        ExposedPorts: dict[str, dict[str, Any]]
        Env: list[str]
        Entrypoint: list[str] | None
        Cmd: list[str] | None
        Volumes: dict[str, dict[str, Any]]
        WorkingDir: str
        Labels: dict[str, str]
        StopSignal: str
        Healthcheck: dict[str, Any]
        Shell: list[str]
        OnBuild: list[str]

    class RootfsJson(TypedDict):
        """``rootfs`` of an image config: digests of the uncompressed layers, lowest first."""

        type: str
        diff_ids: list[str]

    class HistoryJson(TypedDict, total=False):
        """One step by which an image was made."""

        created: str
        created_by: str
        author: str
        comment: str
        empty_layer: bool

    class ImageConfigJson(TypedDict, total=False):
        """An image config."""

        created: str
        author: str
        architecture: str
        os: str
        variant: str
        config: RunConfigJson
        rootfs: RootfsJson
        history: list[HistoryJson]


ANNOTATION_REF_NAME = "org.opencontainers.image.ref.name"
ANNOTATION_CREATED = "org.opencontainers.image.created"
ANNOTATION_TITLE = "org.opencontainers.image.title"
ANNOTATION_VERSION = "org.opencontainers.image.version"
ANNOTATION_SOURCE = "org.opencontainers.image.source"
ANNOTATION_REVISION = "org.opencontainers.image.revision"
ANNOTATION_BASE_NAME = "org.opencontainers.image.base.name"
ANNOTATION_BASE_DIGEST = "org.opencontainers.image.base.digest"
# Not of the specification: containerd's and buildkit's full name of an entry of index.json.
ANNOTATION_IMAGE_NAME = "io.containerd.image.name"
# Not of the specification: marks build attestations inside an index.
ANNOTATION_REFERENCE_TYPE = "vnd.docker.reference.type"

LAYOUT_FILE = "oci-layout"
LAYOUT_INDEX = "index.json"
LAYOUT_CONTENT = b'{"imageLayoutVersion":"1.0.0"}'
ROOTFS_TYPE_LAYERS = "layers"
