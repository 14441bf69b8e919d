"""What a compiled filter answers, run in Python, is what the profile says."""

from __future__ import annotations

import errno
import platform
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.engine.why.filtered import _allows
from casemate.runtime.default_profile import default_seccomp
from casemate.runtime.default_syscalls import ALLOWED, REFUSED
from casemate.runtime.libseccomp import Library
from casemate.runtime.seccomp import compile_profile
from casemate.runtime.witness.filter_program import ALLOW, ERRNO, KILL_PROCESS, KILL_THREAD, FilterProgram

ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[platform.machine()]
PROFILE = default_seccomp()
FILTER = FilterProgram(compile_profile(PROFILE, cache_dir=None).program)
LIBRARY = Library()
NUMBERS = {
    name: number
    for name in {*ALLOWED, *REFUSED, "socket", "clone", "clone3", "ioctl", "mknod", "mknodat", "personality"}
    if (number := LIBRARY.number(name)) is not None and number >= 0
}


def verdict(name: str, *args: int) -> tuple[int, int]:
    return FILTER.verdict(nr=NUMBERS[name], arch=ARCH, args=(*args, 0, 0, 0, 0, 0, 0)[:6])


def test_what_the_profile_allows_is_allowed_and_what_it_refuses_answers_its_error() -> None:
    assert {verdict(name) for name in ALLOWED if name in NUMBERS} == {(ALLOW, 0)}
    assert {verdict(name) for name in REFUSED if name in NUMBERS} == {(ERRNO, errno.EPERM)}
    assert verdict("clone3") == (ERRNO, errno.ENOSYS)
    assert verdict("socket", 38, 5) == (ERRNO, errno.EAFNOSUPPORT)
    assert verdict("socket", 2, 1) == (ALLOW, 0)
    assert verdict("ioctl", 0, 0x5412) == (ERRNO, errno.EPERM)
    assert verdict("ioctl", 0, 0x7700005412) == (ERRNO, errno.EPERM)
    assert verdict("ioctl", 0, 0x5401) == (ALLOW, 0)


def test_a_foreign_architecture_is_killed() -> None:
    action, _ = FILTER.verdict(nr=20, arch=0x40000028, args=(0,) * 6)
    assert action in (KILL_PROCESS, KILL_THREAD)


def test_the_errors_that_a_filter_may_answer_are_read_from_it() -> None:
    assert {errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT} <= FILTER.errnos()


@given(
    st.sampled_from(sorted(NUMBERS)),
    st.lists(st.one_of(st.integers(0, 64), st.integers(0, (1 << 64) - 1)), min_size=6, max_size=6),
)
def test_the_search_for_advice_reads_the_profile_as_the_filter_does(name: str, args: list[int]) -> None:
    assert _allows(PROFILE, name, args) == (verdict(name, *args)[0] == ALLOW)


def run(*instructions: tuple[int, int, int, int], **data: Any) -> tuple[int, int]:
    program = b"".join(struct.pack("<HBBI", *one) for one in instructions)
    return FilterProgram(program).verdict(nr=7, arch=ARCH, args=(1 << 40 | 5, 0, 0, 0, 0, 9), **data)


@pytest.mark.parametrize(
    ("operation", "operand", "result"),
    [(0x04, 3, 10), (0x14, 8, 0xFFFF), (0x24, 2, 14), (0x34, 2, 3), (0x44, 8, 15), (0x54, 3, 3), (0x64, 1, 14),
     (0x74, 1, 3), (0xA4, 1, 6)],
)  # fmt: skip
def test_arithmetic_is_that_of_the_kernel(operation: int, operand: int, result: int) -> None:
    mask = (0x54, 0, 0, 0xFFFF)
    assert run((0x20, 0, 0, 0), (operation, 0, 0, operand), mask, (0x16, 0, 0, 0)) == (0, result)


def test_memory_registers_and_jumps_work() -> None:
    assert run(
        (0x20, 0, 0, 16), (0x02, 0, 0, 3), (0x60, 0, 0, 3), (0x07, 0, 0, 0), (0x80, 0, 0, 0), (0x87, 0, 0, 0),
        (0x15, 0, 1, 5), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x50002),
    ) == (ERRNO, 1)  # fmt: skip
    assert run((0x20, 0, 0, 20), (0x45, 0, 1, 0x100), (0x06, 0, 0, 0x50003), (0x06, 0, 0, 0x50004)) == (
        ERRNO,
        3,
    )
    assert run((0x05, 0, 0, 1), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x50002)) == (ERRNO, 2)


def test_a_program_without_an_end_kills() -> None:
    assert run((0x20, 0, 0, 0)) == (KILL_PROCESS, 0)
    assert FilterProgram(b"").verdict(nr=1, arch=ARCH, args=(0,) * 6) == (KILL_PROCESS, 0)
