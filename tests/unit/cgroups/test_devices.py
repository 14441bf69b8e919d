"""Device rules fold into what the kernel's own controller would hold; the program agrees with them."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.cgroups.device_program import assemble
from casemate.cgroups.devices import DeviceRules, fold_rules, v1_lines
from casemate.errors import Invalid

DENY_ALL = {"allow": False, "access": "rwm"}


def rule(kind: str, major: int | None, minor: int | None, access: str = "rwm") -> dict[str, Any]:
    fields = {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}
    return {key: value for key, value in fields.items() if value is not None}


def denied(*fields: Any) -> dict[str, Any]:
    return {**rule(*fields), "allow": False}


def fold(*rules: dict[str, Any]) -> DeviceRules:
    state = fold_rules({"devices": list(rules)})
    assert state is not None
    return state


def run_program(code: bytes, *, kind: int, access: int, major: int, minor: int) -> int:
    """An interpreter for the few instructions that the assembler uses."""
    registers = [0] * 11
    context = {0: access << 16 | kind, 4: major, 8: minor}
    at = 0
    while True:
        op, regs, off, imm = struct.unpack_from("<BBhi", code, at * 8)
        dst, src = regs & 15, regs >> 4
        value = imm & 0xFFFFFFFF
        at += 1
        if op == 0x61:
            assert src == 1
            registers[dst] = context[off]
        elif op == 0xBC:
            registers[dst] = registers[src]
        elif op == 0xB4:
            registers[dst] = value
        elif op == 0x54:
            registers[dst] &= value
        elif op == 0x74:
            registers[dst] >>= value
        elif op == 0x56:
            at += off if registers[dst] != value else 0
        elif op == 0x16:
            at += off if registers[dst] == value else 0
        elif op == 0x95:
            return registers[0]
        else:
            raise AssertionError(f"unknown instruction {op:#x}")


KINDS, LETTERS = {"b": 1, "c": 2}, {"m": 1, "r": 2, "w": 4}


def program_allows(state: DeviceRules, asked: tuple[str, int, int, str]) -> bool:
    kind, major, minor, access = asked
    mask = sum(LETTERS[letter] for letter in access)
    return bool(run_program(assemble(state), kind=KINDS[kind], access=mask, major=major, minor=minor))


def test_the_usual_container_list() -> None:
    state = fold(DENY_ALL, rule("c", 1, 3), rule("c", 136, None, "rw"), rule("b", None, None, "m"))
    assert v1_lines(state) == [
        ("devices.deny", "a"),
        ("devices.allow", "c 1:3 rwm"),
        ("devices.allow", "c 136:* rw"),
        ("devices.allow", "b *:* m"),
    ]
    assert state.allows("c", 1, 3, "rwm")
    assert not state.allows("c", 1, 5, "r")
    assert state.allows("c", 136, 7, "rw")
    assert not state.allows("c", 136, 7, "m")


def test_the_last_word_about_all_devices_clears_what_was_before() -> None:
    state = fold(rule("c", 1, 3), DENY_ALL)
    assert not state.allows("c", 1, 3, "r")
    assert v1_lines(fold(DENY_ALL, rule("a", None, None))) == [("devices.allow", "a")]


def test_no_list_means_no_change_and_an_empty_one_allows_all() -> None:
    assert fold_rules({}) is None
    assert fold().allows("c", 1, 3, "rwm")


def test_a_permission_can_be_taken_back_exactly() -> None:
    state = fold(DENY_ALL, rule("c", 1, 3, "rw"), denied("c", 1, 3, "w"))
    assert state.allows("c", 1, 3, "r")
    assert not state.allows("c", 1, 3, "w")


def test_a_hole_in_a_wider_permission_is_refused_not_ignored() -> None:
    with pytest.raises(Invalid, match="only a part"):
        fold(DENY_ALL, rule("c", None, None), denied("c", 1, 3))
    with pytest.raises(Invalid, match="only a part"):
        fold(denied("c", 1, None), rule("c", 1, 3))


@pytest.mark.parametrize(
    "bad",
    [
        {}, {"allow": "yes"}, rule("x", 1, 3), rule("c", 1, 3, "rwx"), rule("a", 1, 3), rule("c", -2, 3),
        rule("c", 1 << 32, 3), {"allow": False, "access": "r"}, rule("c\n", 1, 3), "c 1:3 rwm",
    ],
)  # fmt: skip
def test_malformed_rules_are_refused(bad: Any) -> None:
    with pytest.raises(Invalid):
        fold_rules({"devices": [bad]})


NUMBER = st.sampled_from([None, 1, 2, 0xFFFFFFFF])
ACCESS = st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"])
RULES = st.lists(st.builds(rule, st.sampled_from("bc"), NUMBER, NUMBER, ACCESS), max_size=3)
DENIALS = st.lists(st.builds(denied, st.sampled_from("bc"), NUMBER, NUMBER, ACCESS), max_size=3)
REQUESTS = st.tuples(
    st.sampled_from("bc"), st.sampled_from([1, 2, 3, 0xFFFFFFFF]), st.sampled_from([1, 3]), ACCESS
)


@given(st.sampled_from([[], [DENY_ALL]]), RULES, DENIALS, REQUESTS)
def test_the_program_agrees_with_the_rules(
    first: list[dict[str, Any]],
    allowed: list[dict[str, Any]],
    forbidden: list[dict[str, Any]],
    asked: tuple[str, int, int, str],
) -> None:
    for rules in ([*first, *allowed, *forbidden], [*first, *forbidden, *allowed]):
        try:
            state = fold(*rules)
        except Invalid:
            continue
        assert program_allows(state, asked) == state.allows(*asked)
