"""What a seccomp program answers, worked out without loading it. Source: linux/filter.h, seccomp(2)."""

from __future__ import annotations

import struct

X86_64, I386 = 0xC000003E, 0x40000003
KILL, ALLOW = 0, 0x7FFF0000


def errno_of(number: int) -> int:
    """The answer that gives this error number."""
    return 0x00050000 | number


def answer(program: bytes, number: int, *arguments: int, architecture: int = X86_64) -> int:
    """The action for one call. Only what libseccomp and we use is understood."""
    padded = [value & (1 << 64) - 1 for value in (*arguments, *[0] * 6)][:6]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *padded)
    instructions = list(struct.iter_unpack("<HBBI", program))
    accumulator, at = 0, 0
    scratch = [0] * 16
    while True:
        code, if_true, if_false, k = instructions[at]
        at += 1
        if code == 0x06:  # RET
            return k
        if code == 0x20:  # LD [k]
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == 0x54:  # AND
            accumulator &= k
        elif code == 0x02:  # ST
            scratch[k] = accumulator
        elif code == 0x60:  # LD M[k]
            accumulator = scratch[k]
        elif code == 0x05:  # JA
            at += k
        else:
            compared = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }
            at += if_true if compared[code] else if_false
