"""Manifests and indexes mean one thing, or are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from casemate.core.transport import Descriptor
from casemate.errors import Invalid, NotFound, Unsupported
from casemate.image.manifest import (
    Index,
    Manifest,
    chain_ids,
    choose_platform,
    encode_index,
    encode_manifest,
    parse_manifest,
)
from casemate.oci import mediatype
from casemate.oci.platform import parse_platform

DIGEST = "sha256:" + "a" * 64
CONFIG = {"mediaType": mediatype.OCI_CONFIG, "digest": DIGEST, "size": 2}
LAYER = {"mediaType": mediatype.OCI_LAYER_GZIP, "digest": DIGEST, "size": 3}
IMAGE: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": mediatype.OCI_MANIFEST,
    "config": CONFIG,
    "layers": [LAYER],
}


def parse(document: object, media_type: str = "") -> Manifest | Index:
    return parse_manifest(json.dumps(document).encode(), media_type)


def test_both_families_are_read() -> None:
    for family in (mediatype.OCI_MANIFEST, mediatype.DOCKER_MANIFEST):
        manifest = parse(IMAGE | {"mediaType": family}, family)
        assert isinstance(manifest, Manifest)
        assert (manifest.media_type, manifest.layers[0].size_bytes) == (family, 3)
    for family in (mediatype.OCI_INDEX, mediatype.DOCKER_INDEX):
        assert isinstance(parse({"schemaVersion": 2, "manifests": []}, family), Index)


def test_oci_documents_need_no_media_type_of_their_own() -> None:
    bare = {key: value for key, value in IMAGE.items() if key != "mediaType"}
    assert parse(bare).media_type == mediatype.OCI_MANIFEST
    assert parse({"schemaVersion": 2, "manifests": []}).media_type == mediatype.OCI_INDEX


@pytest.mark.parametrize(
    "document",
    [
        IMAGE | {"manifests": []},
        {"schemaVersion": 2, "manifests": [], "config": CONFIG},
        {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "layers": [], "config": CONFIG},
        {"schemaVersion": 2, "mediaType": mediatype.OCI_MANIFEST, "manifests": []},
        {"schemaVersion": 2, "config": CONFIG},
        {"schemaVersion": 2},
        {"schemaVersion": "2", "manifests": []},
        {"schemaVersion": 2.0, "manifests": []},
        {"schemaVersion": True, "manifests": [], "mediaType": mediatype.OCI_INDEX} | {"schemaVersion": None},
        {},
        IMAGE | {"layers": {}},
        IMAGE | {"layers": [5]},
        IMAGE | {"config": None},
        IMAGE | {"mediaType": 5},
        IMAGE | {"annotations": {"a": 5}},
        IMAGE | {"annotations": []},
        IMAGE | {"layers": [LAYER | {"urls": "http://x"}]},
        IMAGE | {"layers": [LAYER | {"Digest": "sha256:" + "b" * 64}]},
        IMAGE | {"MediaType": mediatype.OCI_INDEX},
        IMAGE | {"subject": {"digest": "x"}},
        IMAGE | {"config": CONFIG | {"platform": 5}},
    ],
)
def test_ambiguous_or_malformed_document_is_invalid(document: object) -> None:
    with pytest.raises(Invalid):
        parse(document)


def test_sender_and_document_must_agree() -> None:
    with pytest.raises(Invalid):
        parse(IMAGE, mediatype.DOCKER_MANIFEST)


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, ""),
        ({"schemaVersion": 2, "fsLayers": []}, ""),
        (IMAGE, mediatype.SCHEMA1),
        (IMAGE, mediatype.SCHEMA1_SIGNED),
    ],
)
def test_schema_1_is_refused_by_name(document: object, media_type: str) -> None:
    with pytest.raises(Unsupported, match="schema 1"):
        parse(document, media_type)


def test_unknown_type_is_unsupported() -> None:
    with pytest.raises(Unsupported):
        parse(IMAGE | {"mediaType": "application/vnd.future+json"})


def _index(*platforms: str | None, **annotations: str) -> Index:
    entries = []
    for at, text in enumerate(platforms):
        platform = None
        if text is not None:
            system, architecture, variant = [*text.split("/"), ""][:3]
            platform = {"os": system, "architecture": architecture, "variant": variant}
        digest = "sha256:" + f"{at:064x}"
        entries.append(
            Descriptor(mediatype.OCI_MANIFEST, digest, 1, platform=platform, annotations=annotations)  # type: ignore[arg-type]
        )
    return Index(mediatype.OCI_INDEX, entries)


@pytest.mark.parametrize(
    ("platforms", "wanted", "position"),
    [
        (["linux/amd64", "linux/arm64"], "linux/arm64", 1),
        (["unknown/unknown", "linux/amd64"], "linux/amd64", 1),
        (["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], "linux/arm/v7", 1),
        (["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", 1),
        (["linux/amd64/v2", "linux/amd64"], "linux/amd64", 1),
        (["linux/amd64", "linux/amd64"], "linux/amd64", 0),
        (["linux/aarch64"], "linux/arm64", 0),
        ([None], "linux/amd64", 0),
        ([None, "linux/amd64"], "linux/amd64", 1),
    ],
)
def test_best_platform_is_chosen(platforms: list[str | None], wanted: str, position: int) -> None:
    index = _index(*platforms)
    assert choose_platform(index, parse_platform(wanted)) is index.manifests[position]


@pytest.mark.parametrize(
    "platforms", [[], ["linux/s390x"], ["unknown/unknown"], ["windows/amd64"], ["linux/amd64/v3"]]
)
def test_missing_platform_is_not_found(platforms: list[str]) -> None:
    with pytest.raises(NotFound):
        choose_platform(_index(*platforms), parse_platform("linux/amd64"))


def test_attestation_is_never_an_image() -> None:
    index = _index("linux/amd64", **{"vnd.docker.reference.type": "attestation-manifest"})
    with pytest.raises(NotFound):
        choose_platform(index, parse_platform("linux/amd64"))


def test_chain_ids_are_those_of_the_specification() -> None:
    first, second = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    import hashlib

    joined = "sha256:" + hashlib.sha256(f"{first} {second}".encode()).hexdigest()
    assert chain_ids([first, second]) == [first, joined]
    assert chain_ids([]) == []


def test_what_is_encoded_is_parsed_back_and_equal_twice() -> None:
    manifest = parse(IMAGE | {"annotations": {"b": "2", "a": "1"}})
    assert isinstance(manifest, Manifest)
    data = encode_manifest(manifest)
    again = parse_manifest(data)
    assert isinstance(again, Manifest)
    assert encode_manifest(again) == data
    index = _index("linux/amd64", "linux/arm/v7")
    assert encode_index(index) == encode_index(index)


def test_artifact_is_not_taken_for_an_image() -> None:
    helm = parse(IMAGE | {"config": CONFIG | {"mediaType": "application/vnd.cncf.helm.config.v1+json"}})
    assert isinstance(helm, Manifest)
    with pytest.raises(Unsupported):
        helm.require_image(what="chart")
