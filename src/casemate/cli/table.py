"""The one table of verbs: the parser, ``--help``, the manual pages.

Completion and the reference are all made from it.

``PARTS`` names, for each noun, the module under ``casemate.cli.tables`` that holds its verbs, so that a
command builds the options of its own verb and nothing else. A verb is reached by its path: ``run``,
``container run``, ``image ls``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

USAGE_ERROR = 125
"""Exit code for a bad flag or a bad value, for every verb (measured with docker 28)."""

ENGINE_ERROR = 125
"""Exit code of run, create and exec when the container never started.

Tells casemate's failure from the program's.
"""


class Option:
    """One option: what is typed, how its value is read, and what to say when it is refused.

    ``kind`` is ``bool``, ``string`` or the name of a reader in ``casemate.cli.values``; ``many`` keeps
    every value given. ``refused`` is ``(why, fix)`` for docker's options whose feature is absent: the
    option is recognised and explained. ``completes`` names the source of dynamic completion words (see
    ``casemate.cli.words.complete``) or lists fixed words.
    """

    __slots__ = ("completes", "help", "hidden", "kind", "many", "meta", "name", "refused", "short")

    def __init__(  # noqa: PLR0913 - one row of the table
        self,
        name: str,
        text: str,
        *,
        short: str = "",
        kind: str = "bool",
        meta: str = "",
        many: bool = False,
        refused: tuple[str, str] | None = None,
        completes: str | tuple[str, ...] = "",
        hidden: bool = False,
    ) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.meta = meta
        self.many = many
        self.help = text
        self.refused = refused
        self.completes = completes
        self.hidden = hidden

    @property
    def label(self) -> str:
        """How messages call the option: ``-m, --memory``."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Verb:
    """One verb: its options and positionals, examples.

    And the module under ``casemate.cli.commands`` that does it.

    ``operands`` is (synopsis, least, most or None). ``stop_at_operand``: everything after the first
    operand belongs to the program in the container. ``failure_code`` is the exit code when the engine
    refuses.
    """

    __slots__ = (
        "aliases",
        "completes",
        "describe",
        "examples",
        "failure_code",
        "hidden",
        "least",
        "module",
        "most",
        "name",
        "options",
        "stop_at_operand",
        "summary",
        "synopsis",
    )

    def __init__(  # noqa: PLR0913 - one row of the table
        self,
        name: str,
        summary: str,
        *,
        module: str,
        operands: tuple[str, int, int | None] = ("", 0, 0),
        options: Callable[[], Sequence[Option]] | None = None,
        examples: Sequence[tuple[str, str]] = (),
        describe: str = "",
        aliases: Sequence[str] = (),
        completes: str | tuple[str, ...] = "",
        stop_at_operand: bool = False,
        failure_code: int = 1,
        hidden: bool = False,
    ) -> None:
        self.name = name
        self.summary = summary
        self.module = module
        self.synopsis, self.least, self.most = operands
        self.options = options or no_options
        self.examples = examples
        self.describe = describe
        self.aliases = aliases
        self.completes = completes
        self.stop_at_operand = stop_at_operand
        self.failure_code = failure_code
        self.hidden = hidden

    @property
    def usage(self) -> str:
        """The usage line without the program's name: ``run [OPTIONS] IMAGE [COMMAND] [ARG...]``."""
        middle = " [OPTIONS]" if self.options is not no_options else ""
        return f"{self.name}{middle} {self.synopsis}".rstrip()


def no_options() -> Sequence[Option]:
    """Return the options of a verb that has none."""
    return ()


GLOBAL_OPTIONS = (
    Option("debug", "Show a traceback below an unexpected error", short="D"),
    Option(
        "root",
        "Directory of images and containers (CASEMATE_ROOT)",
        kind="string",
        meta="DIR",
        completes="dir",
    ),
    Option(
        "run-root",
        "Directory of run-time state (CASEMATE_RUN_ROOT)",
        kind="string",
        meta="DIR",
        completes="dir",
    ),
    Option("version", "Print version information and quit", short="v"),
    Option("help", "Print usage"),
)

PARTS = {
    "run": "start",
    "create": "start",
    "exec": "start",
    "start": "container",
    "stop": "container",
    "restart": "container",
    "kill": "container",
    "rm": "container",
    "wait": "container",
    "attach": "container",
    "logs": "container",
    "ps": "container",
    "inspect": "container",
    "pause": "container",
    "unpause": "container",
    "rename": "container",
    "top": "container",
    "why": "container",
    "images": "image",
    "pull": "image",
    "rmi": "image",
    "tag": "image",
    "load": "image",
    "save": "image",
    "history": "image",
    "bootstrap": "image",
    "version": "system",
    "info": "system",
    "doctor": "system",
    "prove": "system",
    "relax": "system",
    "completion": "system",
    "help": "system",
    "__complete": "system",
    "__docs": "system",
}
"""Top-level verb -> module under ``casemate.cli.tables``. The order is the order of ``casemate --help``."""

NOUNS: dict[str, tuple[str, dict[str, str]]] = {
    "container": (
        "Manage containers",
        {
            "run": "run",
            "create": "create",
            "exec": "exec",
            "start": "start",
            "stop": "stop",
            "restart": "restart",
            "kill": "kill",
            "rm": "rm",
            "remove": "rm",
            "wait": "wait",
            "attach": "attach",
            "logs": "logs",
            "ls": "ps",
            "list": "ps",
            "ps": "ps",
            "inspect": "inspect",
            "pause": "pause",
            "unpause": "unpause",
            "rename": "rename",
            "top": "top",
            "why": "why",
        },
    ),
    "image": (
        "Manage images",
        {
            "ls": "images",
            "list": "images",
            "pull": "pull",
            "rm": "rmi",
            "remove": "rmi",
            "tag": "tag",
            "inspect": "inspect",
            "load": "load",
            "save": "save",
            "history": "history",
            "bootstrap": "bootstrap",
        },
    ),
    "system": (
        "Manage casemate",
        {
            "info": "info",
            "df": "df",
            "prune": "prune",
            "doctor": "doctor",
            "prove": "prove",
            "relax": "relax",
        },
    ),
}
"""Noun -> (summary, its verbs -> the verb of the table that does it)."""

SYSTEM_ONLY = ("df", "prune")
"""Verbs that exist only below ``system``."""


def load(name: str) -> Verb | None:
    """Return the verb called ``name`` (a key of ``PARTS`` or ``SYSTEM_ONLY``).

    Importing only its part; None when absent.
    """
    part = "system" if name in SYSTEM_ONLY else PARTS.get(name)
    if part is None:
        return None
    module = __import__(f"casemate.cli.tables.{part}", fromlist=("VERBS",))
    found: Verb | None = module.VERBS.get(name)
    return found


def iter_verbs(*, hidden: bool = False) -> Iterator[Verb]:
    """Yield every verb of the table in the order of ``--help``."""
    for name in (*PARTS, *SYSTEM_ONLY):
        verb = load(name)
        if verb is not None and (hidden or not verb.hidden):
            yield verb


def verb_path(verb: Verb) -> str:
    """Return how a verb is typed: ``run``, ``system df``."""
    return f"system {verb.name}" if verb.name in SYSTEM_ONLY else verb.name
