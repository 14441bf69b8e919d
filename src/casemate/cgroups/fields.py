"""Typed access to ``linux.resources``, a JSON document from outside: each complaint names the field."""

from __future__ import annotations

from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_LARGEST = (1 << 63) - 1
_LARGEST_DEVICE_NUMBER = (1 << 32) - 1


def refuse(where: str, why: str) -> Invalid:
    """The error for a field that cannot be what it says."""
    return Invalid("read linux.resources", where, why)


def section(resources: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object below ``key``; empty when absent or null.

    Raises: Invalid when it is something else.
    """
    found = resources.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise refuse(key, "it must be an object")
    return found


def items(resources: Mapping[str, Any], key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each object of the list below ``key``, with its place for complaints.

    Raises: Invalid when it is no list of objects.
    """
    found = resources.get(key)
    if found is None:
        return
    if not isinstance(found, list):
        raise refuse(key, "it must be a list")
    for index, item in enumerate(found):
        if not isinstance(item, dict):
            raise refuse(f"{key}[{index}]", "it must be an object")
        yield f"{key}[{index}]", item


def integer(
    where: str, fields: Mapping[str, Any], key: str, *, lowest: int = -1, highest: int = _LARGEST
) -> int | None:
    """A whole number in the range; None when absent or null.

    Raises: Invalid.
    """
    value = fields.get(key)
    if value is None:
        return None
    if type(value) is not int:
        raise refuse(f"{where}.{key}", f"it must be an integer, not {value!r}")
    if not lowest <= value <= highest:
        raise refuse(f"{where}.{key}", f"{value} is not between {lowest} and {highest}")
    return value


def boolean(where: str, fields: Mapping[str, Any], key: str) -> bool | None:
    """True or false; None when absent or null.

    Raises: Invalid.
    """
    value = fields.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise refuse(f"{where}.{key}", f"it must be true or false, not {value!r}")


def line(where: str, fields: Mapping[str, Any], key: str) -> str | None:
    """One line of printable text; None when absent, null or empty.

    Raises: Invalid.
    """
    value = fields.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.isprintable():
        raise refuse(f"{where}.{key}", f"it must be one line of text, not {value!r}")
    return value


def device_number(where: str, fields: Mapping[str, Any]) -> str:
    """``major:minor`` of a block device entry.

    Raises: Invalid.
    """
    numbers = [
        integer(where, fields, key, lowest=0, highest=_LARGEST_DEVICE_NUMBER) for key in ("major", "minor")
    ]
    if None in numbers:
        raise refuse(where, "major and minor are required")
    return f"{numbers[0]}:{numbers[1]}"
