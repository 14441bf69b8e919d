"""One 512-byte tar header, as v7, ustar, star, GNU and PAX archives have it.

Strict where parsers differ: a number is octal digits or GNU base-256, a checksum must be right, and nothing
is guessed.
Source: POSIX.1-2024 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import struct

from casemate.errors import Invalid

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_USTAR, _GNU = b"ustar\x0000", b"ustar  \x00"
_STAR_TRAILER = b"tar\x00"
_STAR_PREFIX_BYTES = 131


class Header:
    """The fields of one header. ``name`` includes a ustar prefix; nothing is normalised."""

    __slots__ = ("block", "gid", "is_gnu", "kind", "link", "mode", "mtime_s", "name", "size_bytes", "uid")

    def __init__(self, block: bytes) -> None:
        """Read ``block``. Raises: Invalid for a wrong checksum or a field that is not a number."""
        fields = _FIELDS.unpack(block)
        if number(fields[6]) != sum(block) - sum(fields[6]) + 8 * 0x20:
            _require_signed_checksum(block, fields[6])
        self.block = block
        self.name = text(fields[0])
        self.mode = number(fields[1])
        self.uid = number(fields[2])
        self.gid = number(fields[3])
        self.size_bytes = number(fields[4])
        self.mtime_s = number(fields[5])
        self.kind = fields[7]
        self.link = text(fields[8])
        magic = fields[9]
        self.is_gnu = magic == _GNU
        if magic == _USTAR and (prefix := _prefix(fields[14], fields[15])):
            self.name = prefix + b"/" + self.name


def text(field: bytes) -> bytes:
    """A field up to its first NUL."""
    return field.partition(b"\0")[0]


def number(field: bytes) -> int:
    """An octal or GNU base-256 number; an empty field is 0. Raises: Invalid."""
    digits = field.strip(b" \0")
    if digits.isdigit() and b"8" not in digits and b"9" not in digits:
        return int(digits, 8)
    if not digits:
        return 0
    if field[0] in (0x80, 0xFF):
        value = int.from_bytes(field[1:], "big")
        return value - (1 << 8 * (len(field) - 1)) if field[0] == 0xFF else value  # noqa: PLR2004 - the sign marker
    digits = text(field).strip(b" ")
    if digits and not digits.strip(b"01234567"):
        return int(digits, 8)
    raise Invalid("read layer", "", f"the archive has a damaged header: {field!r} is not a number")


def _prefix(prefix: bytes, tail: bytes) -> bytes:
    """The leading directories of a ustar name; star keeps two times in the last bytes of the field."""
    if tail.endswith(_STAR_TRAILER):
        prefix = prefix[:_STAR_PREFIX_BYTES]
    return text(prefix)


def _require_signed_checksum(block: bytes, field: bytes) -> None:
    """Accept what some old tars wrote: a sum of signed characters. Raises: Invalid."""
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:]) + 8 * 0x20  # noqa: PLR2004
    if number(field) != signed:
        raise Invalid("read layer", "", "the archive has a damaged header: its checksum is wrong")
