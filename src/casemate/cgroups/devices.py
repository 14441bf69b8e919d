"""Device rules: the spec's ordered list folded into one state, and that state as v1 lines or a v2 program.

The folding follows the kernel's own v1 controller (security/device_cgroup.c): a default, and exceptions from
it. A rule that the kernel would silently leave without effect (taking one device out of a wider permission)
is refused instead.
"""

from __future__ import annotations

from casemate.cgroups.fields import boolean, integer, items, line, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

READ, WRITE, MKNOD = "r", "w", "m"
ANY = -1  # every major or minor number

_LARGEST_NUMBER = (1 << 32) - 1


class DeviceRules:
    """What may be done with devices: a default, and exceptions of (type, major, minor) -> access letters."""

    __slots__ = ("allow_by_default", "exceptions")

    def __init__(
        self, *, allow_by_default: bool, exceptions: dict[tuple[str, int, int], frozenset[str]] | None = None
    ) -> None:
        self.allow_by_default = allow_by_default
        self.exceptions = exceptions or {}

    def allows(self, kind: str, major: int, minor: int, access: str) -> bool:
        """Whether the kernel would allow this; for tests and for explaining."""
        wanted = frozenset(access)
        for (k, ma, mi), letters in self.exceptions.items():
            if k != kind or ma not in (ANY, major) or mi not in (ANY, minor):
                continue
            if wanted <= letters if not self.allow_by_default else wanted & letters:
                return not self.allow_by_default
        return self.allow_by_default

    def __repr__(self) -> str:
        return f"DeviceRules(allow_by_default={self.allow_by_default}, exceptions={self.exceptions})"


def fold_rules(resources: Mapping[str, Any]) -> DeviceRules | None:
    """The state that ``linux.resources.devices`` leads to from "all allowed"; None when it is absent.

    Raises: Invalid for a malformed rule, and for one that only takes away a part of an earlier, wider one.
    """
    if resources.get("devices") is None:
        return None
    state = DeviceRules(allow_by_default=True)
    for where, item in items(resources, "devices"):
        _fold(state, where, item)
    return state


def _fold(state: DeviceRules, where: str, item: Mapping[str, Any]) -> None:
    allow = boolean(where, item, "allow")
    if allow is None:
        raise refuse(where, "allow is required")
    kind = line(where, item, "type") or "a"
    major, minor = _number(where, item, "major"), _number(where, item, "minor")
    letters = frozenset(line(where, item, "access") or "rwm")
    if kind not in ("a", "b", "c", "u"):
        raise refuse(f"{where}.type", f"{kind!r} is not one of a, b, c, u")
    if not letters <= {READ, WRITE, MKNOD}:
        raise refuse(f"{where}.access", "it may hold r, w and m only")
    if kind == "a":
        # The kernel reads any "a" as "everything", whatever numbers follow.
        if (major, minor) != (ANY, ANY) or len(letters) != len("rwm"):
            raise refuse(where, "type a means all devices: it cannot be narrowed")
        state.allow_by_default = allow
        state.exceptions.clear()
        return
    key = ("c" if kind == "u" else kind, major, minor)
    if allow == state.allow_by_default:
        _withdraw(state, where, key, letters)
    else:
        state.exceptions[key] = state.exceptions.get(key, frozenset()) | letters


def _withdraw(state: DeviceRules, where: str, key: tuple[str, int, int], letters: frozenset[str]) -> None:
    """Take letters out of the exception with exactly this key.

    Raises: Invalid when another exception covers some of it too, so that the rule would not do what it says.
    """
    for other, held in state.exceptions.items():
        if other != key and held & letters and _overlaps(other, key):
            shown = " ".join("*" if part == ANY else str(part) for part in other)
            raise refuse(where, f"it takes back only a part of an earlier rule ({shown})")
    left = state.exceptions.get(key, frozenset()) - letters
    if left:
        state.exceptions[key] = left
    else:
        state.exceptions.pop(key, None)


def _overlaps(one: tuple[str, int, int], other: tuple[str, int, int]) -> bool:
    return one[0] == other[0] and all(
        a == b or ANY in (a, b) for a, b in ((one[1], other[1]), (one[2], other[2]))
    )


def _number(where: str, item: Mapping[str, Any], key: str) -> int:
    number = integer(where, item, key, lowest=ANY, highest=_LARGEST_NUMBER)
    return ANY if number is None else number


def v1_lines(rules: DeviceRules) -> list[tuple[str, str]]:
    """(file, line) writes that bring a v1 group into this state, whatever it was in."""
    default, exception = ("allow", "deny") if rules.allow_by_default else ("deny", "allow")
    lines = [(f"devices.{default}", "a")]
    for (kind, major, minor), letters in rules.exceptions.items():
        numbers = ":".join("*" if number == ANY else str(number) for number in (major, minor))
        access = "".join(letter for letter in "rwm" if letter in letters)
        lines.append((f"devices.{exception}", f"{kind} {numbers} {access}"))
    return lines
