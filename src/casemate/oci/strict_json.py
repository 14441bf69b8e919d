"""JSON from strangers: one document, one meaning.

The standard parser keeps the last of two equal keys, accepts NaN, guesses UTF-16 and recurses as deep as the
sender likes. Each of these lets two readers of the same signed bytes see two different documents (SECURITY
C14), so each is refused here.
Source: RFC 8259; RFC 7493 (I-JSON).
"""

from __future__ import annotations

from casemate.errors import Exhausted, Invalid
from casemate.oci.quoting import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

DOCUMENT_LIMIT_BYTES = 4 << 20
"""Most bytes of a manifest, index or image config; the limit that registries use as well."""


class _AmbiguousError(ValueError):
    """Well-formed JSON that is ambiguous."""


def loads(data: bytes, *, what: str, limit_bytes: int = DOCUMENT_LIMIT_BYTES, max_depth: int = 64) -> Any:
    """Return the value that ``data`` denotes; ``what`` names the document in errors.

    Raises: Exhausted when ``data`` is longer than ``limit_bytes``; Invalid when it is not UTF-8, is not JSON,
    repeats a key, nests deeper than ``max_depth``, or holds NaN, an infinite number or half a surrogate pair.
    """
    import json

    if len(data) > limit_bytes:
        raise Exhausted("read", what, f"{len(data)} bytes are over the limit of {limit_bytes}")
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise Invalid("read", what, f"nested deeper than {max_depth} levels") from None
    except UnicodeDecodeError as error:
        raise Invalid("read", what, f"not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        raise Invalid("read", what, f"not usable JSON: {error}") from None
    _check_depth(value, what, max_depth)
    if "\\u" in text:
        _check_text(value, what)
    return value


def loads_object(data: bytes, *, what: str, limit_bytes: int = DOCUMENT_LIMIT_BYTES) -> dict[str, Any]:
    """Return ``loads`` of a document that must be an object. Raises: Exhausted, Invalid."""
    value = loads(data, what=what, limit_bytes=limit_bytes)
    if not isinstance(value, dict):
        raise Invalid("read", what, "not a JSON object")
    return value


def refuse_case_twins(document: dict[str, Any], known: Iterable[str], *, what: str) -> None:
    """Return when no key of ``document`` equals one of ``known`` in all but case.

    Go's decoder takes ``Layers`` for ``layers``: a reader in Go would see fields that we do not. Raises:
    Invalid.
    """
    exact = frozenset(known)
    folded = {name.lower() for name in exact}
    for key in document:
        if key not in exact and key.lower() in folded:
            raise Invalid("read", what, f"key {quoted(key)} differs from a known key only in case")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _AmbiguousError(f"key {quoted(key)} appears twice")
            seen.add(key)
    return found


def _no_constant(name: str) -> NoReturn:
    raise _AmbiguousError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:  # only infinity and NaN do not cancel
        raise _AmbiguousError(f"number {quoted(text)} is out of range")
    return number


def _check_depth(value: Any, what: str, max_depth: int) -> None:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(max_depth):
        if not level:
            return
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
    if level:
        raise Invalid("read", what, f"nested deeper than {max_depth} levels")


def _check_text(value: Any, what: str) -> None:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if not item.isascii() and _has_surrogate(item):
                raise Invalid("read", what, "a string holds half a surrogate pair")
        elif isinstance(item, dict):
            pending.extend(item)
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _has_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
