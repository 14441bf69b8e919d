"""Reading a document of the specification: strict JSON in which null and absent are the same."""

from __future__ import annotations

from casemate.oci.quick_json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read(raw: bytes, *, what: str) -> Any:
    """Return the document without its null fields: they are the same as absent ones. Raises: Invalid, not JSON."""
    document = loads(raw, what=what)
    return without_nulls(document) if b"null" in raw else document


def without_nulls(value: Any) -> Any:
    """Return the value with every field left out that is null; nulls in lists stay, and are faults."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value
