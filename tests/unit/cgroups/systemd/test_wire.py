"""D-Bus messages survive the way through bytes, and broken bytes are refused by a sentence."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.cgroups.systemd import wire
from casemate.errors import CasemateError, Corrupt, Invalid

FIELDS: dict[int, Any] = {wire.PATH: "/a", wire.INTERFACE: "i.f", wire.MEMBER: "M", wire.DESTINATION: "d.e"}

CASES: list[tuple[str, list[Any]]] = [
    ("", []),
    ("s", ["größe"]),
    ("ybnqiuxtd", [1, True, -2, 3, -4, 5, -6, 7, 1.5]),
    ("og", ["/a/b", "a{sv}"]),
    ("ay", [b"\x01\x00\xff"]),
    ("as", [[]]),
    ("at", [[]]),
    ("yat", [7, [1 << 63]]),
    ("a{su}", [{"a": 1, "b": 2}]),
    ("a(sv)", [[("A", ("t", 1)), ("B", ("a(ss)", [("x", "y")])), ("C", ("ay", b"\x03"))]]),
    ("a(sa(sv))", [[]]),
    ("v", [("v", ("b", False))]),
]


@pytest.mark.parametrize(("signature", "values"), CASES)
def test_values_come_back_as_they_went(signature: str, values: list[Any]) -> None:
    data = wire.encode(wire.CALL, 9, FIELDS, *([signature, *values] if signature else []))
    assert wire.sizes(data) == (len(data) - wire.sizes(data)[1], wire.sizes(data)[1])
    found = wire.decode(data)
    assert (found.kind, found.serial, found.body) == (wire.CALL, 9, values)
    assert {**FIELDS, **found.fields} == found.fields


def test_the_bytes_are_those_of_the_specification() -> None:
    """The greeting of a bus, as it is written down field by field in any trace of one."""
    data = wire.encode(
        wire.CALL,
        1,
        {
            wire.PATH: "/org/freedesktop/DBus",
            wire.DESTINATION: "org.freedesktop.DBus",
            wire.INTERFACE: "org.freedesktop.DBus",
            wire.MEMBER: "Hello",
        },
    )
    assert data == (
        b"l\1\0\1\0\0\0\0\1\0\0\0n\0\0\0"
        b"\1\1o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0"
        b"\6\1s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0"
        b"\2\1s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0"
        b"\3\1s\0\5\0\0\0Hello\0\0\0"
    )  # fmt: skip


@pytest.mark.parametrize("signature", ["a", "(", "(s", "a{s", ")", "z", "(" * 40 + ")" * 40])
def test_a_signature_that_is_none_is_refused(signature: str) -> None:
    with pytest.raises(Corrupt):
        wire.split_types(signature)


def test_text_with_a_nul_byte_is_not_sent() -> None:
    with pytest.raises(Invalid):
        wire.encode(wire.CALL, 1, FIELDS, "s", "a\0b")


def test_a_message_of_any_size_is_not_waited_for() -> None:
    with pytest.raises(Corrupt):
        wire.sizes(b"l\1\0\1" + b"\xff\xff\xff\xff" + b"\1\0\0\0" + b"\0\0\0\0")


VALID = wire.encode(wire.SIGNAL, 3, FIELDS, "ua(sv)as", 5, [("A", ("t", 1))], ["x"])


@given(st.integers(0, len(VALID) - 1), st.integers(0, 255), st.integers(0, len(VALID)))
def test_broken_bytes_are_a_message_or_a_complaint(place: int, value: int, length: int) -> None:
    data = bytearray(VALID)
    data[place] = value
    with suppress(CasemateError):
        assert wire.decode(bytes(data[:length])).fields is not None
