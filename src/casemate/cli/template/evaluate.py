"""A parsed template and a value in, text out. Source: Go text/template/exec.go."""

from __future__ import annotations

from casemate.cli.suggest import nearest
from casemate.cli.template.functions import FUNCTIONS, HEADINGS, LAZY, truth
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
from casemate.cli.template.parser import parse
from casemate.cli.template.problem import TemplateError
from casemate.cli.template.show import MISSING, show, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from casemate.cli.template.functions import Signature
    from casemate.cli.template.nodes import Node

ENOUGH_TEXT = 64 * 1024 * 1024
TYPES = {"s": "string", "i": "int"}


class OpenMap(dict):  # type: ignore[type-arg]  # keys and values are whatever JSON had
    """A map whose keys are data (labels, ports): a key that it lacks is no error but ``<no value>``."""

    __slots__ = ()


class Row(dict):  # type: ignore[type-arg]  # as OpenMap
    """One line of a listing: its columns, and docker's method ``.Label "key"``."""

    __slots__ = ()

    def call(self, name: str, arguments: Sequence[Any]) -> Any:
        """Return what a method of the line gives; ``_NOTHING`` when there is none of that name."""
        if name != "Label" or len(arguments) != 1:
            return _NOTHING
        pairs = (pair.partition("=") for pair in str(self.get("Labels", "")).split(","))
        return next((value for key, _, value in pairs if key == arguments[0]), "")


class _Break(Exception):  # control flow
    pass


class _Continue(Exception):  # control flow
    pass


class Template:
    """A template, parsed once and executed for each object."""

    __slots__ = ("nodes", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.nodes = parse(source)

    def execute(self, value: Any) -> str:
        """Return the text for one object. Raises: TemplateError."""
        return _Run(self.source, value, FUNCTIONS).text(self.nodes)

    def headings(self, titles: Mapping[str, str]) -> str:
        """Return the line of column titles.

        The template executed on the titles, with docker's header functions.
        """
        return _Run(self.source, OpenMap(titles), HEADINGS).text(self.nodes)


class _Run:
    """One execution: the variables in sight and the text so far."""

    __slots__ = ("done", "functions", "size", "source", "variables")

    def __init__(self, source: str, value: Any, functions: Mapping[str, Signature]) -> None:
        self.source = source
        self.functions = functions
        self.variables: list[list[Any]] = [["$", value]]
        self.done: list[str] = []
        self.size = 0

    def text(self, nodes: Sequence[Node]) -> str:
        self._walk(nodes, self.variables[0][1])
        return "".join(self.done)

    def _walk(self, nodes: Sequence[Node], dot: Any) -> None:
        for node in nodes:
            if isinstance(node, Text):
                self._write(node.text, node)
            elif isinstance(node, Action):
                value = self._pipe(node.pipe, dot)
                if not node.pipe.variables:
                    self._write("<no value>" if value is MISSING else show(value), node)
            elif isinstance(node, Branch):
                known = len(self.variables)
                self._branch(node, dot)
                del self.variables[known:]
            elif isinstance(node, Jump):
                raise _Break if node.kind == "break" else _Continue

    def _write(self, text: str, node: Node) -> None:
        self.size += len(text)
        if self.size > ENOUGH_TEXT:
            raise self._fail(node, "the output is too long")
        self.done.append(text)

    def _branch(self, node: Branch, dot: Any) -> None:
        if node.kind == "range":
            self._range(node, dot)
            return
        value = self._pipe(node.pipe, dot)
        if truth(value):
            self._walk(node.body, value if node.kind == "with" else dot)
        else:
            self._walk(node.orelse, dot)

    def _range(self, node: Branch, dot: Any) -> None:
        value = self._pipe(node.pipe, dot, declare=False)
        empty = True
        known = len(self.variables)
        for key, item in self._items(node, value):
            empty = False
            names = node.pipe.variables
            if names:
                pairs = zip(names, (key, item) if len(names) > 1 else (item,), strict=False)
                for name, part in pairs:
                    self._set(name, part, assign=node.pipe.assign)
            try:
                self._walk(node.body, item)
            except _Continue:
                continue
            except _Break:
                break
            finally:
                del self.variables[known:]
        if empty:
            self._walk(node.orelse, dot)

    def _items(self, node: Branch, value: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(value, dict):
            for key in sorted(value):
                yield key, value[key]
        elif isinstance(value, (list, tuple)):
            yield from enumerate(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            for i in range(value):
                yield i, i
        elif value is not None and value is not MISSING:
            raise self._fail(node.pipe, f"range can't iterate over {show(value)}".rstrip())

    def _pipe(self, pipe: Pipe, dot: Any, *, declare: bool = True) -> Any:
        value: Any = _NOTHING
        for command in pipe.commands:
            value = self._command(command, dot, value)
        if declare:
            for name in pipe.variables:
                self._set(name, value, assign=pipe.assign)
        return value

    def _set(self, name: str, value: Any, *, assign: bool) -> None:
        if assign:
            for entry in reversed(self.variables):
                if entry[0] == name:
                    entry[1] = value
                    return
        self.variables.append([name, value])

    def _command(self, command: Command, dot: Any, final: Any) -> Any:
        first = command.arguments[0]
        if isinstance(first, Function):
            return self._call(command, first, dot, final)
        if isinstance(first, Literal) and first.value is None:
            raise self._fail(first, "nil is not a command")
        if len(command.arguments) > 1 or final is not _NOTHING:
            found = self._method(command, dot, final)
            if found is not _NOTHING:
                return found
            if isinstance(first, Field) and first.names:
                why = f"{first.names[-1]} has arguments but cannot be invoked as function"
            else:
                why = f"can't give argument to non-function {first}"
            raise self._fail(first, why)
        return self._operand(first, dot)

    def _method(self, command: Command, dot: Any, final: Any) -> Any:
        """Return what ``.Name argument...`` gives when the value has such a method."""
        first = command.arguments[0]
        if not isinstance(first, Field) or not first.names:
            return _NOTHING
        owner = self._fields(first, dot, first.names[:-1])
        if self.functions is HEADINGS:
            return first.names[-1].upper()
        if not isinstance(owner, Row):
            return _NOTHING
        arguments = [self._operand(argument, dot) for argument in command.arguments[1:]]
        return owner.call(first.names[-1], [*arguments, *([] if final is _NOTHING else [final])])

    def _operand(self, node: Node, dot: Any) -> Any:
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Field):
            return self._fields(node, dot, node.names)
        if isinstance(node, Variable):
            value = next(entry[1] for entry in reversed(self.variables) if entry[0] == node.name)
            return self._fields(node, value, node.names)
        if isinstance(node, Group):
            return self._fields(node, self._pipe(node.pipe, dot), node.names)
        if isinstance(node, Function):
            return self._call(Command(node.position, (node,)), node, dot, _NOTHING)
        raise self._fail(node, f"unexpected {node}")

    def _fields(self, node: Node, value: Any, names: Sequence[str]) -> Any:
        for name in names:
            if value is MISSING:
                return MISSING
            if value is None:
                raise self._fail(node, f"nil pointer evaluating interface {{}}.{name}")
            if not isinstance(value, dict):
                raise self._fail(node, f"can't evaluate field {name} in type {type_name(value)}")
            if name not in value and not isinstance(value, OpenMap):
                near = nearest(name, [str(key) for key in value])
                hint = (
                    f"did you mean .{near}?" if near else f"there are: {', '.join(sorted(map(str, value)))}"
                )
                raise self._fail(node, f'map has no entry for key "{name}"', hint=hint)
            value = value.get(name, MISSING)
        return value

    def _call(self, command: Command, function: Function, dot: Any, final: Any) -> Any:
        nodes = command.arguments[1:]
        if function.name in LAZY:
            return self._lazy(command, function.name, dot, final)
        values = [self._operand(node, dot) for node in nodes]
        if final is not _NOTHING:
            values.append(final)
        signature = self.functions[function.name]
        fixed = signature.types.removesuffix("...")
        least = len(fixed) - 1 if signature.variadic else len(fixed)
        if len(values) < least or (len(values) > least and not signature.variadic):
            want = f"at least {least}" if signature.variadic else str(least)
            raise self._fail(
                function, f"wrong number of args for {function.name}: want {want} got {len(values)}"
            )
        if self.functions is FUNCTIONS:
            self._check_types(command, values, fixed)
        try:
            return signature.call(*values)
        except (ValueError, TypeError, AttributeError) as error:
            raise self._fail(command, f"error calling {function.name}: {error}") from None

    def _check_types(self, command: Command, values: Sequence[Any], fixed: str) -> None:
        """Refuse a value of a wrong type; the last type stands for all further ones."""
        nodes = command.arguments[1:]
        for i, value in enumerate(values):
            kind = fixed[min(i, len(fixed) - 1)]
            if _fits(kind, value):
                continue
            if i < len(nodes):
                raise self._fail(nodes[i], f"expected {TYPES[kind]}; found {show(value)}")
            raise self._fail(command, f"wrong type for value; expected {TYPES[kind]}; got {type_name(value)}")

    def _lazy(self, command: Command, name: str, dot: Any, final: Any) -> Any:
        nodes = command.arguments[1:]
        if not nodes and final is _NOTHING:
            raise self._fail(command.arguments[0], f"wrong number of args for {name}: want at least 1 got 0")
        value: Any = None
        for node in nodes:
            value = self._operand(node, dot)
            if truth(value) == (name == "or"):
                return value
        return value if final is _NOTHING else final

    def _fail(self, node: Node, why: str, *, hint: str = "") -> TemplateError:
        before = self.source[: node.position]
        line = before.count("\n") + 1
        column = len(before.rpartition("\n")[2].encode("utf-8", "surrogateescape"))
        return TemplateError(f':{line}:{column}: executing "" at <{node}>: {why}', hint=hint)


_NOTHING = object()


def _fits(kind: str, value: object) -> bool:
    if kind == "s":
        return isinstance(value, str)
    if kind == "i":
        return isinstance(value, int) and not isinstance(value, bool)
    return True
