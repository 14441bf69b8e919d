"""The quick reader: whether a value keeps its rule, and nothing else. `explain.py` says what is wrong with one that does not.

A start pays for this: the document that `runc spec` writes takes about 0.1 ms.
"""

from __future__ import annotations

from casemate.runtime.schema.kinds import is_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.schema.kinds import Rule


def accepts(value: Any, rule: Rule) -> bool:
    """Whether a value that came from JSON keeps the rule."""
    return _READERS[rule[0]](value, rule)


def _text(value: Any, rule: Rule) -> bool:
    del rule
    return type(value) is str and is_plain(value)


def _path(value: Any, rule: Rule) -> bool:
    del rule
    return type(value) is str and value[:1] == "/" and is_plain(value)


def _tested(value: Any, rule: Rule) -> bool:
    return type(value) is str and is_plain(value) and not rule[1](value)


def _flag(value: Any, rule: Rule) -> bool:
    del rule
    return value is True or value is False


def _number(value: Any, rule: Rule) -> bool:
    return type(value) is int and rule[1] <= value <= rule[2]


def _choice(value: Any, rule: Rule) -> bool:
    return type(value) is str and value in rule[1]


def _list(value: Any, rule: Rule) -> bool:
    if type(value) is not list or len(value) < rule[2]:
        return False
    item_rule = rule[1]
    read = _READERS[item_rule[0]]
    for item in value:
        if not read(item, item_rule):
            return False
    return rule[3] is None or not value or not rule[3](value)


def _map(value: Any, rule: Rule) -> bool:
    if type(value) is not dict:
        return False
    item_rule, key_test = rule[1], rule[2]
    read = _READERS[item_rule[0]]
    for name, item in value.items():
        if not is_plain(name) or key_test(name) or not read(item, item_rule):
            return False
    return rule[3] is None or not rule[3](value)


def _object(value: Any, rule: Rule) -> bool:
    if type(value) is not dict:
        return False
    fields = rule[1]
    for name, item in value.items():
        item_rule = fields.get(name)
        if item_rule is not None and item is not None and not _READERS[item_rule[0]](item, item_rule):
            return False
    for name in rule[2]:
        if value.get(name) is None:
            return False
    return rule[3] is None or not rule[3](value)


_READERS = (_text, _path, _tested, _flag, _number, _choice, _list, _map, _object)
"""In the order of the kinds."""
