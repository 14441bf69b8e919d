"""bpf(2), as far as programs on control groups need it: assemble, load, attach, list, detach."""

from __future__ import annotations

import ctypes

from casemate.kernel.const.bpf import (
    BPF_F_ALLOW_MULTI,
    BPF_PROG_ATTACH,
    BPF_PROG_DETACH,
    BPF_PROG_GET_FD_BY_ID,
    BPF_PROG_LOAD,
    BPF_PROG_QUERY,
)
from casemate.kernel.fd import Fd
from casemate.kernel.libc import LONG, POINTER, KernelError, checked, declare

_MAX_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS
_LOG_BYTES = 65536

_bpf = declare("bpf", LONG, POINTER, LONG)


class _Load(ctypes.Structure):
    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * 16),
    )


class _Attach(ctypes.Structure):
    _fields_ = (
        ("target_fd", ctypes.c_uint32),
        ("attach_bpf_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("replace_bpf_fd", ctypes.c_uint32),
    )


class _Query(ctypes.Structure):
    _fields_ = (
        ("target_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("query_flags", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("prog_ids", ctypes.c_uint64),
        ("prog_cnt", ctypes.c_uint32),
    )


class _ById(ctypes.Structure):
    _fields_ = (("prog_id", ctypes.c_uint32), ("next_id", ctypes.c_uint32), ("open_flags", ctypes.c_uint32))


def instruction(code: int, *, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """One instruction of eight bytes. ``imm`` may be given signed or unsigned.

    Source: linux/bpf.h, struct bpf_insn.
    """
    return (
        bytes((code, dst | src << 4))
        + off.to_bytes(2, "little", signed=True)
        + (imm & 0xFFFFFFFF).to_bytes(4, "little")
    )


def load_program(kind: int, instructions: bytes, name: str) -> Fd:
    """A verified program.

    Raises: KernelError with the verifier's last words as a note; EPERM without CAP_BPF and CAP_NET_ADMIN,
    which must be held in the first user namespace.
    Source: bpf(2).
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    terms = ctypes.create_string_buffer(b"Apache-2.0")
    attr = _Load(kind, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(terms))
    attr.prog_name = name.encode()[:15]
    number = _bpf(BPF_PROG_LOAD, ctypes.addressof(attr), ctypes.sizeof(attr))
    if number >= 0:
        return Fd(number)
    error = KernelError(ctypes.get_errno(), "bpf BPF_PROG_LOAD", name)
    log = ctypes.create_string_buffer(_LOG_BYTES)  # only a second, failing load pays for the log
    attr.log_level, attr.log_size, attr.log_buf = 1, _LOG_BYTES, ctypes.addressof(log)
    number = _bpf(BPF_PROG_LOAD, ctypes.addressof(attr), ctypes.sizeof(attr))
    if number >= 0:  # EAGAIN of a busy verifier passes
        return Fd(number)
    for line in log.value.decode(errors="replace").strip().splitlines()[-3:]:
        error.add_note(line)
    raise error


def attach_program(cgroup_fd: int, program_fd: int, kind: int) -> None:
    """Add a program to those of a cgroup v2 directory; each of them must agree.

    Raises: KernelError; EPERM when a parent's program forbids others below.
    Source: bpf(2), BPF_PROG_ATTACH.
    """
    attr = _Attach(cgroup_fd, program_fd, kind, BPF_F_ALLOW_MULTI)
    checked(
        _bpf(BPF_PROG_ATTACH, ctypes.addressof(attr), ctypes.sizeof(attr)), "bpf BPF_PROG_ATTACH", cgroup_fd
    )


def attached_programs(cgroup_fd: int, kind: int) -> list[int]:
    """The ids of the programs attached to this very directory.

    Raises: KernelError.
    """
    ids = (ctypes.c_uint32 * _MAX_PROGRAMS)()
    attr = _Query(cgroup_fd, kind, 0, 0, ctypes.addressof(ids), _MAX_PROGRAMS)
    checked(
        _bpf(BPF_PROG_QUERY, ctypes.addressof(attr), ctypes.sizeof(attr)), "bpf BPF_PROG_QUERY", cgroup_fd
    )
    count: int = attr.prog_cnt
    return list(ids[:count])


def detach_program(cgroup_fd: int, program_id: int, kind: int) -> None:
    """Take one program away from a directory.

    Raises: KernelError, ENOENT when it is gone already.
    """
    by_id = _ById(program_id)
    number = _bpf(BPF_PROG_GET_FD_BY_ID, ctypes.addressof(by_id), ctypes.sizeof(by_id))
    with Fd(checked(number, "bpf BPF_PROG_GET_FD_BY_ID", program_id)) as program:
        attr = _Attach(cgroup_fd, program.fileno(), kind)
        result = _bpf(BPF_PROG_DETACH, ctypes.addressof(attr), ctypes.sizeof(attr))
        checked(result, "bpf BPF_PROG_DETACH", program_id)
