"""The ledger is bounded and survives damage; the reading of arguments fits the calls that exist."""

from __future__ import annotations

import os
import tempfile

import pytest

from casemate.runtime.libseccomp import Library
from casemate.runtime.witness import tracee
from casemate.runtime.witness.calls import ARGUMENTS, BIRTHS, OPENING
from casemate.runtime.witness.ledger import MAX_ENTRIES, Ledger, read_ledger


def test_every_call_in_the_table_exists_and_its_letters_are_known() -> None:
    library = Library()
    for name, letters in ARGUMENTS.items():
        assert library.number(name) is not None, name
        assert set(letters) <= set("psfdixoa."), name
        assert len(letters) <= 6, name
    assert set(ARGUMENTS) >= OPENING
    assert {"clone", "clone3", "fork", "vfork"} >= BIRTHS


def test_the_ledger_counts_and_stops_to_grow() -> None:
    with tempfile.TemporaryFile() as file:
        ledger = Ledger(file.fileno(), {"masked": ["/x"]})
        for round_ in range(2):
            for number in range(MAX_ENTRIES + 50):
                if not ledger.count((number,)):
                    assert round_ == 0
                    ledger.add((number,), {"kind": "failed", "number": number})
        ledger.save(ended=True)
        found = read_ledger(file.fileno())
    assert found is not None
    assert (len(found["entries"]), found["others"], found["ended"]) == (MAX_ENTRIES, 100, True)
    assert {entry["count"] for entry in found["entries"]} == {2}
    assert all(entry["first_ns"] <= entry["last_ns"] for entry in found["entries"])


def test_a_ledger_that_is_cut_or_changed_is_not_believed() -> None:
    with tempfile.TemporaryFile() as file:
        assert read_ledger(file.fileno()) is None
        ledger = Ledger(file.fileno(), {})
        ledger.save()
        assert read_ledger(file.fileno()) is not None
        whole = os.pread(file.fileno(), 4096, 0)
        for data in (whole[:-1], whole[:-1] + b"]", b"witness 1 x y\n{}", b"witness 2 2 2\n{}"):
            os.ftruncate(file.fileno(), 0)
            os.pwrite(file.fileno(), data, 0)
            assert read_ledger(file.fileno()) is None


def test_a_shorter_state_leaves_nothing_of_a_longer_one() -> None:
    with tempfile.TemporaryFile() as file:
        Ledger(file.fileno(), {"long": "x" * 5000}).save()
        Ledger(file.fileno(), {"short": 1}).save()
        found = read_ledger(file.fileno())
    assert found is not None
    assert found["short"] == 1


@pytest.mark.parametrize(
    ("value", "number"), [(0xFFFFFF9C, -100), (0xFFFFFFFFFFFFFF9C, -100), (3, 3), (0x7_0000_0003, 3)]
)
def test_an_int_argument_is_its_low_half_with_its_sign(value: int, number: int) -> None:
    assert tracee.signed(value) == number


def test_text_of_a_process_has_no_control_characters() -> None:
    assert tracee.plain("a\x1b[2J\nb\u202e") == "a\\x1b[2J\\x0ab\\x202e"


def test_our_own_strings_paths_and_rights_are_read() -> None:
    import ctypes

    text = ctypes.create_string_buffer(b"hello\0rest")
    address = ctypes.addressof(text)
    assert tracee.read_text(os.getpid(), address) == "hello"
    assert tracee.read_text(os.getpid(), 0) == ""
    assert tracee.read_text(os.getpid(), 16) == ""
    assert tracee.whole_path(os.getpid(), None, "x/../y") == f"{os.getcwd()}/y"
    assert tracee.whole_path(os.getpid(), None, "/a/./b") == "/a/b"
    assert tracee.rights_of(os.getpid())["uid"] == os.geteuid()
    assert tracee.limits_of(os.getpid())["open_files"] > 0
    assert not tracee.dies_as_init(os.getpid(), 11)
    assert tracee.rights_of(1 << 30) == {}


def test_socket_addresses_are_told_in_words() -> None:
    import ctypes

    def shown(data: bytes) -> str:
        memory = ctypes.create_string_buffer(data.ljust(128, b"\0"))
        return tracee.address_text(os.getpid(), ctypes.addressof(memory))

    assert shown(b"\x02\0\0\x50\x7f\0\0\x01") == "inet 127.0.0.1:80"
    assert shown(b"\x01\0/run/x\0") == "unix /run/x"
    assert shown(b"\x0a\0\0\x50\0\0\0\0" + bytes(15) + b"\x01").endswith(":0001]:80")
    assert shown(b"\x11\0") == "family 17"
