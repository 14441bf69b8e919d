"""``--help``: the table as text for people."""

from __future__ import annotations

import os

from casemate.cli import table
from casemate.cli.streams import BOLD, paint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from casemate.cli.table import Option, Verb

WIDEST = 100
LEFT_WIDTH = 30


def help_text(path: str | None) -> str:
    """Return the help of a verb or noun as it was typed, or of casemate itself; ends with a line end."""
    if not path:
        return _root_help()
    noun, _, name = path.partition(" ")
    if noun in table.NOUNS and not name:
        return _noun_help(noun)
    target = table.NOUNS[noun][1].get(name, "") if noun in table.NOUNS else path
    verb = table.load(target)
    return _verb_help(verb, path) if verb is not None else _root_help()


def _verb_help(verb: Verb, path: str) -> str:
    blocks = [f"{_title('Usage:')}  casemate {path}{verb.usage[len(verb.name) :]}", verb.summary]
    if verb.describe:
        blocks.append(wrapped(verb.describe, 0))
    names = [spelling for spelling in spellings(verb) if spelling != path]
    if names:
        blocks.append(f"{_title('Aliases:')}\n  " + ", ".join(f"casemate {name}" for name in (path, *names)))
    options = sorted(
        (option for option in verb.options() if not option.hidden), key=lambda option: option.name
    )
    if options:
        blocks.append(_title("Options:") + "\n" + "\n".join(_option_lines(options)))
    if verb.examples:
        blocks.append(_title("Examples:") + "\n" + "\n".join(_example_lines(verb)))
    return "\n\n".join(blocks) + "\n"


def spellings(verb: Verb) -> list[str]:
    """Return every way to type a verb, the shortest first: ``ps``, ``container ls``, ..."""
    own = [table.verb_path(verb)]
    for noun, (_, verbs) in table.NOUNS.items():
        own += [
            f"{noun} {name}"
            for name, target in verbs.items()
            if target == verb.name and f"{noun} {name}" not in own
        ]
    return own


def _option_lines(options: Iterable[Option]) -> Iterable[str]:
    for option in options:
        short = f"-{option.short}, " if option.short else "    "
        left = f"  {short}--{option.name}" + (f" {option.meta}" if option.meta else "")
        yield two_columns(left, option.help, LEFT_WIDTH)
    yield two_columns("      --help", "Print usage", LEFT_WIDTH)


def _example_lines(verb: Verb) -> Iterable[str]:
    for line, meaning in verb.examples:
        yield f"  # {meaning}\n  {line}" if meaning else f"  {line}"


def _root_help() -> str:
    shown = [verb for verb in table.iter_verbs() if verb.name not in table.SYSTEM_ONLY]
    blocks = [
        f"{_title('Usage:')}  casemate [OPTIONS] COMMAND",
        "Secure Linux containers behind a wall whose thickness you choose",
        _listing("Commands:", ((verb.name, verb.summary) for verb in shown)),
        _listing("Management Commands:", ((noun, summary) for noun, (summary, _) in table.NOUNS.items())),
        _title("Global Options:") + "\n" + "\n".join(_option_lines(table.GLOBAL_OPTIONS[:-1])),
        "casemate COMMAND --help shows options and examples of a command. casemate doctor checks this host.",
    ]
    return "\n\n".join(blocks) + "\n"


def _noun_help(noun: str) -> str:
    summary, verbs = table.NOUNS[noun]
    rows: list[tuple[str, str]] = []
    for name, target in verbs.items():
        verb = table.load(target)
        if verb is not None and not (name in ("list", "remove") or (noun == "container" and name == "ps")):
            rows.append((name, verb.summary))
    blocks = [
        f"{_title('Usage:')}  casemate {noun} COMMAND",
        summary,
        _listing("Commands:", rows),
        f"casemate {noun} COMMAND --help shows options and examples of a command.",
    ]
    return "\n\n".join(blocks) + "\n"


def _listing(title: str, rows: Iterable[tuple[str, str]]) -> str:
    return _title(title) + "\n" + "\n".join(two_columns(f"  {left}", right, 14) for left, right in rows)


def _title(text: str) -> str:
    return paint(text, BOLD, fd=1)


def two_columns(left: str, right: str, width: int) -> str:
    """Return ``left`` padded to ``width`` and ``right`` wrapped beside it.

    (below it when ``left`` is too long).
    """
    body = wrapped(right, width)
    if len(left) >= width - 1:
        return f"{left}\n{' ' * width}{body}"
    return f"{left:<{width}}{body}"


def wrapped(text: str, indent: int) -> str:
    """Return ``text`` broken at spaces to the terminal's width; later lines are indented by ``indent``."""
    room = max(_columns() - indent, 30)
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > room:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return ("\n" + " " * indent).join([*lines, line])


def _columns() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns):
        return min(int(columns), WIDEST)
    try:
        return min(os.get_terminal_size(1).columns or WIDEST, WIDEST)
    except OSError:
        return 80
