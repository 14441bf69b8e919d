"""D-Bus messages as bytes: the types that systemd's interface uses, little endian. Pure.

A value is given with its signature: ``s o g`` str, ``b`` bool, ``y n q i u x t`` int, ``d`` float, ``a?`` list (``ay`` bytes,
``a{??}`` dict), ``(...)`` tuple, ``v`` the pair (signature, value).
Source: D-Bus Specification 0.43, "Marshaling", "Message Protocol".
"""

from __future__ import annotations

from struct import error as StructError  # noqa: N812 - the library's name is too short to stand alone
from struct import pack, unpack_from

from casemate.errors import Corrupt, Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CALL, REPLY, ERROR, SIGNAL = 1, 2, 3, 4
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE = range(1, 9)
FIXED_HEADER_BYTES = 16
LARGEST_MESSAGE = 1 << 24  # the specification allows 128 MiB; systemd's answers to us are below 1 KiB

_FIXED = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}
_ALIGN = {"y": 1, "g": 1, "v": 1, "n": 2, "q": 2, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8}
_HEADER_FIELDS = {
    PATH: "o",
    INTERFACE: "s",
    MEMBER: "s",
    ERROR_NAME: "s",
    REPLY_SERIAL: "u",
    DESTINATION: "s",
    SENDER: "s",
    SIGNATURE: "g",
}
_DEEPEST = 32


class Message:
    """One message. ``fields`` are header fields by number, ``body`` the arguments."""

    __slots__ = ("body", "fields", "kind", "serial")

    def __init__(self, kind: int, serial: int, fields: dict[int, Any], body: list[Any]) -> None:
        self.kind = kind
        self.serial = serial
        self.fields = fields
        self.body = body

    def __repr__(self) -> str:
        return f"Message({self.kind}, {self.serial}, {self.fields}, {self.body})"


def split_types(signature: str) -> list[str]:
    """The single complete types of a signature: ``sa{sv}u`` is ``s``, ``a{sv}``, ``u``.

    Raises: Corrupt.
    """
    found: list[str] = []
    start = 0
    while start < len(signature):
        end = _end_of(signature, start, 0)
        found.append(signature[start:end])
        start = end
    return found


def _end_of(signature: str, at: int, depth: int) -> int:
    kind = signature[at : at + 1]
    if depth > _DEEPEST or not kind or kind in ")}":
        raise Corrupt("read D-Bus signature", signature, "a type is not complete")
    if kind == "a":
        return _end_of(signature, at + 1, depth + 1)
    if kind in "({":
        closing = ")" if kind == "(" else "}"
        at += 1
        while signature[at : at + 1] != closing:
            at = _end_of(signature, at, depth + 1)
        return at + 1
    if kind not in _FIXED and kind not in "bsogv":
        raise Corrupt("read D-Bus signature", signature, f"{kind!r} is no type that is known here")
    return at + 1


class _Writer:
    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, size: int) -> None:
        self.data += bytes(-len(self.data) % size)

    def put(self, kind: str, value: Any) -> None:
        head = kind[0]
        self.align(_ALIGN.get(head, 4))
        if head in _FIXED:
            self.data += pack("<" + _FIXED[head], value)
        elif head == "b":
            self.data += pack("<I", bool(value))
        elif head in "sog":
            self._put_text(head, value)
        elif head == "v":
            self.put("g", value[0])
            self.put(value[0], value[1])
        elif head == "a":
            self._put_array(kind[1:], value)
        else:
            for part, item in zip(split_types(kind[1:-1]), value, strict=True):
                self.put(part, item)

    def _put_text(self, head: str, value: str) -> None:
        raw = value.encode()
        if b"\0" in raw:
            raise Invalid("send over D-Bus", repr(value), "it holds a NUL byte")
        self.data += bytes([len(raw)]) if head == "g" else pack("<I", len(raw))
        self.data += raw + b"\0"

    def _put_array(self, kind: str, value: Any) -> None:
        place = len(self.data)
        self.data += bytes(4)
        self.align(_ALIGN.get(kind[0], 4))  # this padding does not count
        start = len(self.data)
        if kind == "y":
            self.data += bytes(value)
        else:
            for item in value.items() if isinstance(value, dict) else value:
                self.put(kind, item)
        self.data[place : place + 4] = pack("<I", len(self.data) - start)


def encode(kind: int, serial: int, fields: dict[int, Any], *arguments: Any) -> bytes:
    """The bytes of a message; ``arguments`` are a signature and its values.

    Raises: Invalid for text that cannot be sent.
    """
    signature, *body = arguments or ("",)
    writer = _Writer()
    for part, value in zip(split_types(signature), body, strict=True):
        writer.put(part, value)
    content = bytes(writer.data)
    if signature:
        fields = {**fields, SIGNATURE: signature}
    writer = _Writer()
    writer.data += pack("<BBBBII", ord("l"), kind, 0, 1, len(content), serial)
    writer.put("a(yv)", [(number, (_HEADER_FIELDS[number], value)) for number, value in fields.items()])
    writer.align(8)
    return bytes(writer.data) + content


class _Reader:
    __slots__ = ("at", "data", "order")

    def __init__(self, data: bytes, order: str) -> None:
        self.data = data
        self.order = order
        self.at = 0

    def take(self, kind: str, depth: int = 0) -> Any:
        head = kind[0]
        self.at += -self.at % _ALIGN.get(head, 4)
        if depth > _DEEPEST:
            raise Corrupt("read D-Bus message", kind, "it is nested too deeply")
        if head in _FIXED:
            return self._fixed(_FIXED[head])
        if head == "b":
            return bool(self._fixed("I"))
        if head in "sog":
            return self._text(self._fixed("B" if head == "g" else "I"))
        if head == "v":
            (inner,) = split_types(self.take("g"))
            return inner, self.take(inner, depth + 1)
        if head == "a":
            return self._array(kind[1:], depth + 1)
        return tuple(self.take(part, depth + 1) for part in split_types(kind[1:-1]))

    def _fixed(self, code: str) -> Any:
        (value,) = unpack_from(self.order + code, self.data, self.at)
        self.at += {"B": 1, "h": 2, "H": 2, "i": 4, "I": 4}.get(code, 8)
        return value

    def _text(self, size: int) -> str:
        raw = self.data[self.at : self.at + size]
        if len(raw) != size:
            raise Corrupt("read D-Bus message", "", "a text ends beyond the message")
        self.at += size + 1
        return raw.decode()

    def _array(self, kind: str, depth: int) -> Any:
        size = self._fixed("I")
        self.at += -self.at % _ALIGN.get(kind[0], 4)
        end = self.at + size
        if end > len(self.data):
            raise Corrupt("read D-Bus message", "", "a list ends beyond the message")
        if kind == "y":
            raw, self.at = self.data[self.at : end], end
            return raw
        items: list[Any] = []
        while self.at < end:
            items.append(self.take(kind, depth))
        return dict(items) if kind[0] == "{" else items


def sizes(header: bytes) -> tuple[int, int]:
    """(bytes of the whole header with its padding, bytes of the body), from the first 16 bytes.

    Raises: Corrupt.
    """
    order = {b"l": "<", b"B": ">"}.get(header[:1])
    if order is None or len(header) < FIXED_HEADER_BYTES:
        raise Corrupt("read D-Bus message", repr(header[:1]), "it has no byte order")
    body, _, fields = unpack_from(order + "III", header, 4)
    head = FIXED_HEADER_BYTES + fields + -fields % 8
    if head + body > LARGEST_MESSAGE:
        raise Corrupt(
            "read D-Bus message", f"{head + body} bytes", f"more than {LARGEST_MESSAGE} are not accepted"
        )
    return head, body


def decode(data: bytes) -> Message:
    """A whole message.

    Raises: Corrupt.
    """
    head, _ = sizes(data)
    reader = _Reader(data, "<" if data[:1] == b"l" else ">")
    try:
        reader.at = 8
        serial = reader.take("u")
        fields = {number: value for number, (_, value) in reader.take("a(yv)")}
        signature = fields.get(SIGNATURE, "")
        inner = _Reader(data[head:], reader.order)
        body = [inner.take(part) for part in split_types(signature)] if isinstance(signature, str) else []
    except (StructError, ValueError, TypeError, IndexError) as error:
        raise Corrupt("read D-Bus message", "", error) from None
    return Message(data[1], serial, fields, body)
