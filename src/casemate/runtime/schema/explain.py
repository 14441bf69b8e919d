"""The reader that explains: every fault of a value, each with its JSON path. Imported only when there is one."""

from __future__ import annotations

from casemate.runtime.schema.kinds import is_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from casemate.runtime.schema.kinds import Rule

_MANY = 10
_LONG = 60


def faults(value: Any, rule: Rule, path: str = "") -> list[str]:
    """Return all that is wrong, as `path: sentence`; nothing when `accept.accepts` accepts the value."""
    return [f"{where or 'the document'}: {what}" for where, what in _read(value, rule, path)]


def _read(value: Any, rule: Rule, path: str) -> Iterator[tuple[str, str]]:
    return _READERS[rule[0]](value, rule, path)


def _text(value: Any, rule: Rule, path: str) -> Iterator[tuple[str, str]]:
    del rule
    if not isinstance(value, str):
        yield path, f"must be a string, not {shown(value)}"
    elif not is_plain(value):
        why = "contain NUL" if "\0" in value else "contain half of a character (a lone surrogate)"
        yield path, f"must not {why}"


def _path(value: Any, rule: Rule, path: str) -> Iterator[tuple[str, str]]:
    found = list(_text(value, rule, path))
    if not found and not value.startswith("/"):
        found.append((path, f"must be an absolute path, not {shown(value)}"))
    yield from found


def _tested(value: Any, rule: Rule, path: str) -> Iterator[tuple[str, str]]:
    found = list(_text(value, rule, path))
    if not found and rule[1](value):
        found.append((path, f"{rule[1](value)}, not {shown(value)}" if value else rule[1](value)))
    yield from found


def _flag(value: Any, rule: Rule, path: str) -> Iterator[tuple[str, str]]:
    del rule
    if not isinstance(value, bool):
        yield path, f"must be true or false, not {shown(value)}"


def _number(value: Any, rule: Rule, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, bool) or not isinstance(value, int) or not rule[1] <= value <= rule[2]:
        yield path, f"must be a whole number from {rule[1]} to {rule[2]}, not {shown(value)}"


def _choice(value: Any, rule: Rule, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and value in rule[1]:
        return
    words = [word for word in rule[1] if word]
    known = f"must be one of {', '.join(words)}" if len(words) <= _MANY else "must be a name that is known"
    yield path, f"{known}, not {shown(value)}"


def _list(value: Any, rule: Rule, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(value, list):
        yield path, f"must be a list, not {shown(value)}"
        return
    if len(value) < rule[2]:
        yield path, f"must have at least {rule[2]} {'entry' if rule[2] == 1 else 'entries'}"
        return
    parts = [
        fault for number, item in enumerate(value) for fault in _read(item, rule[1], f"{path}[{number}]")
    ]
    yield from parts or (_together(value, rule, path) if value else ())


def _map(value: Any, rule: Rule, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield path, f"must be an object, not {shown(value)}"
        return
    parts = []
    for name, item in value.items():
        where = f"{path}[{shown(name)}]"
        wrong = "must not contain NUL or half of a character" if not is_plain(name) else rule[2](name)
        if wrong:
            parts.append((where, f"the name {wrong}"))
        parts += _read(item, rule[1], where)
    yield from parts or _together(value, rule, path)


def _object(value: Any, rule: Rule, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield path, f"must be an object, not {shown(value)}"
        return
    dot = f"{path}." if path else ""
    parts = [(f"{dot}{name}", "is missing") for name in rule[2] if value.get(name) is None]
    for name, item in value.items():
        item_rule = rule[1].get(name)
        if item_rule is not None and item is not None:
            parts += _read(item, item_rule, f"{dot}{name}")
    yield from parts or _together(value, rule, path)


def _together(value: Any, rule: Rule, path: str) -> Iterator[tuple[str, str]]:
    if rule[3] is not None:
        for below, what in rule[3](value):
            yield (f"{path}{below}" if path else below.lstrip(".")), what


def shown(value: Any) -> str:
    """Return a value as a person would name it, never longer than a line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = ascii(value) if isinstance(value, (str, float)) else _digits(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def _digits(value: int) -> str:
    """Return a number's digits; one that Python would refuse to print (4,300 digits) as its size."""
    return str(value) if value.bit_length() < 1 << 10 else f"a number of {value.bit_length()} bits"


_READERS = (_text, _path, _tested, _flag, _number, _choice, _list, _map, _object)
"""In the order of the kinds."""
