"""The option parser: a verb of the table and an argument vector in, values and operands out.

Grammar of docker (pflag): ``--flag value``, ``--flag=value``, ``-f value``, ``-fvalue``, ``-f=value``,
grouped shorts (``-itd``, ``-itp8080:80``), ``--bool=false``, repeated options, ``--`` ends options, ``-``
is an operand. A verb with ``stop_at_operand`` ends options at its first operand, because what follows
belongs to the program in the container.
"""

from __future__ import annotations

from casemate.cli.suggest import nearest
from casemate.cli.usage import UsageError, ValueProblem, bad_value, refused, wrong_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from casemate.cli.table import Option, Verb

# strconv.ParseBool
TRUE_WORDS = ("1", "t", "T", "true", "TRUE", "True")
FALSE_WORDS = ("0", "f", "F", "false", "FALSE", "False")


class Parsed:
    """What was typed: ``values`` by option name (a list when the option repeats) and ``operands``.

    ``path`` is how the verb was typed.
    """

    __slots__ = ("operands", "path", "values", "verb")

    def __init__(self, verb: Verb, path: str, values: dict[str, Any], operands: list[str]) -> None:
        self.verb = verb
        self.path = path
        self.values = values
        self.operands = operands

    def flag(self, name: str) -> bool:
        """Return whether a boolean option is on."""
        return self.values.get(name) is True

    def text(self, name: str, default: str = "") -> str:
        """Return the value of a string option."""
        value: str = self.values.get(name, default)
        return value

    def get(self, name: str) -> Any:
        """Return the value that the option's reader made, or None."""
        return self.values.get(name)

    def all(self, name: str) -> list[Any]:
        """Return every value of a repeatable option, in the order given."""
        value: list[Any] = self.values.get(name, [])
        return value


def parse(verb: Verb, words: Sequence[str], *, path: str = "") -> Parsed:
    """Return what ``words`` say for ``verb``.

    Raises: UsageError.
    """
    parser = _Parser(verb, path or verb.name)
    values, operands, wants_help = parser.read(words, stop_at_operand=verb.stop_at_operand)
    if wants_help:
        values["help"] = True
    elif len(operands) < verb.least or (verb.most is not None and len(operands) > verb.most):
        raise wrong_count(verb, path or verb.name)
    return Parsed(verb, path or verb.name, values, operands)


def parse_leading(verb: Verb, words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the options before the verb, and everything from the verb on. Raises: UsageError."""
    values, operands, wants_help = _Parser(verb, "").read(words, stop_at_operand=True)
    if wants_help:
        values["help"] = True
    return values, operands


class _Parser:
    """One walk over an argument vector."""

    __slots__ = ("by_name", "by_short", "path", "values", "verb", "wants_help", "words")

    def __init__(self, verb: Verb, path: str) -> None:
        self.verb = verb
        self.path = path
        options = verb.options()
        self.by_name = {option.name: option for option in options}
        self.by_short = {option.short: option for option in options if option.short}
        self.values: dict[str, Any] = {}
        self.words: list[str] = []
        self.wants_help = False

    def read(self, words: Sequence[str], *, stop_at_operand: bool) -> tuple[dict[str, Any], list[str], bool]:
        self.words = list(words)
        self.words.reverse()
        operands: list[str] = []
        while self.words and not self.wants_help:
            word = self.words.pop()
            if word == "--":
                operands += reversed(self.words)
                break
            if word[:2] == "--":
                self._long(word)
            elif word[:1] == "-" and word != "-":
                self._shorts(word[1:])
            else:
                operands.append(word)
                if stop_at_operand:
                    operands += reversed(self.words)
                    break
        return self.values, operands, self.wants_help

    def _long(self, word: str) -> None:
        name, equals, value = word[2:].partition("=")
        if not name:
            raise UsageError(f"read {word}", "an option's name is missing", hint=self._see_help())
        option = self.by_name.get(name)
        if option is None:
            if name == "help":
                self.wants_help = True
                return
            raise self._unknown(f"--{name}", self.by_name)
        if equals:
            self._keep(option, value)
        elif option.kind == "bool":
            self._keep(option, "true")
        else:
            self._keep(option, self._next_word(option, f"--{name}"))

    def _shorts(self, letters: str) -> None:
        while letters:
            letter, letters = letters[0], letters[1:]
            option = self.by_short.get(letter)
            if option is None:
                if letter == "h":
                    self.wants_help = True
                    return
                raise self._unknown(f"-{letter}", ())
            if letters[:1] == "=":
                self._keep(option, letters[1:])
                return
            if option.kind == "bool":
                self._keep(option, "true")
            else:
                self._keep(option, letters or self._next_word(option, f"-{letter}"))
                return

    def _next_word(self, option: Option, typed: str) -> str:
        if not self.words:
            meta = option.meta or "VALUE"
            raise UsageError(f"use {typed}", f"it needs a value: {typed} {meta}", hint=self._see_help())
        return self.words.pop()

    def _keep(self, option: Option, text: str) -> None:
        value = self._value(option, text)
        if option.refused is not None and value is not False:
            raise refused(option, *option.refused)
        if option.many:
            self.values.setdefault(option.name, []).append(value)
        else:
            self.values[option.name] = value

    def _value(self, option: Option, text: str) -> Any:
        try:
            if option.kind == "bool":
                return boolean(text)
            if option.kind == "string":
                return text
            from casemate.cli import values  # most commands have no value to read

            return values.READERS[option.kind](text)
        except ValueProblem as problem:
            raise bad_value(self.verb, option, text, problem) from None

    def _unknown(self, typed: str, known: Iterable[str]) -> UsageError:
        owner = f"casemate {self.path}".strip()
        near = nearest(typed.lstrip("-"), [name for name in known if not self.by_name[name].hidden])
        hint = f"did you mean --{near}?" if near else self._see_help()
        return UsageError(f"use {typed}", f"'{owner}' has no such flag", hint=hint)

    def _see_help(self) -> str:
        return " ".join(f"casemate {self.path} --help lists the options".split())


def boolean(text: str) -> bool:
    """Return what a boolean option's word means. Raises: ValueProblem. Source: Go strconv.ParseBool."""
    if text in TRUE_WORDS:
        return True
    if text in FALSE_WORDS:
        return False
    raise ValueProblem("it is neither true nor false", "write true or false")
