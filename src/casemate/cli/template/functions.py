"""The functions of templates: Go's own and docker's (json, split, join, title, lower, upper, pad, truncate).

A function raises ``ValueError`` with Go's words; the evaluator adds where.
"""

from __future__ import annotations

from casemate.cli.template.show import MISSING, printf, show, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"}


def truth(value: object) -> bool:
    """Return whether a value is true to ``if``: not empty, not zero, not nil."""
    return value is not MISSING and bool(value)


def to_json(value: object) -> str:
    """Return compact JSON without HTML escapes, as docker's ``json`` does."""
    import json  # only templates that ask for it

    from casemate.cli.streams import safe_json

    return safe_json(
        json.dumps(None if value is MISSING else value, separators=(",", ":"), ensure_ascii=False)
    )


def index(value: Any, *keys: Any) -> Any:
    """Return ``value[key][key]...``; a missing map key gives no value."""
    for key in keys:
        if isinstance(value, dict):
            if not isinstance(key, str):
                raise ValueError(f"value has type {type_name(key)}; should be string")  # noqa: TRY004 - Go's message, one class for the evaluator
            value = value.get(key, MISSING)
        elif isinstance(value, (list, tuple, str)):
            value = _item(value, key)
        elif value is None or value is MISSING:
            raise ValueError("index of untyped nil")
        else:
            raise ValueError(f"can't index item of type {type_name(value)}")
    return value


def _item(value: Any, key: Any) -> Any:
    if isinstance(key, bool) or not isinstance(key, int):
        raise ValueError(f"cannot index slice/array with type {type_name(key)}")  # noqa: TRY004 - as above
    sequence = value.encode() if isinstance(value, str) else value
    if not 0 <= key < len(sequence):
        raise ValueError(f"index out of range: {key}")
    return sequence[key]


def slice_of(value: Any, *bounds: int) -> Any:
    """Return ``value[a:b]``."""
    if not isinstance(value, (str, list, tuple)):
        raise ValueError(f"can't slice item of type {type_name(value)}")  # noqa: TRY004 - as above
    low, high = (*bounds, *(0, len(value))[len(bounds) :])[:2]
    if not 0 <= low <= high <= len(value):
        raise ValueError(f"index out of range: {high if high > len(value) else low}")
    return value[low:high]


def length(value: Any) -> int:
    """Return the length of a string (bytes), list or map."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, (list, tuple, dict)):
        return len(value)
    if value is None:
        raise ValueError("len of nil pointer")
    raise ValueError(f"len of type {type_name(value)}")


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float, str)):
        return type(value).__name__
    if value is None or value is MISSING:
        return "nil"
    raise ValueError("non-comparable type " + show(value) + ": " + type_name(value))


def equal(first: object, *others: object) -> bool:
    """Return whether the first equals one of the others."""
    if not others:
        raise ValueError("missing argument for comparison")
    for other in others:
        one, two = _kind(first), _kind(other)
        if one != two and "nil" not in (one, two):
            raise ValueError("incompatible types for comparison")
        if one == two and first == other:
            return True
    return False


def less(one: Any, two: Any) -> bool:
    """Return whether one is smaller than two; both of the same kind."""
    kinds = _kind(one), _kind(two)
    if kinds[0] != kinds[1]:
        raise ValueError("incompatible types for comparison")
    if kinds[0] in ("bool", "nil"):
        raise ValueError("invalid type for comparison")
    return bool(one < two)


def go_print(*values: object) -> str:
    """Return ``fmt.Sprint``: spaces only between operands that are both not strings."""
    done = ""
    for i, value in enumerate(values):
        if i and not isinstance(value, str) and not isinstance(values[i - 1], str):
            done += " "
        done += show(value)
    return done


def join(values: Any, separator: str) -> str:
    """Return the items of a list with ``separator`` between them."""
    if values is None:
        return ""
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"expected slice, got: {type_name(values)}")  # noqa: TRY004 - as above
    return separator.join(show(value) for value in values)


def title(text: str) -> str:
    """Return the text with a capital at each word. Source: Go strings.Title."""
    before, done = " ", ""
    for char in text:
        done += char.title() if not (before.isalnum() or before in "_'") else char
        before = char
    return done


def pad(text: str, before: int, after: int) -> str:
    """Return the text between spaces; an empty text stays empty."""
    return " " * min(before, 10_000) + text + " " * min(after, 10_000) if text else ""


def truncate(text: str, size: int) -> str:
    """Return at most ``size`` characters."""
    return text[: max(size, 0)]


def html(*values: object) -> str:
    """Return the text safe for HTML."""
    return "".join(HTML.get(char, char) for char in go_print(*values))


def urlquery(*values: object) -> str:
    """Return the text escaped for the query of a URL."""
    from urllib.parse import quote_plus  # hardly ever

    return quote_plus(go_print(*values))


class Signature:
    """A function with the Go types of its arguments, for messages.

    ``s`` string, ``i`` int, ``*`` anything; ``...`` repeats the last.
    """

    __slots__ = ("call", "types")

    def __init__(self, call: Callable[..., Any], types: str) -> None:
        self.call = call
        self.types = types

    @property
    def variadic(self) -> bool:
        """Whether any number of further arguments may follow."""
        return self.types.endswith("...")


FUNCTIONS = {
    "json": Signature(to_json, "*"),
    "split": Signature(lambda text, separator: text.split(separator) if separator else list(text), "ss"),
    "join": Signature(join, "*s"),
    "title": Signature(title, "s"),
    "lower": Signature(str.lower, "s"),
    "upper": Signature(str.upper, "s"),
    "pad": Signature(pad, "sii"),
    "truncate": Signature(truncate, "si"),
    "len": Signature(length, "*"),
    "index": Signature(index, "**..."),
    "slice": Signature(slice_of, "*i..."),
    "eq": Signature(equal, "**..."),
    "ne": Signature(lambda one, two: not equal(one, two), "**"),
    "lt": Signature(less, "**"),
    "le": Signature(lambda one, two: less(one, two) or equal(one, two), "**"),
    "gt": Signature(lambda one, two: not (less(one, two) or equal(one, two)), "**"),
    "ge": Signature(lambda one, two: not less(one, two), "**"),
    "not": Signature(lambda value: not truth(value), "*"),
    "print": Signature(go_print, "*..."),
    "println": Signature(lambda *values: " ".join(show(value) for value in values) + "\n", "*..."),
    "printf": Signature(lambda layout, *values: printf(layout, values), "s*..."),
    "html": Signature(html, "*..."),
    "urlquery": Signature(urlquery, "*..."),
}
LAZY = ("and", "or")
NAMES = frozenset((*FUNCTIONS, *LAZY))
HEADINGS = {
    **FUNCTIONS,
    "json": Signature(lambda value: value, "*"),
    "split": Signature(lambda value, _: value, "**"),
    "join": Signature(lambda value, _: value, "**"),
    "truncate": Signature(lambda value, _: value, "*i"),
}
"""What the functions do on the line of column titles: docker's HeaderFunctions."""
