"""Docker's documents of images."""

from __future__ import annotations

import time

from casemate.engine.show.times import ago, human_size, local, rfc3339
from casemate.errors import Invalid
from casemate.image.config import ImageConfig
from casemate.oci.reference import parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from casemate.engine.images import Image
    from casemate.store.store import Store

NONE = "<none>"
MAX_CONFIG_BYTES = 4 << 20


def _parsed(store: Store, image: Image) -> ImageConfig:
    return ImageConfig.parse(
        store.content.read(image.id, limit_bytes=MAX_CONFIG_BYTES), what=f"image {image.id[7:19]}"
    )


def inspect_image(store: Store, image: Image) -> dict[str, Any]:
    """Docker's document."""
    config = _parsed(store, image)
    familiar = [parse_reference(name) for name in image.names]
    return {
        "Id": image.id,
        "RepoTags": [name.familiar() for name in familiar if name.tag],
        "RepoDigests": sorted({f"{name.familiar_name()}@{image.digest}" for name in familiar}),
        "Parent": "",
        "Comment": config.history[-1].get("comment", "") if config.history else "",
        "Created": config.created or rfc3339(0),
        "DockerVersion": "",
        "Author": config.author,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": image.record.size_bytes,
        "VirtualSize": image.record.size_bytes,
        "GraphDriver": {"Name": "overlay2", "Data": {}},
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
        "Metadata": {"LastTagTime": rfc3339(image.record.updated_ns)},
        "Config": {
            "Hostname": "",
            "Domainname": "",
            "User": config.user,
            "ExposedPorts": {port: {} for port in config.exposed_ports} or None,
            "Env": config.env,
            "Cmd": config.cmd,
            "Healthcheck": config.healthcheck,
            "Image": "",
            "Volumes": {path: {} for path in config.volumes} or None,
            "WorkingDir": config.working_dir,
            "Entrypoint": config.entrypoint,
            "OnBuild": config.on_build or None,
            "Labels": config.labels or None,
            "StopSignal": config.stop_signal,
            "Shell": config.shell,
        },
    }


def summarize_image(store: Store, image: Image) -> list[dict[str, str]]:
    """One row a name; an image without a name has one row of ``<none>``."""
    del store
    created = image.record.created_ns
    size = human_size(image.record.size_bytes)
    rows = []
    for name in image.names or ("",):
        reference = parse_reference(name) if name else None
        rows.append(
            {
                "Repository": reference.familiar_name() if reference else NONE,
                "Tag": (reference.tag if reference else None) or NONE,
                "Digest": image.digest,
                "ID": image.id,
                "CreatedSince": ago(created) if created else "N/A",
                "CreatedAt": local(created) if created else "N/A",
                "Size": size,
                "VirtualSize": size,
                "SharedSize": "N/A",
                "UniqueSize": "N/A",
                "Containers": "N/A",
            }
        )
    return rows


def image_history(store: Store, image: Image) -> list[dict[str, Any]]:
    """Docker's rows, newest first; sizes are those of the layers' blobs' content where it is known."""
    config = _parsed(store, image)
    rows: list[dict[str, Any]] = []
    steps = config.history or [
        {"created": config.created, "created_by": "", "empty_layer": False} for _ in config.diff_ids
    ]
    for position, step in enumerate(reversed(steps)):
        created = str(step.get("created", ""))
        rows.append(
            {
                "ID": image.id if position == 0 else "<missing>",
                "Created": created,
                "CreatedAt": created,
                "CreatedBy": step.get("created_by", ""),
                "CreatedSince": created[:10] or "N/A",
                "Size": "0B" if step.get("empty_layer") else "N/A",
                "Comment": step.get("comment", ""),
            }
        )
    return rows


def matching_images(images: Sequence[Image], filters: Mapping[str, Sequence[str]]) -> list[Image]:
    """Those that every filter accepts. Raises: Invalid for an unknown one."""
    kept = list(images)
    for key, values in filters.items():
        for value in values:
            kept = _filtered(kept, images, key, value)
    return kept


def _filtered(kept: list[Image], known: Sequence[Image], key: str, value: str) -> list[Image]:
    if key == "dangling":
        if value not in {"true", "false", "1", "0"}:
            raise Invalid("filter images", f"dangling={value}", "expected true or false")
        return [image for image in kept if (not image.names) == (value in {"true", "1"})]
    if key == "label":
        name, equals, text = value.partition("=")
        labelled = [(image, image.config["labels"]) for image in kept]
        return [
            image for image, labels in labelled if name in labels and (not equals or labels[name] == text)
        ]
    if key == "reference":
        return [image for image in kept if any(_matches(name, value) for name in image.names)]
    if key in {"before", "since", "until"}:
        mark = _moment(known, key, value)
        return [
            image
            for image in kept
            if (image.record.created_ns > mark if key == "since" else image.record.created_ns < mark)
        ]
    raise Invalid(
        "filter images", repr(key), "unknown filter", hint="known: reference, label, dangling, before, since"
    )


def _matches(name: str, pattern: str) -> bool:
    """Shell pattern over the familiar name, with or without the tag; ``*`` does not cross a slash."""
    import fnmatch

    reference = parse_reference(name)
    return any(
        text.count("/") == pattern.count("/") and fnmatch.fnmatchcase(text, pattern)
        for text in (reference.familiar(), reference.familiar_name())
    )


def _moment(known: Sequence[Image], key: str, value: str) -> int:
    for image in known:
        if image.id.removeprefix("sha256:").startswith(value.removeprefix("sha256:")):
            return image.record.created_ns
        if any(parse_reference(name).familiar() == value for name in image.names):
            return image.record.created_ns
    if key == "until" and value.isdigit():
        return int(value) * 10**9 or time.time_ns()
    raise Invalid("filter images", f"{key}={value}", "no such image")
