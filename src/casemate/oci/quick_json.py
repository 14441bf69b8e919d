"""JSON without the price of importing `json` (which brings `re`, `enum` and `functools`: 7 ms of a container's start).

The C scanner and encoder inside CPython are used directly when they are there; the standard module is the fall-back.
Duplicate keys are refused: two readers of one document must never see two different things.
"""

from __future__ import annotations

from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


_PLAIN = (False, False, False)
"""Of the C encoder: keys in their own order, none skipped, no NaN."""


class _Context:
    """What the C scanner asks of `json.JSONDecoder`."""

    strict = True
    object_hook = None
    parse_float = float
    parse_int = int
    memo: dict[str, str]

    def __init__(self) -> None:
        self.memo = {}
        self.object_pairs_hook = _without_duplicates
        self.parse_constant = _no_constants


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"duplicate key {key[:60]!r}")
            seen.add(key)
    return document


def _no_constants(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _scanner() -> Callable[[str, int], tuple[Any, int]]:
    try:
        from _json import make_scanner
    except ImportError:
        from json.scanner import py_make_scanner as make_scanner  # type: ignore[attr-defined,no-redef]
    scan: Callable[[str, int], tuple[Any, int]] = make_scanner(_Context())  # type: ignore[arg-type]
    return scan


def loads(text: str | bytes, *, what: str = "JSON document") -> Any:
    """Return the document. Raises: Invalid for anything that is not exactly one JSON value in UTF-8."""
    try:
        if isinstance(text, bytes):
            text = text.decode()
        start = len(text) - len(text.lstrip(" \t\n\r"))
        document, end = _scanner()(text, start)
        rest = text[end:].strip(" \t\n\r")
    except (ValueError, RecursionError) as error:
        raise Invalid("read", what, _cause(error)) from error
    except StopIteration as error:
        raise Invalid("read", what, f"no JSON value at character {error.value}") from error
    except (
        SystemError
    ) as error:  # Python 3.11: the scanner looks for an exception that only json.decoder would bring
        raise Invalid("read", what, _whole_cause(text)) from error
    if rest:
        raise Invalid("read", what, f"something follows the document: {rest[:20]!r}")
    return document


def _whole_cause(text: str | bytes) -> str:
    """Read it once more in the ordinary way, which says where it is broken."""
    import json

    try:
        json.loads(text)
    except ValueError as error:
        return str(error)
    return "malformed"


def _cause(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def dumps(value: Any) -> str:
    """Return compact JSON; keys keep their order."""
    try:
        from _json import encode_basestring_ascii, make_encoder
    except ImportError:
        import json

        return json.dumps(value, separators=(",", ":"))
    markers: dict[int, Any] = {}
    encode = make_encoder(
        markers,
        _unserialisable,
        encode_basestring_ascii,
        None,
        ":",
        ",",
        *_PLAIN,
    )
    return "".join(encode(value, 0))


def _unserialisable(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")
