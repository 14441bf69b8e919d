"""Descriptors between JSON and ``core.transport.Descriptor``.

Source: OCI image-spec, "Content Descriptors".
"""

from __future__ import annotations

from casemate.core.transport import Descriptor
from casemate.errors import Exhausted, Invalid
from casemate.oci.digest import require_digest
from casemate.oci.quoting import quoted
from casemate.oci.strict_json import refuse_case_twins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_BLOB_BYTES = 1 << 40
"""Largest size that a descriptor may announce (1 TiB): more is a lie or a bomb."""

_KEYS = ("mediaType", "digest", "size", "urls", "annotations", "platform", "data", "artifactType")


def parse_descriptor(found: Any, *, what: str) -> Descriptor:
    """Return the descriptor that the JSON value ``found`` states; ``what`` names it in errors.

    ``data`` (embedded content) is ignored: content is always fetched and verified by its digest.
    Raises: Invalid, Unsupported (digest algorithm), Exhausted (announced size).
    """
    if not isinstance(found, dict):
        raise Invalid("read", what, "a descriptor is not an object")
    refuse_case_twins(found, _KEYS, what=what)
    media_type, size = found.get("mediaType"), found.get("size")
    if not isinstance(media_type, str) or not media_type:
        raise Invalid("read", what, "a descriptor has no mediaType")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise Invalid("read", what, f"the size of a descriptor is {quoted(size)}")
    if size > MAX_BLOB_BYTES:
        raise Exhausted("read", what, f"a descriptor announces {size} bytes, the limit is {MAX_BLOB_BYTES}")
    platform = found.get("platform")
    if platform is not None and not isinstance(platform, dict):
        raise Invalid("read", what, "the platform of a descriptor is not an object")
    return Descriptor(
        media_type,
        require_digest(found.get("digest"), what=what),
        size,
        platform=platform,
        annotations=text_map(found.get("annotations"), what=what, key="annotations"),
        urls=_urls(found.get("urls"), what),
    )


def descriptor_json(descriptor: Descriptor) -> dict[str, Any]:
    """Return the JSON object of ``descriptor``."""
    found: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size_bytes,
    }
    if descriptor.urls:
        found["urls"] = list(descriptor.urls)
    if descriptor.annotations:
        found["annotations"] = dict(descriptor.annotations)
    if descriptor.platform:
        found["platform"] = dict(descriptor.platform)
    return found


def text_map(found: Any, *, what: str, key: str) -> dict[str, str]:
    """Return a JSON object of strings, {} for null. Raises: Invalid."""
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Invalid("read", what, f"{key} is not an object of strings")
    return dict(found)


def _urls(found: Any, what: str) -> tuple[str, ...]:
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(url, str) for url in found):
        raise Invalid("read", what, "the urls of a descriptor are not a list of strings")
    return tuple(found)
