"""What may come next on a command line: options and fixed words from the table, names from the store."""

from __future__ import annotations

from casemate.cli import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casemate.cli.table import Option, Verb

FILES = "__files__"
DIRECTORIES = "__dirs__"
"""Answers that tell the shell to complete paths itself."""


def candidates(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return (word, description) for the last of ``words``, given those before it."""
    words = list(words) or [""]
    before, begun = words[:-1], words[-1]
    found = _next(before, begun)
    if found in ([(FILES, "")], [(DIRECTORIES, "")]):
        return found
    return [pair for pair in found if pair[0].startswith(begun)]


def _next(before: list[str], begun: str) -> list[tuple[str, str]]:
    before = _without_global_options(before)
    if not before:
        if begun[:1] == "-":
            return _option_words(table.GLOBAL_OPTIONS)
        verbs = [
            (verb.name, verb.summary) for verb in table.iter_verbs() if verb.name not in table.SYSTEM_ONLY
        ]
        return verbs + [(noun, summary) for noun, (summary, _) in table.NOUNS.items()]
    name = before.pop(0)
    if name in table.NOUNS:
        verbs_of = table.NOUNS[name][1]
        if not before:
            return [
                (key, verb.summary)
                for key, target in verbs_of.items()
                if (verb := table.load(target)) is not None
            ]
        name = verbs_of.get(before.pop(0), "")
    verb = table.load(name)
    return _of_verb(verb, before, begun) if verb is not None else []


def _without_global_options(before: list[str]) -> list[str]:
    takes_value = [f"--{option.name}" for option in table.GLOBAL_OPTIONS if option.kind != "bool"]
    while before and before[0][:1] == "-":
        before = before[2:] if before[0] in takes_value else before[1:]
    return before


def _of_verb(verb: Verb, before: list[str], begun: str) -> list[tuple[str, str]]:
    options = [option for option in verb.options() if not option.hidden]
    operands = 0
    waiting: Option | None = None
    for word in before:
        if waiting is not None:
            waiting = None
        elif word[:1] == "-" and len(word) > 1 and not (operands and verb.stop_at_operand):
            waiting = _wants_value(options, word)
        else:
            operands += 1
    if waiting is not None:
        return _several(waiting.completes, begun)
    if operands and verb.stop_at_operand:
        return [(FILES, "")]
    if begun[:2] == "--" and "=" in begun:
        name = begun[2:].partition("=")[0]
        option = next((option for option in options if option.name == name), None)
        return (
            [
                (f"--{name}={word}", meaning)
                for word, meaning in _several(option.completes, begun.partition("=")[2])
            ]
            if option
            else []
        )
    if begun[:1] == "-":
        return [*_option_words(options), ("--help", "Print usage")]
    if verb.most is not None and operands >= verb.most:
        return []
    return _values(verb.completes)


def _several(source: str | tuple[str, ...], begun: str) -> list[tuple[str, str]]:
    """Return the values of an option; of one that takes several with commas, the next after those that stand there."""
    before, comma, _ = begun.rpartition(",")
    if source != "relaxation" or not comma:
        return _values(source)
    given = before.split(",")
    return [(f"{before},{word}", meaning) for word, meaning in _values(source) if word not in given]


def _wants_value(options: Sequence[Option], word: str) -> Option | None:
    """Return the option whose value the next word is, or None."""
    if word[:2] == "--":
        return next((o for o in options if word == f"--{o.name}" and o.kind != "bool"), None)
    for i, letter in enumerate(word[1:], 2):
        option = next((o for o in options if o.short == letter), None)
        if option is None:
            return None
        if option.kind != "bool":
            return option if i == len(word) else None
    return None


def _option_words(options: Sequence[Option]) -> list[tuple[str, str]]:
    words = [(f"--{option.name}", option.help) for option in options if not option.hidden]
    return words + [
        (f"-{option.short}", option.help) for option in options if option.short and not option.hidden
    ]


def _values(source: str | tuple[str, ...]) -> list[tuple[str, str]]:
    if isinstance(source, tuple):
        return [(word, "") for word in source]
    if source == "file":
        return [(FILES, "")]
    if source == "dir":
        return [(DIRECTORIES, "")]
    if source == "verb":
        return _next([], "")
    if source == "check":
        from casemate.prove.catalogue import CHECKS

        return [(check.number, check.title) for check in CHECKS]
    if source == "relaxation":
        from casemate.engine.spec.relaxations import RELAXATIONS, words  # only here

        return [(word, RELAXATIONS[word.partition("=")[0]].allows) for word in words()]
    if source == "signal":
        import _signal  # type: ignore[import-not-found]  # only here

        return [(name[3:], "") for name in dir(_signal) if name.startswith("SIG") and name[3] != "_"]
    return list(_names(source)) if source else []


def _names(source: str) -> Iterator[tuple[str, str]]:
    """Yield names from the store; a store that cannot be opened has none."""
    from casemate.errors import CasemateError  # only names need the engine

    try:
        from casemate.cli.opening import open_engine

        with open_engine() as engine:
            if source in ("image", "object"):
                for image in engine.images.list():
                    for row in image.summary():
                        yield f"{row['Repository']}:{row['Tag']}", row["Size"]
            if source != "image":
                states = {
                    "running": ("running",),
                    "paused": ("paused",),
                    "stopped": ("created", "exited"),
                }.get(source)
                for box in engine.containers.list(all=True):
                    if states is None or box.state in states:
                        yield box.name, box.state
    except (CasemateError, OSError):
        return
