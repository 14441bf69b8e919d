"""runc's way of writing options: `--name value`, `--name=value`, one dash as good as two, options before operands."""

from __future__ import annotations

from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FLAG, VALUE, LIST = "flag", "value", "list"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class HelpWanted(Exception):
    """The caller typed --help."""


class Arguments:
    """Options by their long name, and the operands."""

    __slots__ = ("flags", "lists", "operands", "values")

    def __init__(self) -> None:
        self.flags: dict[str, bool] = {}
        self.values: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {}
        self.operands: list[str] = []

    def flag(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.flags.get(name, False)

    def value(self, name: str, default: str = "") -> str:
        """The value of an option, ``default`` when it was not given."""
        return self.values.get(name, default)

    def number(self, name: str) -> int:
        """The value of an option as a number, 0 when it was not given. Raises: Invalid."""
        text = self.values.get(name, "0")
        if not text.isdigit():
            raise Invalid(f"read --{name}", text, "it is not a number")
        return int(text)

    def expect(self, least: int, most: int | None = None) -> list[str]:
        """Return the operands. Raises: Invalid when there are fewer than ``least`` or more than ``most``."""
        if least <= len(self.operands) <= (len(self.operands) if most is None else most):
            return self.operands
        many = str(least) if least == most else f"at least {least}" if most is None else f"{least} to {most}"
        raise Invalid(
            "read command line", " ".join(self.operands), f"{many} argument(s) are expected after the options"
        )

    def list(self, name: str) -> list[str]:
        """All values of an option that may be repeated."""
        return self.lists.get(name, [])


def parse(words: Sequence[str], options: Mapping[str, str], short: Mapping[str, str]) -> Arguments:
    """Return the options of ``words`` up to the first operand. Raises: Invalid for an unknown option, HelpWanted."""
    found = Arguments()
    position = 0
    while position < len(words):
        word = words[position]
        if word == "--":
            position += 1
            break
        if not word.startswith("-") or word == "-":
            break
        name, sign, value = word.lstrip("-").partition("=")
        name = short.get(name, name)
        kind = options.get(name)
        if kind is None:
            if name in ("help", "h"):
                raise HelpWanted
            raise Invalid("read command line", word, "unknown option")
        if kind == FLAG:
            found.flags[name] = not sign or _is_true(word, value)
        else:
            if not sign:
                position += 1
                if position >= len(words):
                    raise Invalid("read command line", word, "its value is missing")
                value = words[position]
            if kind == LIST:
                found.lists.setdefault(name, []).append(value)
            else:
                found.values[name] = value
        position += 1
    found.operands = list(words[position:])
    return found


def _is_true(word: str, value: str) -> bool:
    if value not in _TRUE + _FALSE:
        raise Invalid("read command line", word, "an option that is on or off takes true or false")
    return value in _TRUE
