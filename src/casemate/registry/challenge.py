"""WWW-Authenticate headers taken apart. Source: RFC 9110, 11.6.1."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~")
_MAX_HEADER = 16 << 10


class Challenge:
    """One challenge: the scheme in lower case (``bearer``, ``basic``) and its parameters."""

    __slots__ = ("parameters", "scheme")

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.parameters: dict[str, str] = {}


def parse_challenges(header: str) -> list[Challenge]:
    """Return the challenges in ``header`` in their order; what is malformed ends the list."""
    found: list[Challenge] = []
    words = list(_words(header[:_MAX_HEADER]))
    at = 0
    while at < len(words):
        word = words[at]
        is_parameter = at + 2 < len(words) and words[at + 1] == "="
        if word == ",":
            at += 1
        elif is_parameter and found:
            found[-1].parameters.setdefault(word.lower(), words[at + 2].removeprefix('"'))
            at += 3
        elif _TOKEN.issuperset(word):
            found.append(Challenge(word.lower()))
            at += 1
        else:
            break
    return found


def _words(header: str) -> Iterator[str]:
    """Yield tokens, ``=`` and ``,``; a quoted string comes unescaped with one leading quote."""
    at = 0
    while at < len(header):
        char = header[at]
        if char in " \t":
            at += 1
        elif char in "=,":
            yield char
            at += 1
        elif char == '"':
            text, at = _quoted_string(header, at + 1)
            yield '"' + text
        else:
            start = at
            while at < len(header) and header[at] in _TOKEN:
                at += 1
            if at == start:
                return
            yield header[start:at]


def _quoted_string(header: str, at: int) -> tuple[str, int]:
    text = ""
    while at < len(header) and header[at] != '"':
        if header[at] == "\\" and at + 1 < len(header):
            at += 1
        text += header[at]
        at += 1
    return text, at + 1
