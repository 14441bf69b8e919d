"""Manual pages, made from the table: casemate(1) and one page for each verb."""

from __future__ import annotations

from casemate import __version__
from casemate.cli import table
from casemate.cli.words.help import spellings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from casemate.cli.table import Option, Verb

EXIT_CODES = (
    ("0", "Success; of run, exec and start -a: the program ended with 0."),
    ("1", "The command failed, or the number of operands is wrong."),
    ("125", "A flag or its value is wrong, or (run, create, exec) casemate could not start the program."),
    ("126", "The program was found and cannot be executed."),
    ("127", "The program was not found."),
    ("128+n", "Signal n killed the program (137: SIGKILL, also when memory ran out)."),
)
ENVIRONMENT = (
    ("CASEMATE_ROOT", "Directory of images and containers (/var/lib/casemate, or $XDG_DATA_HOME/casemate)."),
    ("CASEMATE_RUN_ROOT", "Directory of run-time state (/run/casemate, or $XDG_RUNTIME_DIR/casemate)."),
    ("CASEMATE_DEBUG", "Not empty: a traceback below unexpected errors, as -D."),
    ("NO_COLOR, CLICOLOR_FORCE, TERM=dumb", "Turn colour off, on, off."),
)


def pages() -> dict[str, str]:
    """Return file name -> text of every manual page."""
    found = {"casemate.1": _root_page()}
    for verb in table.iter_verbs():
        found[f"casemate-{table.verb_path(verb).replace(' ', '-')}.1"] = _verb_page(verb)
    return found


def _verb_page(verb: Verb) -> str:
    path = table.verb_path(verb)
    options = sorted(
        (option for option in verb.options() if not option.hidden), key=lambda option: option.name
    )
    parts = [
        _head(f"casemate-{path.replace(' ', '-')}", verb.summary),
        ".SH SYNOPSIS\n"
        + "\n.br\n".join(
            f".B casemate {name}\n{_escaped(verb.usage[len(verb.name) :].strip())}"
            for name in spellings(verb)
        ),
        f".SH DESCRIPTION\n{_escaped(verb.describe or verb.summary + '.')}",
    ]
    if options:
        parts.append(".SH OPTIONS\n" + "\n".join(_option(option) for option in options))
    if verb.examples:
        parts.append(".SH EXAMPLES\n" + "\n".join(_example(line, meaning) for line, meaning in verb.examples))
    parts += [_listed("EXIT STATUS", EXIT_CODES), ".SH SEE ALSO\n.BR casemate (1)"]
    return "\n".join(parts) + "\n"


def _root_page() -> str:
    verbs = "\n".join(
        f".TP\n.BR casemate-{table.verb_path(verb).replace(' ', '-')} (1)\n{_escaped(verb.summary)}"
        for verb in table.iter_verbs()
    )
    return "\n".join(
        [
            _head("casemate", "secure Linux containers behind a wall whose thickness you choose"),
            ".SH SYNOPSIS\n.B casemate\n[OPTIONS] COMMAND [ARG...]",
            ".SH OPTIONS\n" + "\n".join(_option(option) for option in table.GLOBAL_OPTIONS),
            f".SH COMMANDS\n{verbs}",
            _listed("ENVIRONMENT", ENVIRONMENT),
            _listed("EXIT STATUS", EXIT_CODES),
            "",
        ]
    )


def _head(name: str, summary: str) -> str:
    title = f'.TH {name.upper()} 1 "" "casemate {__version__}" "casemate"'
    return f"{title}\n.SH NAME\n{_escaped(name)} \\- {_escaped(summary)}"


def _option(option: Option) -> str:
    names = f"\\fB\\-{option.short}\\fR, " if option.short else ""
    meta = f" \\fI{_escaped(option.meta)}\\fR" if option.meta else ""
    again = " May be repeated." if option.many else ""
    return f".TP\n{names}\\fB{_escaped('--' + option.name)}\\fR{meta}\n{_escaped(option.help)}.{again}"


def _example(line: str, meaning: str) -> str:
    return f".PP\n{_escaped(meaning or 'Example')}:\n.PP\n.nf\n.RS 4\n{_escaped(line)}\n.RE\n.fi"


def _listed(title: str, rows: Sequence[tuple[str, str]]) -> str:
    return f".SH {title}\n" + "\n".join(
        f".TP\n\\fB{_escaped(left)}\\fR\n{_escaped(right)}" for left, right in rows
    )


def _escaped(text: str) -> str:
    """Return text with roff's own characters written out; a line may not begin with a dot or quote."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in safe.split("\n"))
