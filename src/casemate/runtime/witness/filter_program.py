"""What a compiled seccomp filter answers to one system call: the classic BPF that the kernel runs, run here.

Used to name the filter as the one that refused, never to decide anything.
Source: seccomp(2); linux/bpf_common.h; kernel/seccomp.c (seccomp_check_filter) for the instructions that a filter may use.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000
ERRNO = 0x00050000
NOTIFY = 0x7FC00000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000

_ACTION, _DATA = 0xFFFF0000, 0x0000FFFF
_INSTRUCTION = struct.Struct("<HBBI")
_SECCOMP_DATA = struct.Struct("<iIQ6Q")
_WORD = 0xFFFFFFFF

# Classes, sources and operations of an opcode.
_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_FROM_X, _MODE_ABS, _MODE_IMM, _MODE_MEM, _MODE_LEN = 0x08, 0x20, 0x00, 0x60, 0x80
_RET_A, _TAX = 0x10, 0x00

_ARITHMETIC: dict[int, Callable[[int, int], int]] = {
    0x00: lambda a, b: a + b,
    0x10: lambda a, b: a - b,
    0x20: lambda a, b: a * b,
    0x30: lambda a, b: a // b if b else 0,
    0x40: lambda a, b: a | b,
    0x50: lambda a, b: a & b,
    0x60: lambda a, b: a << b,
    0x70: lambda a, b: a >> b,
    0x80: lambda a, _: -a,
    0xA0: lambda a, b: a ^ b,
}
_JUMPS: dict[int, Callable[[int, int], bool]] = {
    0x10: lambda a, b: a == b,
    0x20: lambda a, b: a > b,
    0x30: lambda a, b: a >= b,
    0x40: lambda a, b: bool(a & b),
}


class FilterProgram:
    """A filter as the kernel was given it: an array of ``struct sock_filter``."""

    __slots__ = ("_code",)

    def __init__(self, program: bytes) -> None:
        self._code = list(_INSTRUCTION.iter_unpack(program[: len(program) // 8 * 8]))

    def errnos(self) -> set[int]:
        """Every error number that the filter may answer with."""
        return {k & _DATA for code, _, _, k in self._code if code & 7 == _RET and k & _ACTION == ERRNO}

    def verdict(self, *, nr: int, arch: int, args: Sequence[int], ip: int = 0) -> tuple[int, int]:
        """(action, data) for a call; a program that the kernel would not have taken kills."""
        data = _SECCOMP_DATA.pack(nr, arch, ip, *args)
        accumulator = index = place = 0
        memory = [0] * 16
        while place < len(self._code):
            code, on_true, on_false, k = self._code[place]
            place += 1
            kind = code & 7
            operand = index if code & _FROM_X else k
            if kind == _RET:
                answer = accumulator if code & _RET_A else k
                return answer & _ACTION, answer & _DATA
            if kind in (_LD, _LDX):
                loaded = _load(code & 0xE0, k, data, memory)
                accumulator, index = (loaded, index) if kind == _LD else (accumulator, loaded)
            elif kind in (_ST, _STX):
                memory[k & 15] = accumulator if kind == _ST else index
            elif kind == _ALU:
                accumulator = _ARITHMETIC[code & 0xF0](accumulator, operand) & _WORD
            elif kind == _JMP:
                place += _distance(code, accumulator, operand, k, on_true=on_true, on_false=on_false)
            elif code & 0xF8 == _TAX:
                index = accumulator
            else:
                accumulator = index
        return KILL_PROCESS, 0


def _load(mode: int, k: int, data: bytes, memory: list[int]) -> int:
    if mode == _MODE_ABS:
        return int.from_bytes(data[k : k + 4], "little")
    if mode == _MODE_MEM:
        return memory[k & 15]
    return len(data) if mode == _MODE_LEN else k


def _distance(code: int, accumulator: int, operand: int, k: int, *, on_true: int, on_false: int) -> int:
    compare = _JUMPS.get(code & 0xF0)
    if compare is None:
        return k
    return on_true if compare(accumulator, operand) else on_false
