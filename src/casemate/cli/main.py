"""The ``casemate`` command: find the verb, read its line, call its module.

Turn failures into words and exit codes.
"""

from __future__ import annotations

import os
import sys

from casemate import quickstart
from casemate.cli import failure, streams, table
from casemate.errors import CasemateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from casemate.cli.args import Parsed
    from casemate.cli.table import Verb

INTERRUPTED = 130
BROKEN_PIPE = 141


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = list(sys.argv[1:] if words is None else words)
    command = Command()
    try:
        return command.run(words)
    except BrokenPipeError:
        return _die_of_broken_pipe()
    except KeyboardInterrupt:
        return INTERRUPTED
    except CasemateError as error:
        return command.fail(error)
    except OSError as error:
        return command.fail(failure.from_os_error(error, command.path or "run"), error)
    except Exception as error:  # noqa: BLE001 - the last line: no traceback reaches a user who did not ask for one
        return command.fail(failure.unexpected(error, command.path or "run"), error)


class Command:
    """One command line; remembers how far it was understood, for the error message."""

    __slots__ = ("debug", "path", "verb")

    def __init__(self) -> None:
        self.verb: Verb | None = None
        self.path = ""
        self.debug = bool(os.environ.get("CASEMATE_DEBUG"))

    def run(self, words: list[str]) -> int:
        """Do what ``words`` ask. Raises: CasemateError, OSError."""
        if words[:1] and words[0][:1] == "-":
            done, words = self._global_options(words)
            if done:
                return 0
        if not words:
            return _help_of(None)
        rest = self._find_verb(words)
        if self.verb is None:
            return _help_of(self.path)
        from casemate.cli.args import parse  # --version needs no parser

        parsed = parse(self.verb, rest, path=self.path)
        if parsed.flag("help"):
            return _help_of(self.path)
        quickstart.verb = self.path
        return _call(self.verb, parsed)

    def fail(self, error: CasemateError, cause: BaseException | None = None) -> int:
        """Show ``error`` and return its exit code."""
        quickstart.verb = ""  # what a failure needs is not what the verb needs
        failure.show(error)
        if self.debug:
            _show_traceback(cause or error)
        return failure.exit_code(error, self.verb)

    def _global_options(self, words: list[str]) -> tuple[bool, list[str]]:
        """Take the options before the verb; the first result tells that everything is done."""
        if words in (["--version"], ["-v"]):
            return _print_version(), []
        from casemate.cli.args import parse_leading  # --version needs no parser

        leading = table.Verb("", "", module="", options=lambda: table.GLOBAL_OPTIONS)
        values, rest = parse_leading(leading, words)
        if values.get("version"):
            return _print_version(), []
        self.debug = self.debug or bool(values.get("debug"))
        for name, variable in (("root", "CASEMATE_ROOT"), ("run-root", "CASEMATE_RUN_ROOT")):
            if name in values:
                os.environ[variable] = os.path.abspath(values[name])
        if values.get("help"):
            _help_of(None)
            return True, []
        return False, rest

    def _find_verb(self, words: list[str]) -> list[str]:
        """Set the verb and its path, and return the words after it. Raises: UsageError."""
        name, rest = words[0], words[1:]
        if name in table.NOUNS:
            self.path = name
            verbs = table.NOUNS[name][1]
            if not rest or rest[0] in ("--help", "-h"):
                return []
            self.path = f"{name} {rest[0]}"
            self.verb = table.load(verbs[rest[0]]) if rest[0] in verbs else None
            if self.verb is None:
                raise _unknown(self.path, rest[0], verbs)
            return rest[1:]
        self.path = name
        self.verb = table.load(name) if name in table.PARTS else None
        if self.verb is None:
            raise _unknown(name, name, (*table.PARTS, *table.NOUNS))
        return rest


def _call(verb: Verb, parsed: Parsed) -> int:
    module = __import__(f"casemate.cli.commands.{verb.module}", fromlist=("run",))
    code: int = module.run(parsed)
    return code


def _help_of(path: str | None) -> int:
    from casemate.cli.words.help import help_text  # only when help is asked for

    streams.put(help_text(path))
    return 0


def _print_version() -> bool:
    from casemate import __version__  # only here

    streams.say(f"casemate version {__version__}")
    return True


def _unknown(path: str, word: str, known: Sequence[str] | dict[str, str]) -> CasemateError:
    from casemate.cli.suggest import did_you_mean  # only on the failing path
    from casemate.cli.usage import UsageError

    noun = path.rpartition(" ")[0]
    see = f"casemate {noun} --help lists the commands".replace("  ", " ")
    names = [name for name in known if not name.startswith("_")]
    return UsageError(
        f"find the command {word}",
        f"there is no command 'casemate {path}'",
        hint=did_you_mean(word, names, otherwise=see),
        exit_code=1,
    )


def _show_traceback(error: BaseException) -> None:
    import traceback  # only with --debug

    streams.note("".join(traceback.format_exception(error)).rstrip())


def _die_of_broken_pipe() -> int:
    """End as programs end that write to a closed pipe: by SIGPIPE, without a word."""
    import _signal  # type: ignore[import-not-found]  # only on this path

    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    os.kill(os.getpid(), _signal.SIGPIPE)
    return BROKEN_PIPE
