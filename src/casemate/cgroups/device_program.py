"""Device rules as a BPF program for cgroup v2: assembled here, instruction by instruction.

The program gets ``{access << 16 | type, major, minor}`` and answers 1 (allowed) or 0 (EPERM). For a default
of "deny" it holds one block per permission that answers 1 when the request lies wholly inside; for "allow"
one block per prohibition that answers 0 when the request touches it.
Source: linux/bpf.h, struct bpf_cgroup_dev_ctx.
"""

from __future__ import annotations

import os

from casemate.cgroups.devices import ANY, DeviceRules
from casemate.kernel import bpf
from casemate.kernel.const import bpf as c

_R0, _R1, _R2, _R3, _R4, _R5 = range(6)
_TYPES = {"b": c.BPF_DEVCG_DEV_BLOCK, "c": c.BPF_DEVCG_DEV_CHAR}
_LETTERS = {"m": c.BPF_DEVCG_ACC_MKNOD, "r": c.BPF_DEVCG_ACC_READ, "w": c.BPF_DEVCG_ACC_WRITE}
_ALL_LETTERS = c.BPF_DEVCG_ACC_MKNOD | c.BPF_DEVCG_ACC_READ | c.BPF_DEVCG_ACC_WRITE

_LOAD_WORD = c.BPF_LDX | c.BPF_MEM | c.BPF_W
_MOVE_IMM = c.BPF_ALU | c.BPF_MOV | c.BPF_K
_MOVE_REG = c.BPF_ALU | c.BPF_MOV | c.BPF_X
_AND_IMM = c.BPF_ALU | c.BPF_AND | c.BPF_K
_SHIFT_RIGHT = c.BPF_ALU | c.BPF_RSH | c.BPF_K
_JMP32 = 0x06  # class BPF_JMP32, Linux 5.1: compares the low 32 bits, so that numbers above 2^31 need no care
_IF_NOT_EQUAL = _JMP32 | c.BPF_JNE | c.BPF_K
_IF_EQUAL = _JMP32 | c.BPF_JEQ | c.BPF_K
_RETURN = c.BPF_JMP | c.BPF_EXIT


def assemble(rules: DeviceRules) -> bytes:
    """The program's instructions. Pure."""
    code = [
        bpf.instruction(_LOAD_WORD, dst=_R2, src=_R1, off=0),
        bpf.instruction(_MOVE_REG, dst=_R3, src=_R2),
        bpf.instruction(_AND_IMM, dst=_R2, imm=0xFFFF),  # r2: type
        bpf.instruction(_SHIFT_RIGHT, dst=_R3, imm=16),  # r3: access
        bpf.instruction(_LOAD_WORD, dst=_R4, src=_R1, off=4),  # r4: major
        bpf.instruction(_LOAD_WORD, dst=_R5, src=_R1, off=8),  # r5: minor
    ]
    for (kind, major, minor), letters in rules.exceptions.items():
        code += _block(_TYPES[kind], major, minor, _mask(letters), allows=not rules.allow_by_default)
    return b"".join([*code, *_answer(allowed=rules.allow_by_default)])


def _mask(letters: frozenset[str]) -> int:
    mask = 0
    for letter in letters:
        mask |= _LETTERS[letter]
    return mask


def _answer(*, allowed: bool) -> list[bytes]:
    return [bpf.instruction(_MOVE_IMM, dst=_R0, imm=int(allowed)), bpf.instruction(_RETURN)]


def _block(kind: int, major: int, minor: int, mask: int, *, allows: bool) -> list[bytes]:
    """The tests of one exception; each jumps behind the block when the request is not the exception's."""
    steps: list[tuple[int, int, int] | bytes] = [(_IF_NOT_EQUAL, _R2, kind)]
    if major != ANY:
        steps.append((_IF_NOT_EQUAL, _R4, major))
    if minor != ANY:
        steps.append((_IF_NOT_EQUAL, _R5, minor))
    if allows and mask != _ALL_LETTERS:  # is anything asked for that this does not give?
        steps += [*_access_and(_ALL_LETTERS & ~mask), (_IF_NOT_EQUAL, _R1, 0)]
    if not allows:  # is anything asked for that this forbids?
        steps += [*_access_and(mask), (_IF_EQUAL, _R1, 0)]
    steps += _answer(allowed=allows)
    end = len(steps)
    return [
        step
        if isinstance(step, bytes)
        else bpf.instruction(step[0], dst=step[1], imm=step[2], off=end - at - 1)
        for at, step in enumerate(steps)
    ]


def _access_and(mask: int) -> list[bytes]:
    """r1 = access & mask; the context pointer in r1 is no longer needed when blocks run."""
    return [bpf.instruction(_MOVE_REG, dst=_R1, src=_R3), bpf.instruction(_AND_IMM, dst=_R1, imm=mask)]


def attach(directory: str, rules: DeviceRules) -> None:
    """Make these the rules of a cgroup v2 directory: the new program is added before old ones are taken away.

    In between both apply, so at no instant is more allowed than one of them allows.
    Raises: KernelError.
    Needs: CAP_BPF and CAP_NET_ADMIN in the first user namespace, Linux 5.1.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        before = bpf.attached_programs(fd, c.BPF_CGROUP_DEVICE)
        if rules.allow_by_default and not rules.exceptions and not before:
            return
        with bpf.load_program(c.BPF_PROG_TYPE_CGROUP_DEVICE, assemble(rules), "casemate_dev") as program:
            bpf.attach_program(fd, program.fileno(), c.BPF_CGROUP_DEVICE)
        for program_id in before:
            bpf.detach_program(fd, program_id, c.BPF_CGROUP_DEVICE)
    finally:
        os.close(fd)
