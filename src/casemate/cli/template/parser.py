"""Tokens into nodes. Source: Go text/template/parse/parse.go; define, template and block are not offered."""

from __future__ import annotations

from casemate.cli.template.functions import NAMES
from casemate.cli.template.lexer import Token, line_of, tokens
from casemate.cli.template.nodes import (
    Action,
    Branch,
    Command,
    Field,
    Function,
    Group,
    Jump,
    Literal,
    Pipe,
    Text,
    Variable,
)
from casemate.cli.template.problem import TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.template.nodes import Node

DEEPEST = 64
"""Nesting at which a template is refused instead of exhausting the interpreter's stack."""


def parse(source: str) -> list[Node]:
    """Return the nodes of a template. Raises: TemplateError, worded as Go words it."""
    return _Parser(source).document()


class _Parser:
    """One walk over the tokens of a template."""

    __slots__ = ("depth", "index", "loops", "source", "tokens", "variables")

    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = list(tokens(source))
        self.index = 0
        self.depth = 0
        self.loops = 0
        self.variables = ["$"]

    def document(self) -> list[Node]:
        nodes, ended_by = self._body()
        if ended_by is not None:
            raise self._fail(f"unexpected {{{{{ended_by.text}}}}}", ended_by)
        return nodes

    def _body(self) -> tuple[list[Node], Token | None]:
        """Return the nodes up to ``end``, ``else`` or the end of the text.

        And the keyword that ended them.
        """
        nodes: list[Node] = []
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._fail("nested too deeply", self.tokens[self.index])
        while True:
            token = self._take()
            if token.kind == "end":
                self.depth -= 1
                return nodes, None
            if token.kind == "text":
                nodes.append(Text(token.position, token.text))
                continue
            word = self._peek_solid()
            if word.kind == "keyword" and word.text in ("end", "else"):
                self._take_solid()
                self.depth -= 1
                return nodes, word
            nodes.append(self._action(word))

    def _action(self, word: Token) -> Node:
        if word.kind != "keyword" or word.text == "nil":
            pipe = self._pipe("command", "close")
            return Action(word.position, pipe)
        self._take_solid()
        if word.text in ("break", "continue"):
            self._close(word.text)
            if not self.loops:
                raise self._fail(f"{{{{{word.text}}}}} outside {{{{range}}}}", word)
            return Jump(word.position, word.text)
        if word.text in ("if", "with", "range"):
            return self._branch(word)
        raise self._fail(f"{{{{{word.text}}}}} is not offered by casemate", word)

    def _branch(self, word: Token) -> Branch:
        known = len(self.variables)
        pipe = self._pipe(word.text, "close")
        self.loops += word.text == "range"
        body, ended_by = self._body()
        self.loops -= word.text == "range"
        orelse: list[Node] = []
        if ended_by is not None and ended_by.text == "else":
            orelse, ended_by = self._orelse(word)
        elif ended_by is not None:
            self._close("end")
        if ended_by is None:
            raise self._fail("unexpected EOF", self.tokens[-1])
        del self.variables[known:]
        return Branch(word.position, word.text, pipe, body=body, orelse=orelse)

    def _orelse(self, word: Token) -> tuple[list[Node], Token | None]:
        """Return what follows ``else`` and the keyword that ended it.

        ``else if`` needs no ``end`` of its own.
        """
        chained = self._peek_solid()
        if chained.kind == "keyword" and chained.text == word.text and word.text in ("if", "with"):
            self._take_solid()
            return [self._branch(chained)], chained
        self._close("else")
        nodes, ended_by = self._body()
        if ended_by is not None:
            if ended_by.text == "else":
                raise self._fail("expected end; found {{else}}", ended_by)
            self._close("end")
        return nodes, ended_by

    def _close(self, context: str) -> None:
        token = self._take_solid()
        if token.kind != "close":
            raise self._fail(f"unexpected {_shown(token)} in {context}", token)

    def _pipe(self, context: str, end: str) -> Pipe:
        first = self._peek_solid()
        names, assign = self._declarations(context)
        commands: list[Command] = []
        while True:
            token = self._peek_solid()
            if token.kind == end:
                self._take_solid()
                break
            if token.kind == "|":
                raise self._fail(f"unexpected {_shown(token)} in command", token)
            commands.append(self._command(end))
        if not commands:
            raise self._fail(f"missing value for {context}", first)
        for later in commands[1:]:
            if isinstance(later.arguments[0], Literal):
                raise self._fail(
                    f"non executable command in pipeline stage {commands.index(later) + 1}", first
                )
        self.variables += names if not assign else []
        return Pipe(first.position, names, commands, assign=assign)

    def _declarations(self, context: str) -> tuple[list[str], bool]:
        """Return the variables that a pipeline sets, and whether they exist already."""
        start = self.index
        names: list[str] = []
        while self._peek_solid().kind == "variable":
            names.append(self._take_solid().text)
            mark = self._peek_solid()
            if mark.kind == "," and context == "range" and len(names) == 1:
                self._take_solid()
                continue
            if mark.kind in (":=", "="):
                self._take_solid()
                if mark.kind == "=":
                    for name in names:
                        self._check_variable(name, mark)
                return names, mark.kind == "="
            break
        self.index = start
        return [], False

    def _command(self, end: str) -> Command:
        first = self._peek_solid()
        arguments: list[Node] = []
        while True:
            token = self._peek()
            if token.kind == "space":
                self._take()
                continue
            if token.kind == end:
                break
            if token.kind == "|":
                self._take()
                break
            arguments.append(self._operand("operand" if arguments else "command"))
            after = self._peek()
            if after.kind not in ("space", "|", end):
                raise self._fail(f"unexpected {_shown(after)} in operand", after)
        return Command(first.position, arguments)

    def _operand(self, context: str) -> Node:
        token = self._take()
        if token.kind == "literal":
            return Literal(token.position, token.text, token.value)
        if token.kind == "keyword" and token.text == "nil":
            return Literal(token.position, "nil", None)
        if token.kind == "word":
            if token.text not in NAMES:
                raise self._fail(f'function "{token.text}" not defined', token)
            return Function(token.position, token.text)
        if token.kind == ".":
            return Field(token.position, ())
        if token.kind == "field":
            names, position = self._fields(token)
            return Field(position, (token.text[1:], *names))
        if token.kind == "variable":
            self._check_variable(token.text, token)
            names, position = self._fields(token)
            return Variable(position, token.text, names)
        if token.kind == "(":
            self.depth += 1
            if self.depth > DEEPEST:
                raise self._fail("nested too deeply", token)
            pipe = self._pipe("parenthesized pipeline", ")")
            self.depth -= 1
            names, _ = self._fields(token)
            return Group(token.position, pipe, names)
        raise self._fail(f"unexpected {_shown(token)} in {context}", token)

    def _fields(self, first: Token) -> tuple[list[str], int]:
        """Return the ``.A.B`` that follow an operand.

        The position is that of the first, as in Go's messages.
        """
        names: list[str] = []
        position = first.position
        while self._peek().kind == "field":
            token = self._take()
            position = position if names else token.position
            names.append(token.text[1:])
        return names, position

    def _check_variable(self, name: str, token: Token) -> None:
        if name not in self.variables:
            raise self._fail(f'undefined variable "{name}"', token)

    def _peek(self) -> Token:
        return self.tokens[self.index]

    def _take(self) -> Token:
        self.index += 1
        return self.tokens[self.index - 1]

    def _peek_solid(self) -> Token:
        while self.tokens[self.index].kind == "space":
            self.index += 1
        return self.tokens[self.index]

    def _take_solid(self) -> Token:
        self._peek_solid()
        return self._take()

    def _fail(self, why: str, token: Token) -> TemplateError:
        return TemplateError(f":{line_of(self.source, token.position)}: {why}")


def _shown(token: Token) -> str:
    """Return a token as Go's messages quote it."""
    if token.kind == "keyword":
        return f"<{token.text}>"
    return f'"{token.text[:10]}"...' if len(token.text) > 10 else f'"{token.text}"'  # noqa: PLR2004 - parse.item.String
