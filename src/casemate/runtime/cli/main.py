"""casemate-oci: global options, the verb, and what happens to errors.

Each verb is a module that is imported when it is typed, and nothing else is: a container's start pays for every import.
"""

from __future__ import annotations

import os
import sys

from casemate import quickstart
from casemate.errors import CasemateError, Invalid
from casemate.runtime.cli.args import FLAG, VALUE, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_GLOBAL = {
    "root": VALUE,
    "log": VALUE,
    "log-format": VALUE,
    "criu": VALUE,
    "rootless": VALUE,
    "cgroup-manager": VALUE,
    "debug": FLAG,
    "systemd-cgroup": FLAG,
    "version": FLAG,
    "help": FLAG,
}

# verb -> (module, what it does)
VERBS = {
    "create": ("create", "make a container and wait for start"),
    "delete": ("delete", "remove a container and everything that was made for it"),
    "events": ("resources", "show resource use (--stats)"),
    "exec": ("exec", "run one more program in a container"),
    "features": ("features", "show what this runtime supports"),
    "kill": ("kill", "send a signal to a container"),
    "list": ("listing", "show the containers below --root"),
    "pause": ("resources", "freeze all processes of a container"),
    "ps": ("resources", "show the processes of a container"),
    "resume": ("resources", "let a paused container go on"),
    "run": ("run", "create, start, wait and delete"),
    "spec": ("spec", "write a config.json to start from"),
    "start": ("start", "execute the program of a created container"),
    "state": ("state", "show the state of a container as JSON"),
    "update": ("resources", "change the limits of a container"),
}
_FAILED = 1
_FUNCTIONS = {"list": "list_containers"}


class Settings:
    """The global options."""

    __slots__ = ("debug", "log", "log_format", "root", "rootless")

    def __init__(self, *, root: str, log: str, log_format: str, debug: bool) -> None:
        self.root = root
        self.log = log
        self.log_format = log_format
        self.debug = debug
        self.rootless = os.geteuid() != 0


def default_root() -> str:
    """Where the state of containers is kept unless --root says otherwise."""
    if os.geteuid() == 0:
        return "/run/casemate-oci"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return f"{runtime}/casemate-oci" if runtime else f"/tmp/casemate-oci-{os.geteuid()}"  # noqa: S108 - checked to be ours


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code of the process."""
    words = list(sys.argv[1:] if argv is None else argv)
    settings = Settings(root="", log="", log_format="text", debug=False)
    try:
        options = parse(words, _GLOBAL, {"v": "version", "h": "help"})
        settings.log, settings.log_format = options.value("log"), options.value("log-format", "text")
        settings.root, settings.debug = options.value("root") or default_root(), options.flag("debug")
        if options.flag("version"):
            return _say_version()
        if options.flag("help") or not options.operands or options.operands[0] in ("help", "h"):
            return _say_help(failed=not options.operands and not options.flag("help"))
        return _run_verb(settings, options.operands)
    except CasemateError as error:
        _report(settings, _as_go_says(error), error.hint)
        return error.exit_code if error.exit_code in (126, 127) else _FAILED
    except OSError as error:
        _report(settings, str(error), "")
        return _FAILED


def _run_verb(settings: Settings, operands: list[str]) -> int:
    verb, rest = operands[0], operands[1:]
    if verb not in VERBS:
        raise Invalid("read command line", verb, "unknown command", hint="casemate-oci --help lists them")
    quickstart.verb = verb
    module = __import__(f"casemate.runtime.cli.{VERBS[verb][0]}", fromlist=[verb])
    code: int = getattr(module, _FUNCTIONS.get(verb, verb))(settings, rest)
    return code


def _say_version() -> int:
    from casemate import __version__

    print(f"casemate-oci version {__version__}\nspec: 1.2.0")  # noqa: T201 - the answer
    return 0


def _say_help(*, failed: bool) -> int:
    lines = [
        "Usage: casemate-oci [--root DIR] [--log FILE] [--log-format text|json] COMMAND ...",
        "",
        "Commands:",
    ]
    lines += [f"  {verb:<10}{about}" for verb, (_, about) in sorted(VERBS.items())]
    print("\n".join(lines), file=sys.stderr if failed else sys.stdout)
    return _FAILED if failed else 0


def _as_go_says(error: CasemateError) -> str:
    """The message, with the cause of a program that cannot be run in the words that docker and podman look for."""
    if error.exit_code not in (126, 127):
        return error.message
    why = f"{error.why[:1].lower()}{error.why[1:]}"
    if why == "is a directory":
        why = "permission denied (it is a directory)"  # docker 20.10 knows exit code 126 by these two words
    return f'exec: "{error.subject}": {why}'


def _report(settings: Settings, message: str, hint: str) -> None:
    from casemate.runtime.cli.log import write_error

    quickstart.verb = ""  # what a failure needs is not what the verb needs
    write_error(settings, message)
    print(f"casemate-oci: {message}", file=sys.stderr)  # noqa: T201 - the command line's own voice
    if hint:
        print(f"  fix: {hint}", file=sys.stderr)  # noqa: T201 - same


def warn(settings: Settings, notes: list[str]) -> None:
    """Say what could not be given exactly as asked."""
    if not notes:
        return
    from casemate.runtime.cli.log import write_line

    for note in notes:
        write_line(settings, "warning", note)


if __name__ == "__main__":
    sys.exit(main())
