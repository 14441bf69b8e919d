"""The command-line reference in Markdown, made from the table."""

from __future__ import annotations

from casemate.cli import table
from casemate.cli.words.help import spellings
from casemate.cli.words.manpages import ENVIRONMENT, EXIT_CODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from casemate.cli.table import Option, Verb

NOTICE = "<!-- made by `casemate __docs --reference docs/reference`; edit src/casemate/cli/tables instead -->"


def pages() -> dict[str, str]:
    """Return file name -> text: one index and one page for each verb."""
    verbs = list(table.iter_verbs())
    found = {"cli.md": _index(verbs)}
    for verb in verbs:
        found[_file(verb)] = _page(verb)
    return found


def _file(verb: Verb) -> str:
    return f"casemate-{table.verb_path(verb).replace(' ', '-')}.md"


def _index(verbs: Sequence[Verb]) -> str:
    rows = [f"| [`casemate {table.verb_path(verb)}`]({_file(verb)}) | {verb.summary} |" for verb in verbs]
    return "\n".join(
        [
            NOTICE,
            "# Command line\n",
            "Results go to stdout, everything else to stderr.\n",
            *_table(("Command", "What it does"), rows),
            "\n## Global options\n",
            *_option_table(table.GLOBAL_OPTIONS),
            "\n## Exit codes\n",
            *_table(("Code", "Meaning"), [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES]),
            "\n## Environment\n",
            *_table(("Variable", "Meaning"), [f"| {name} | {meaning} |" for name, meaning in ENVIRONMENT]),
            "",
        ]
    )


def _page(verb: Verb) -> str:
    path = table.verb_path(verb)
    lines = [
        NOTICE,
        f"# casemate {path}\n",
        f"{verb.summary}.\n",
        f"    casemate {path}{verb.usage[len(verb.name) :]}\n",
    ]
    if verb.describe:
        lines.append(f"{verb.describe}\n")
    others = [f"`casemate {name}`" for name in spellings(verb) if name != path]
    if others:
        lines.append(f"Also typed: {', '.join(others)}.\n")
    options = sorted(verb.options(), key=lambda option: option.name)
    shown = [option for option in options if not option.hidden]
    if shown:
        lines += ["## Options\n", *_option_table(shown), ""]
    if verb.examples:
        lines.append("## Examples\n")
        lines += [
            f"{meaning.capitalize() + ':' if meaning else ''}\n\n    {line}\n"
            for line, meaning in verb.examples
        ]
    absent = [option for option in options if option.refused is not None]
    if absent:
        lines += ["## docker's options that are refused\n", *_refused_table(absent), ""]
    return "\n".join(lines)


def _option_table(options: Sequence[Option]) -> list[str]:
    rows = []
    for option in options:
        meta = f" {option.meta}" if option.meta else ""
        short = f"`-{option.short}`, " if option.short else ""
        again = " (may be repeated)" if option.many else ""
        rows.append(f"| {short}`--{option.name}{meta}` | {option.help.replace('|', chr(92) + '|')}{again} |")
    return _table(("Option", "Meaning"), rows)


def _refused_table(options: Sequence[Option]) -> list[str]:
    rows = [
        f"| `{option.label}` | {option.refused[0]} | {option.refused[1]} |"
        for option in options
        if option.refused
    ]
    return _table(("Option", "Why", "Instead"), rows)


def _table(titles: Sequence[str], rows: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}", *rows]
