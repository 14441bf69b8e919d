"""What the compiled filter answers, asked of the kernel in a child process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from bpf import ALLOW as ALLOW_CALL
from bpf import I386, answer, errno_of

from casemate.errors import Invalid, Unsupported
from casemate.runtime.default_profile import (
    ROOT_CAPABILITIES,
    default_capabilities,
    default_seccomp,
    masked_complement,
)
from casemate.runtime.default_syscalls import ALLOWED, REFUSED
from casemate.runtime.seccomp import compile_profile

_PROBE = """
import ctypes, errno, os, sys
program = bytes.fromhex(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
class Fprog(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
call = libc.syscall
call.restype = ctypes.c_long
libc.prctl(38, 1, 0, 0, 0)
fprog = Fprog(len(program) // 8, program)
if libc.prctl(22, 2, ctypes.byref(fprog), 0, 0):
    sys.exit("filter refused")
for number, args in eval(sys.argv[2]):
    ctypes.set_errno(0)
    result = call(*[ctypes.c_long(value) for value in (number, *args)])
    os.write(1, (errno.errorcode.get(ctypes.get_errno(), "0") if result == -1 else "OK").encode() + b" ")
os._exit(0)
"""

SOCKET, IOCTL, CLONE, CLONE3, MKNOD, PTRACE, UNSHARE, MOUNT, PERSONALITY = (
    41,
    16,
    56,
    435,
    133,
    101,
    272,
    165,
    135,
)

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")


def answers(profile: dict, calls: list[tuple[int, tuple[int, ...]]]) -> list[str]:
    program = compile_profile(profile, cache_dir=None).program
    command = [sys.executable, "-I", "-S", "-c", _PROBE, program.hex(), repr(calls)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return found.stdout.split()


def test_only_unix_inet_and_two_netlink_protocols_are_socket_families() -> None:
    calls = [(SOCKET, (family, 2, 0)) for family in range(46) if family != 16]
    allowed = {1, 2, 10}
    found = answers(default_seccomp(), calls)
    families = [family for family in range(46) if family != 16]
    assert [family for family, answer in zip(families, found, strict=True) if answer == "OK"] == sorted(
        allowed
    )
    assert set(found) <= {"OK", "EAFNOSUPPORT"}
    netlink = answers(default_seccomp(), [(SOCKET, (16, 3, protocol)) for protocol in (0, 15, 6, 9, 12)])
    assert netlink == ["OK", "OK", "EPROTONOSUPPORT", "EPROTONOSUPPORT", "EPROTONOSUPPORT"]


def test_terminal_injection_is_refused_whatever_the_high_bits_are() -> None:
    calls = [
        (IOCTL, (0, request | high, 0)) for request in (0x5412, 0x541C) for high in (0, 1 << 32, 0xFFFF << 40)
    ]
    assert answers(default_seccomp(), calls) == ["EPERM"] * 6


def test_other_ioctls_reach_the_kernel() -> None:
    assert set(
        answers(
            default_seccomp(), [(IOCTL, (99, request, 0)) for request in (0x5401, 0x5413, 0x5410, 0x541D)]
        )
    ) == {"EBADF"}


def test_new_namespaces_cannot_be_made_and_clone3_does_not_exist() -> None:
    calls = [(CLONE, (flag | 17, 0)) for flag in (0x20000, 0x10000000, 0x40000000, 0x02000000)]
    assert answers(default_seccomp(), [*calls, (CLONE3, (0, 0)), (UNSHARE, (0x10000000,))]) == [
        "EPERM"
    ] * 4 + ["ENOSYS", "EPERM"]


def test_unknown_calls_answer_enosys_and_known_bad_ones_eperm() -> None:
    assert answers(
        default_seccomp(), [(600, ()), (PTRACE, (0,)), (MOUNT, (0, 0, 0)), (425, (1, 0)), (323, (0,))]
    ) == [
        "ENOSYS",
        "EPERM",
        "EPERM",
        "EPERM",
        "EPERM",
    ]


def test_only_files_fifos_and_sockets_are_made_by_mknod() -> None:
    calls = [(MKNOD, (0, mode, 0)) for mode in (0o20666, 0o60666, 0o10666, 0o100666)]
    assert answers(default_seccomp(), calls) == ["EPERM", "EPERM", "EFAULT", "EFAULT"]


def test_capabilities_and_relaxations_widen_the_list_by_name() -> None:
    assert answers(default_seccomp(relax=["debug"]), [(PTRACE, (99,))])[0] != "EPERM"
    assert answers(default_seccomp(relax=["family=vsock"]), [(SOCKET, (40, 1, 0))])[0] in (
        "OK",
        "EAFNOSUPPORT",
        "ENODEV",
    )
    assert answers(default_seccomp(["CAP_SYS_ADMIN"]), [(MOUNT, (0, 0, 0, 0, 0))])[0] in (
        "EFAULT",
        "EPERM",
        "EINVAL",
    )


def test_a_profile_that_refuses_by_eperm_still_answers_enosys_to_newer_calls() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read", "write", "exit_group", "faccessat2"], "action": "SCMP_ACT_ALLOW"}],
    }
    assert answers(profile, [(600, ()), (PTRACE, (0,))]) == ["ENOSYS", "EPERM"]


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_a_profile_that_kills_answers_enosys_to_newer_calls_too(action: str) -> None:
    names = ["read", "write", "exit_group", "brk", "futex", "munmap", "mmap", "faccessat2"]
    profile = {"defaultAction": action, "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]}
    assert answers(profile, [(600, ())]) == ["ENOSYS"]


def test_a_default_of_log_or_trace_leaves_newer_calls_to_the_kernel() -> None:
    for action in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG"):
        profile = {"defaultAction": action, "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]}
        assert answers(profile, [(600, ()), (PTRACE, (0,))]) == ["ENOSYS", "EPERM"]


@pytest.mark.parametrize(
    ("operator", "value", "second", "refused"),
    [
        ("SCMP_CMP_NE", 5, 0, {4, 6, 1 << 32}),
        ("SCMP_CMP_LT", 5, 0, {4}),
        ("SCMP_CMP_LE", 5, 0, {4, 5}),
        ("SCMP_CMP_EQ", 5, 0, {5}),
        ("SCMP_CMP_GE", 5, 0, {5, 6, 1 << 32}),
        ("SCMP_CMP_GT", 5, 0, {6, 1 << 32}),
        ("SCMP_CMP_MASKED_EQ", 6, 4, {4, 5}),
    ],
)
def test_every_comparison_compares_all_64_bits(
    operator: str, value: int, second: int, refused: set[int]
) -> None:
    rule = {
        "names": ["ptrace"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": 71,
        "args": [{"index": 2, "op": operator, "value": value, "valueTwo": second}],
    }
    values = [4, 5, 6, 1 << 32]
    found = answers(
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]},
        [(PTRACE, (99, 0, value)) for value in values],
    )
    assert {value for value, answer in zip(values, found, strict=True) if answer == "EPROTO"} == refused


def test_conditions_on_one_argument_are_alternatives_and_on_several_hold_together() -> None:
    one = [{"index": 0, "op": "SCMP_CMP_EQ", "value": value} for value in (40, 41)]
    both = [{"index": index, "op": "SCMP_CMP_EQ", "value": 50} for index in (0, 1)]
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71, "args": args}
            for args in (one, both)
        ],
    }
    calls = [(PTRACE, args) for args in ((40, 0), (41, 0), (42, 0), (50, 0), (50, 50), (0, 50))]
    refused = [answer == "EPROTO" for answer in answers(profile, calls)]
    assert refused == [True, True, False, False, True, False]


def test_names_that_nobody_knows_are_left_out_with_a_note() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["time_travel", "ptrace"], "action": "SCMP_ACT_ERRNO"}],
    }
    (note,) = compile_profile(profile, cache_dir=None).notes
    assert "time_travel" in note
    assert "ptrace" not in note
    assert compile_profile(default_seccomp(), cache_dir=None).notes == []


def test_calls_newer_than_libseccomp_may_be_named_beside_a_second_architecture() -> None:
    """Libseccomp has no name to translate them by; the profile of podman names such calls and three architectures."""
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["read", "getxattrat", "ptrace"], "action": "SCMP_ACT_ALLOW"}],
    }
    compiled = compile_profile(profile, cache_dir=None)
    eperm, enosys = errno_of(1), errno_of(38)
    assert compiled.notes == []
    native = [answer(compiled.program, number) for number in (464, 465, MOUNT, PTRACE)]
    assert native == [ALLOW_CALL, enosys, eperm, ALLOW_CALL]
    in_32_bit = [answer(compiled.program, number, architecture=I386) for number in (3, 26, 21, 464)]
    assert in_32_bit == [ALLOW_CALL, ALLOW_CALL, eperm, enosys]
    x32 = [answer(compiled.program, 1 << 30 | number) for number in (0, 521, MOUNT, 2000)]
    assert x32 == [ALLOW_CALL, ALLOW_CALL, eperm, enosys]


def test_a_rule_has_its_own_errno() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71}],
    }
    assert answers(profile, [(PTRACE, (0,))]) == ["EPROTO"]


@pytest.mark.parametrize(
    ("profile", "kind"),
    [
        ({"defaultAction": "SCMP_ACT_NOTHING"}, Invalid),
        ({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW"]}, Unsupported),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, Invalid),
        ({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "relative"}, Invalid),
        ({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}, Invalid),
        ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}, Invalid),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_VAX"]}, Invalid),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {"names": []}}, Invalid),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": ["read"]}, Invalid),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_KILL"}]}, Invalid),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [1], "action": "SCMP_ACT_KILL"}]},
            Invalid,
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {
                        "names": ["read"],
                        "action": "SCMP_ACT_KILL",
                        "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": "1"}],
                    }
                ],
            },
            Invalid,
        ),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1 << 20}, Invalid),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {
                        "names": ["read"],
                        "action": "SCMP_ACT_ERRNO",
                        "args": [{"index": 6, "op": "SCMP_CMP_EQ"}],
                    }
                ],
            },
            Invalid,
        ),
    ],
)
def test_malformed_profiles_are_refused_by_name(profile: dict, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        compile_profile(profile, cache_dir=None)


def test_a_listener_that_no_rule_uses_is_ignored() -> None:
    found = compile_profile({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nowhere"}, cache_dir=None)
    assert not found.notifies


def test_root_has_eight_capabilities_and_everybody_else_none() -> None:
    assert len(default_capabilities(0)["bounding"]) == len(ROOT_CAPABILITIES) == 8
    assert not any(default_capabilities(1000).values())
    assert default_capabilities(0)["inheritable"] == default_capabilities(0)["ambient"] == []


def test_every_call_of_the_machine_has_one_of_three_answers_and_some_290_work() -> None:
    """Of a call whose arguments are judged it is asked with harmless ones (socket: AF_UNIX)."""
    program = compile_profile(default_seccomp(ROOT_CAPABILITIES), cache_dir=None).program
    found = {number: answer(program, number, 1 if number == SOCKET else 0) for number in range(600)}
    assert set(found.values()) == {ALLOW_CALL, errno_of(1), errno_of(38)}
    assert 285 <= sum(verdict == ALLOW_CALL for verdict in found.values()) <= 300
    assert {found[number] for number in range(472, 600)} == {errno_of(38)}
    assert found[CLONE3] == errno_of(38)


def test_no_call_is_both_allowed_and_refused() -> None:
    assert not set(ALLOWED) & set(REFUSED)
    assert len(ALLOWED) == len(set(ALLOWED))
    assert 280 <= len(ALLOWED) <= 300


def test_the_complement_matches_everything_but_the_values() -> None:
    for values in ([3], [0, 15], [5, 6, 9]):
        pairs = masked_complement(values, bits=4)
        matched = [number for number in range(16) if any(number & mask == value for mask, value in pairs)]
        assert matched == [number for number in range(16) if number not in values]
