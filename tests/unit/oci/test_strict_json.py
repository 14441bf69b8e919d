"""One document, one meaning."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.errors import CasemateError, Exhausted, Invalid
from casemate.oci.strict_json import loads, loads_object, refuse_case_twins


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1, "a": 2}',
        b'{"x": [{"a": 1, "a": 1}]}',
        b'{"a": 1, "\\u0061": 2}',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"\xff",
        b'"\\ud800"',
        b'{"\\udc00": 1}',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b"",
        b"{} {}",
        b"{'a': 1}",
        b"[1,]",
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 70 + b"1" + b"}" * 70,
        b"[" * 1_000_000,
        b"1" * 10_000,
        b'"\x01"',
    ],
)
def test_ambiguous_or_broken_json_is_invalid(data: bytes) -> None:
    with pytest.raises(Invalid):
        loads(data, what="test")


def test_document_over_the_limit_is_exhausted() -> None:
    with pytest.raises(Exhausted):
        loads(b" " * 11, what="test", limit_bytes=10)


def test_depth_of_64_is_allowed() -> None:
    assert loads(b"[" * 64 + b"]" * 64, what="test")


def test_pairs_of_surrogates_are_text() -> None:
    assert loads(b'"\\ud83d\\ude00"', what="test") == "\U0001f600"


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(Invalid):
        loads_object(b"[]", what="test")


def test_key_that_go_would_take_for_a_known_one_is_refused() -> None:
    refuse_case_twins({"layers": 1, "other": 2}, ("layers",), what="test")
    with pytest.raises(Invalid):
        refuse_case_twins({"Layers": 1}, ("layers",), what="test")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
        max_leaves=20,
    )
)
def test_what_json_writes_is_read_back(value: object) -> None:
    assert loads(json.dumps(value).encode(), what="test") == value


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_named_error(data: bytes) -> None:
    with contextlib.suppress(CasemateError):
        loads(data, what="test")
