"""Verbs of casemate itself."""

from __future__ import annotations

from casemate.cli.table import USAGE_ERROR, Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def format_options() -> Sequence[Option]:
    """Return the options of version, info and df."""
    return [
        Option(
            "format",
            "Output format: json or a Go template",
            short="f",
            kind="string",
            meta="FORMAT",
            completes=("json",),
        )
    ]


def doctor_options() -> Sequence[Option]:
    """Return the options of doctor."""
    return [Option("json", "Print the checks as JSON")]


def prove_options() -> Sequence[Option]:
    """Return the options of prove."""
    return [
        Option("json", "Print the report as JSON"),
        Option("list", "Show the checks and try nothing"),
        Option("only", "Try these checks alone (C2,C4)", kind="string", meta="NUMBERS", completes="check"),
        Option(
            "runtime",
            "Check an OCI runtime instead: a path, crun, runc or casemate-oci",
            kind="string",
            meta="RUNTIME",
            completes=("casemate-oci", "crun", "runc"),
        ),
        Option("tier", "Which wall: container", kind="tier", meta="TIER", completes=("container",)),
    ]


def prune_options() -> Sequence[Option]:
    """Return the options of system prune."""
    return [
        Option("all", "Remove every image that no container uses, not only those without a name", short="a"),
        Option("force", "Do not ask", short="f"),
    ]


def docs_options() -> Sequence[Option]:
    """Return the options of the generator of manual pages and reference."""
    return [
        Option("man", "Write manual pages into this directory", kind="string", meta="DIR", completes="dir"),
        Option(
            "reference", "Write the reference into this directory", kind="string", meta="DIR", completes="dir"
        ),
    ]


VERBS = {
    "version": Verb(
        "version",
        "Show the version of casemate and of what it runs on",
        module="system.version",
        options=format_options,
        examples=(("casemate version -f '{{.Client.Version}}'", "the number alone"),),
    ),
    "info": Verb(
        "info",
        "Show what casemate found on this host",
        module="system.info",
        options=format_options,
        aliases=("system info",),
        examples=(("casemate info -f '{{.Driver}}'", "one value"), ("casemate info -f json", "everything")),
    ),
    "doctor": Verb(
        "doctor",
        "Check this host and say how to fix what is missing",
        module="system.doctor",
        options=doctor_options,
        aliases=("system doctor",),
        describe="Exit code 0: all is well; 1: something works worse than it could; 2: no container runs.",
        examples=(("casemate doctor", "a table"), ("casemate doctor --json", "for programs")),
    ),
    "prove": Verb(
        "prove",
        "Try on this host what the wall promises",
        module="system.prove",
        failure_code=USAGE_ERROR,
        options=prove_options,
        aliases=("system prove",),
        describe="Toy programs and canary files only; everything is made in a private place and removed. Exit code 0:"
        " all that could be tried held; 1: something did not; 125: nothing could be tried.",
        examples=(
            ("casemate prove", "every check against casemate run"),
            ("casemate prove --list", "what is checked"),
            ("casemate prove --only C2,C4 --json", "two checks, for programs"),
            ("casemate prove --runtime crun", "the same checks against another runtime"),
        ),
    ),
    "relax": Verb(
        "relax",
        "List the relaxations of the default wall, and what each gives away",
        module="system.relax",
        operands=("[NAME...]", 0, None),
        options=format_options,
        aliases=("system relax",),
        completes="relaxation",
        describe="Each is granted by `casemate run --relax NAME` and shown by `casemate inspect`.",
        examples=(
            ("casemate relax", "all of them"),
            ("casemate relax debug suid", "two of them"),
            ("casemate run --relax debug,io_uring debian:bookworm bash", "a container with two"),
        ),
    ),
    "completion": Verb(
        "completion",
        "Print the completion script of a shell",
        module="system.completion",
        operands=("bash|zsh|fish", 1, 1),
        completes=("bash", "zsh", "fish"),
        examples=(
            ("source <(casemate completion bash)", "now, in this shell"),
            ("casemate completion fish > ~/.config/fish/completions/casemate.fish", "for good"),
        ),
    ),
    "help": Verb(
        "help",
        "Show help of a command",
        module="system.help",
        operands=("[COMMAND...]", 0, None),
        completes="verb",
        examples=(("casemate help run", ""),),
    ),
    "df": Verb(
        "df",
        "Show the disk space that casemate uses",
        module="system.df",
        options=format_options,
        examples=(("casemate system df", ""),),
    ),
    "prune": Verb(
        "prune",
        "Remove what nothing uses: ended containers, images without a name, loose layers",
        module="system.prune",
        options=prune_options,
        examples=(("casemate system prune -af", "without asking, unused images too"),),
    ),
    "__complete": Verb(
        "__complete",
        "Print the words that may come next (called by completion scripts)",
        module="system.complete",
        operands=("[WORD...]", 0, None),
        stop_at_operand=True,
        hidden=True,
    ),
    "__docs": Verb(
        "__docs",
        "Write manual pages and reference (called by the build)",
        module="system.docs",
        options=docs_options,
        hidden=True,
    ),
}
