"""Where words go: results on stdout, everything else on stderr; colour only where it is wanted.

Descriptors are written directly: a closed or full stdout is an error of the write and not of interpreter
shutdown, and names that are not UTF-8 pass unchanged.
"""

from __future__ import annotations

import os

RED, YELLOW, GREEN, BOLD, DIM = "31", "33", "32", "1", "2"


def write_all(fd: int, data: bytes | bytearray) -> None:
    """Write every byte to ``fd`` (borrowed). Raises: BrokenPipeError, OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def say(text: str) -> None:
    """Write a line, or lines, of the result to stdout."""
    write_all(1, f"{text}\n".encode("utf-8", "surrogateescape"))


def put(text: str) -> None:
    """Write the result to stdout without a line end of its own."""
    write_all(1, text.encode("utf-8", "surrogateescape"))


def put_foreign(text: str) -> None:
    """Write a result made of others' words: a program gets it as it is, a terminal no control character."""
    put(printable(text) if is_terminal(1) else text)


def note(text: str) -> None:
    """Write a line for people to stderr; a closed stderr is nobody's error."""
    try:
        write_all(2, f"{text}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        return


def is_terminal(fd: int) -> bool:
    """Return whether ``fd`` is a terminal; a closed one is not."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def wants_colour(fd: int) -> bool:
    """Return whether colour is wanted on ``fd``.

    Source: no-color.org, bixense.com/clicolors; TERM=dumb has none.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") != "0":
        return True
    return (
        is_terminal(fd)
        and os.environ.get("TERM", "") not in ("dumb", "")
        and os.environ.get("CLICOLOR") != "0"
    )


def paint(text: str, colour: str, *, fd: int) -> str:
    """Return ``text`` in ``colour`` when ``fd`` wants colour, else unchanged."""
    return f"\x1b[{colour}m{text}\x1b[0m" if wants_colour(fd) else text


def printable(text: str) -> str:
    """Return ``text`` with control characters written out, so that no name can drive the user's terminal."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" or "\udc80" <= c <= "\udcff" else _escaped(c) for c in text
    )


def safe_json(text: str) -> str:
    """Return a JSON text that means the same with DEL and the C1 controls, which json leaves, written as escapes."""
    return text if text.isascii() and "\x7f" not in text else text.translate(_JSON_ESCAPES)


_JSON_ESCAPES = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - two digits hold a byte
