"""casemate-oci: global options, the verb, and what happens to errors.

Each verb is a module that is imported when it is typed, and nothing else is: a container's start pays for every import.
"""

from __future__ import annotations

import os
import sys

from casemate import quickstart
from casemate.errors import CasemateError, Invalid
from casemate.runtime.cli.args import FLAG, VALUE, HelpWanted, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from casemate.runtime.cli.args import Arguments

OPTIONS = {
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
SHORT = {"v": "version", "h": "help"}

# verb -> (module, what it does)
VERBS = {
    "checkpoint": ("criu.checkpoint", "write a running container to files, by criu"),
    "create": ("create", "make a container and wait for start"),
    "delete": ("delete", "remove a container and everything that was made for it"),
    "events": ("group.events", "show resource use and out-of-memory kills"),
    "exec": ("exec", "run one more program in a container"),
    "features": ("features", "show what this runtime supports"),
    "kill": ("kill", "send a signal to a container"),
    "list": ("listing", "show the containers below --root"),
    "pause": ("group.resources", "freeze all processes of a container"),
    "ps": ("group.resources", "show the processes of a container"),
    "restore": ("criu.restore", "make a container again from the files of checkpoint"),
    "resume": ("group.resources", "let a paused container go on"),
    "run": ("run", "create, start, wait and delete"),
    "spec": ("spec", "write a config.json to start from"),
    "start": ("start", "execute the program of a created container"),
    "state": ("state", "show the state of a container as JSON"),
    "update": ("group.update", "change the limits of a container"),
}
_FAILED, _UNKNOWN_COMMAND, _EXEC_FAILED = 1, 3, 255
_COMMAND_LINE = "read command line"
_FUNCTIONS = {"list": "list_containers"}


class Settings:
    """The global options."""

    __slots__ = (
        "criu",
        "debug",
        "log",
        "log_format",
        "root",
        "rootless",
        "systemd_cgroup",
    )

    def __init__(self) -> None:
        self.root = ""
        self.log = ""
        self.log_format = ""  # nothing was said: text in the file, plain sentences on standard error
        self.debug = False
        self.criu = "criu"
        self.systemd_cgroup = False
        self.rootless = os.geteuid() != 0

    def take(self, options: Arguments) -> None:
        """Take over what was typed. Raises: Invalid."""
        # First what a complaint about the rest needs.
        self.log, self.log_format = options.value("log"), options.value("log-format")
        if self.log_format not in ("", "text", "json"):
            self.log_format, wrong = "", self.log_format
            raise Invalid(_COMMAND_LINE, f"--log-format {wrong}", "it is text or json")
        self.root, self.debug = options.value("root") or default_root(), options.flag("debug")
        self.criu = options.value("criu") or "criu"
        manager = options.value("cgroup-manager")
        if manager not in ("", "cgroupfs", "systemd"):
            raise Invalid(_COMMAND_LINE, f"--cgroup-manager {manager}", "it is cgroupfs or systemd")
        self.systemd_cgroup = options.flag("systemd-cgroup") or manager == "systemd"
        rootless = options.value("rootless", "auto").lower()
        if rootless not in ("auto", "true", "false", "1", "0"):
            raise Invalid(_COMMAND_LINE, f"--rootless {rootless}", "it is true, false or auto")


def default_root() -> str:
    """Where the state of containers is kept unless --root says otherwise."""
    if os.geteuid() == 0:
        return "/run/casemate-oci"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return f"{runtime}/casemate-oci" if runtime else f"/tmp/casemate-oci-{os.geteuid()}"  # noqa: S108 - checked to be ours


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code of the process."""
    words = list(sys.argv[1:] if argv is None else argv)
    settings = Settings()
    verb = ""
    try:
        options = parse(words, OPTIONS, SHORT)
        settings.take(options)
        if options.flag("version"):
            return _say_version()
        verb = options.operands[0] if options.operands else "help"
        if options.flag("help") or verb in ("help", "h"):
            return _say_help(options.operands[1] if len(options.operands) > 1 else "")
        return _run_verb(settings, options.operands)
    except HelpWanted:
        return _say_help(verb)
    except CasemateError as error:
        hint = error.hint
        if error.doing == _COMMAND_LINE and verb in VERBS:
            hint = hint or f"casemate-oci {verb} --help says what it takes"
        _report(settings, _as_go_says(error), hint)
        if error.doing == _COMMAND_LINE:
            return _FAILED if verb in VERBS or not verb else _UNKNOWN_COMMAND
    except OSError as error:
        _report(settings, str(error), "")
    # The program's own exit codes stay apart from ours: exec says 255 when there was none.
    return _EXEC_FAILED if verb == "exec" else _FAILED


def _run_verb(settings: Settings, operands: list[str]) -> int:
    verb, rest = operands[0], operands[1:]
    if verb not in VERBS:
        raise Invalid(_COMMAND_LINE, verb, "unknown command", hint="casemate-oci --help lists them")
    if settings.debug:
        from casemate.runtime.cli.log import write_line

        write_line(settings, "debug", f"{' '.join(operands)} (state in {settings.root})")
    quickstart.verb = verb
    module = __import__(f"casemate.runtime.cli.{VERBS[verb][0]}", fromlist=[verb])
    code: int = getattr(module, _FUNCTIONS.get(verb, verb))(settings, rest)
    return code


def _say_version() -> int:
    from casemate import __version__
    from casemate.runtime.schema.config import NEWEST

    print(f"casemate-oci version {__version__}\nspec: {NEWEST}")  # noqa: T201 - the answer
    return 0


def _say_help(verb: str) -> int:
    quickstart.verb = ""
    from casemate.runtime.cli import usage

    if verb and verb not in VERBS:
        raise Invalid(_COMMAND_LINE, verb, "unknown command", hint="casemate-oci --help lists them")
    sys.stdout.write(usage.verb_help(verb) if verb else usage.main_help(OPTIONS, SHORT))
    return 0


def _as_go_says(error: CasemateError) -> str:
    """The message, with the cause of a program that cannot be run in the words that docker and podman look for."""
    if error.exit_code not in (126, 127):
        return error.message
    why = f"{error.why[:1].lower()}{error.why[1:]}"
    if why == "is a directory":
        why = "permission denied (it is a directory)"  # docker 20.10 knows exit code 126 by these two words
    return f'exec: "{error.subject}": {why}'


def _report(settings: Settings, message: str, hint: str) -> None:
    from casemate.runtime.cli.log import line, write_line

    quickstart.verb = ""  # what a failure needs is not what the verb needs
    write_line(settings, "error", message)
    if settings.log_format and not settings.log:  # standard error is the log of whoever asks for a format
        print(line(settings, "error", message), file=sys.stderr)  # noqa: T201 - the log
        return
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
