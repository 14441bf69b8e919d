"""What a template is made of once parsed. ``str()`` of a node is how Go's error messages quote it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Node:
    """A part of a template and where it begins."""

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        self.position = position


class Text(Node):
    """Text outside actions."""

    __slots__ = ("text",)

    def __init__(self, position: int, text: str) -> None:
        super().__init__(position)
        self.text = text


class Literal(Node):
    """A constant: string, number, true, false, nil (None)."""

    __slots__ = ("text", "value")

    def __init__(self, position: int, text: str, value: object) -> None:
        super().__init__(position)
        self.text = text
        self.value = value

    def __str__(self) -> str:
        return self.text


class Field(Node):
    """``.A.B`` of the present value; no names: ``.`` itself."""

    __slots__ = ("names",)

    def __init__(self, position: int, names: Sequence[str]) -> None:
        super().__init__(position)
        self.names = tuple(names)

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names) or "."


class Variable(Node):
    """``$name.A.B``."""

    __slots__ = ("name", "names")

    def __init__(self, position: int, name: str, names: Sequence[str]) -> None:
        super().__init__(position)
        self.name = name
        self.names = tuple(names)

    def __str__(self) -> str:
        return self.name + "".join(f".{name}" for name in self.names)


class Function(Node):
    """A function's name."""

    __slots__ = ("name",)

    def __init__(self, position: int, name: str) -> None:
        super().__init__(position)
        self.name = name

    def __str__(self) -> str:
        return self.name


class Group(Node):
    """``(pipeline).A.B``."""

    __slots__ = ("names", "pipe")

    def __init__(self, position: int, pipe: Pipe, names: Sequence[str]) -> None:
        super().__init__(position)
        self.pipe = pipe
        self.names = tuple(names)

    def __str__(self) -> str:
        return f"({self.pipe})" + "".join(f".{name}" for name in self.names)


class Command(Node):
    """One stage of a pipeline: a value, or a function and its arguments."""

    __slots__ = ("arguments",)

    def __init__(self, position: int, arguments: Sequence[Node]) -> None:
        super().__init__(position)
        self.arguments = tuple(arguments)

    def __str__(self) -> str:
        return " ".join(str(argument) for argument in self.arguments)


class Pipe(Node):
    """``$a, $b := first | second``; ``assign`` when an existing variable is set (``=``)."""

    __slots__ = ("assign", "commands", "variables")

    def __init__(
        self, position: int, variables: Sequence[str], commands: Sequence[Command], *, assign: bool
    ) -> None:
        super().__init__(position)
        self.variables = tuple(variables)
        self.commands = tuple(commands)
        self.assign = assign

    def __str__(self) -> str:
        head = ", ".join(self.variables) + (" = " if self.assign else " := ") if self.variables else ""
        return head + " | ".join(str(command) for command in self.commands)


class Action(Node):
    """``{{pipeline}}``."""

    __slots__ = ("pipe",)

    def __init__(self, position: int, pipe: Pipe) -> None:
        super().__init__(position)
        self.pipe = pipe


class Branch(Node):
    """``if``, ``with`` or ``range``, its body and its ``else``."""

    __slots__ = ("body", "kind", "orelse", "pipe")

    def __init__(
        self, position: int, kind: str, pipe: Pipe, *, body: Sequence[Node], orelse: Sequence[Node]
    ) -> None:
        super().__init__(position)
        self.kind = kind
        self.pipe = pipe
        self.body = tuple(body)
        self.orelse = tuple(orelse)


class Jump(Node):
    """``break`` or ``continue``."""

    __slots__ = ("kind",)

    def __init__(self, position: int, kind: str) -> None:
        super().__init__(position)
        self.kind = kind
