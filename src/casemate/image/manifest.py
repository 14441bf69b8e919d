"""Manifests and indexes: parsed once, with one meaning, into values.

A document that could be read as both a manifest and an index is refused (CVE-2021-41190), and so is one whose
own ``mediaType`` differs from what the registry said. The raw bytes stay beside the values: they are what was
signed and what is stored.
Sources: OCI image-spec, "Image Manifest" and "Image Index"; distribution, "Image Manifest Version 2, Schema
2".
"""

from __future__ import annotations

import hashlib

from casemate.errors import Exhausted, Invalid, NotFound, Unsupported
from casemate.image.descriptor import descriptor_json, parse_descriptor, text_map
from casemate.oci import mediatype
from casemate.oci.image_spec import ANNOTATION_REFERENCE_TYPE
from casemate.oci.platform import platform_of
from casemate.oci.quoting import quoted
from casemate.oci.strict_json import loads_object, refuse_case_twins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from casemate.core.transport import Descriptor
    from casemate.oci.platform import Platform

MAX_LAYERS = 512
MAX_INDEX_ENTRIES = 4096

_SCHEMA_VERSION = 2
_KEYS = (
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "fsLayers",
    "signatures",
    "history",
)


class Manifest:
    """One image of one platform: its config and its layers, lowest first."""

    __slots__ = ("annotations", "artifact_type", "config", "layers", "media_type", "subject")

    def __init__(
        self,
        media_type: str,
        config: Descriptor,
        layers: Sequence[Descriptor],
        *,
        annotations: dict[str, str] | None = None,
        subject: Descriptor | None = None,
        artifact_type: str = "",
    ) -> None:
        self.media_type = media_type
        self.config = config
        self.layers = tuple(layers)
        self.annotations = annotations or {}
        self.subject = subject
        self.artifact_type = artifact_type

    def require_image(self, *, what: str) -> Manifest:
        """Return this manifest when it describes a container image whose layers we can unpack.

        Raises: Unsupported for artifacts (signatures, charts, SBOMs) and unknown layer types.
        """
        if self.config.media_type not in mediatype.IMAGE_CONFIGS:
            kind = self.artifact_type or self.config.media_type
            raise Unsupported(
                "use image", what, f"it is an artifact of type {quoted(kind)}, not a container image"
            )
        for layer in self.layers:
            if not mediatype.is_layer(layer.media_type):
                raise Unsupported("use image", what, f"layer type {quoted(layer.media_type)} is unknown")
        return self


class Index:
    """A list of manifests, usually one for each platform."""

    __slots__ = ("annotations", "manifests", "media_type")

    def __init__(
        self, media_type: str, manifests: Sequence[Descriptor], *, annotations: dict[str, str] | None = None
    ) -> None:
        self.media_type = media_type
        self.manifests = tuple(manifests)
        self.annotations = annotations or {}


def parse_manifest(data: bytes, media_type: str = "", *, what: str = "manifest") -> Manifest | Index:
    """Return what ``data`` states. ``media_type`` is what the sender called it ("" when it did not say).

    Raises: Invalid (malformed, ambiguous), Unsupported (schema 1, unknown type), Exhausted (too large, too
    many entries).
    """
    if media_type in mediatype.SCHEMA1_TYPES:
        _refuse_schema1(what)
    document = loads_object(data, what=what)
    refuse_case_twins(document, _KEYS, what=what)
    if document.get("schemaVersion") == 1 or "fsLayers" in document:
        _refuse_schema1(what)
    if document.get("schemaVersion") is not _SCHEMA_VERSION:
        raise Invalid("read", what, f"schemaVersion is {quoted(document.get('schemaVersion'))}, not 2")
    kind = _kind(document, media_type, what)
    annotations = text_map(document.get("annotations"), what=what, key="annotations")
    if kind in mediatype.INDEXES:
        manifests = _descriptors(document["manifests"], what, MAX_INDEX_ENTRIES)
        return Index(kind, manifests, annotations=annotations)
    subject, artifact_type = document.get("subject"), document.get("artifactType", "")
    return Manifest(
        kind,
        parse_descriptor(document.get("config"), what=f"the config in {what}"),
        _descriptors(document["layers"], what, MAX_LAYERS),
        annotations=annotations,
        subject=None if subject is None else parse_descriptor(subject, what=f"the subject of {what}"),
        artifact_type=artifact_type if isinstance(artifact_type, str) else "",
    )


def choose_platform(index: Index, platform: Platform, *, what: str = "image") -> Descriptor:
    """Return the manifest of ``index`` that suits ``platform`` best; the first of equals.

    Build attestations (``unknown/unknown``) are never chosen. An entry without a platform is taken only when
    nothing in the index names one: then whoever wrote it meant it for everyone. Raises: NotFound with the
    platforms that exist.
    """
    images = [entry for entry in index.manifests if _may_be_image(entry)]
    best: tuple[int, Descriptor] | None = None
    offered: list[str] = []
    for entry in images:
        found = platform_of(entry.platform or {})
        if found is None:
            continue
        if str(found) not in offered:
            offered.append(str(found))
        rank = platform.rank_of(found)
        if rank is not None and (best is None or rank < best[0]):
            best = (rank, entry)
    if best is not None:
        return best[1]
    if images and not offered:
        return images[0]
    raise NotFound(
        "choose platform",
        f"{platform} of {what}",
        f"the image exists for {', '.join(offered[:32])}" if offered else "the index holds no image",
        hint=f"casemate pull --platform {offered[0]} ..." if offered else "",
    )


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """Return the chain id of every layer, lowest first. Source: OCI image-spec, "Layer ChainID"."""
    chain: list[str] = []
    for diff_id in diff_ids:
        if chain:
            joined = f"{chain[-1]} {diff_id}".encode("ascii")
            chain.append("sha256:" + hashlib.sha256(joined).hexdigest())
        else:
            chain.append(diff_id)
    return chain


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest's JSON, the same bytes for equal values."""
    document: dict[str, Any] = {"schemaVersion": _SCHEMA_VERSION, "mediaType": manifest.media_type}
    if manifest.artifact_type:
        document["artifactType"] = manifest.artifact_type
    document["config"] = descriptor_json(manifest.config)
    document["layers"] = [descriptor_json(layer) for layer in manifest.layers]
    if manifest.subject is not None:
        document["subject"] = descriptor_json(manifest.subject)
    return _encode(document, manifest.annotations)


def encode_index(index: Index) -> bytes:
    """Return the index's JSON, the same bytes for equal values."""
    document: dict[str, Any] = {"schemaVersion": _SCHEMA_VERSION, "mediaType": index.media_type}
    document["manifests"] = [descriptor_json(entry) for entry in index.manifests]
    return _encode(document, index.annotations)


def _encode(document: dict[str, Any], annotations: dict[str, str]) -> bytes:
    import json

    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _kind(document: dict[str, Any], media_type: str, what: str) -> str:
    has_manifests, has_layers = "manifests" in document, "layers" in document or "config" in document
    if has_manifests and has_layers:
        raise Invalid("read", what, "it has both manifests and layers: it could be an image and an index")
    stated = document.get("mediaType", "")
    if not isinstance(stated, str):
        raise Invalid("read", what, "mediaType is not a string")
    if media_type and stated and stated != media_type:
        raise Invalid("read", what, f"it calls itself {quoted(stated)} but was sent as {quoted(media_type)}")
    kind = stated or media_type
    if not kind:
        kind = mediatype.OCI_INDEX if has_manifests else mediatype.OCI_MANIFEST
    if kind not in mediatype.INDEXES and kind not in mediatype.MANIFESTS:
        raise Unsupported("read", what, f"media type {quoted(kind)} is neither an image nor an index")
    if (kind in mediatype.INDEXES) != has_manifests or not (has_manifests or "layers" in document):
        raise Invalid("read", what, f"its content does not fit its type {kind}")
    return kind


def _descriptors(found: Any, what: str, limit: int) -> list[Descriptor]:
    if not isinstance(found, list):
        raise Invalid("read", what, "its entries are not a list")
    if len(found) > limit:
        raise Exhausted("read", what, f"{len(found)} entries are over the limit of {limit}")
    return [parse_descriptor(entry, what=f"entry {at} of {what}") for at, entry in enumerate(found)]


def _may_be_image(entry: Descriptor) -> bool:
    if entry.media_type not in mediatype.MANIFESTS and entry.media_type not in mediatype.INDEXES:
        return False
    if ANNOTATION_REFERENCE_TYPE in entry.annotations:
        return False
    return (entry.platform or {}).get("os") != "unknown"


def _refuse_schema1(what: str) -> None:
    raise Unsupported(
        "read",
        what,
        "it is a docker image of schema 1, whose layers cannot be verified",
        hint="push the image again with a current docker, podman or skopeo",
    )
