"""The user field: numbers never fall through to names (CVE-2024-40635, CVE-2026-46680)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.errors import Invalid
from casemate.image.user import MAX_ID, parse_user


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, None, None, None)),
        ("0", (0, None, None, None)),
        ("1000", (1000, None, None, None)),
        ("1000:50", (1000, None, 50, None)),
        ("0001000", (1000, None, None, None)),
        (str(MAX_ID), (MAX_ID, None, None, None)),
        ("www-data", (None, "www-data", None, None)),
        ("www-data:33", (None, "www-data", 33, None)),
        ("33:adm", (33, None, None, "adm")),
        ("_apt", (None, "_apt", None, None)),
        ("host$", (None, "host$", None, None)),
    ],
)
def test_user_is_a_number_or_a_name(text: str, expected: tuple[object, ...]) -> None:
    user = parse_user(text)
    assert (user.uid, user.user_name, user.gid, user.group_name) == expected


@pytest.mark.parametrize(
    "text",
    [
        "4294967295",
        "4294967296",
        "9" * 5000,
        "0" * 20 + "4294967296",
        "-1",
        "+0",
        "1e3",
        "0x0",
        "0b0",
        "1_000",
        " 0",
        "0 ",
        "\u0660",
        "\u00b2",
        "1000:4294967295",
        "root:",
        ":0",
        ":",
        "a:b:c",
        "root\n",
        "root\0",
        "a/b",
        "../x",
        "x" * 257,
        "123abc",
    ],
)
def test_everything_else_is_invalid(text: str) -> None:
    with pytest.raises(Invalid):
        parse_user(text)


@given(st.text(max_size=30))
def test_digits_are_never_a_name(text: str) -> None:
    try:
        user = parse_user(text)
    except Invalid:
        return
    for number, name in ((user.uid, user.user_name), (user.gid, user.group_name)):
        assert number is None or 0 <= number <= MAX_ID
        assert name is None or not name[0].isdigit()
