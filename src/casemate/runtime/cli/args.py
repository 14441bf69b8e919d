"""runc's way of writing options: `--name value`, `--name=value`, one dash as good as two, options before operands."""

from __future__ import annotations

from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FLAG, VALUE, LIST = "flag", "value", "list"


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

    def list(self, name: str) -> list[str]:
        """All values of an option that may be repeated."""
        return self.lists.get(name, [])


def parse(words: Sequence[str], options: Mapping[str, str], short: Mapping[str, str]) -> Arguments:
    """Return the options of ``words`` up to the first operand. Raises: Invalid for an unknown option."""
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
            raise Invalid("read command line", word, "unknown option")
        if kind == FLAG:
            found.flags[name] = not sign or value in ("true", "1", "t")
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
