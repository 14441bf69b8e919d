"""PAX extended headers: records of ``length key=value``.

A key that appears twice is refused, because readers disagree which one counts (SECURITY C14); only the sparse
map of format 0.0 repeats keys on purpose.
Source: POSIX.1-2024 pax, "pax Extended Header"; GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

from casemate.errors import Invalid

SPARSE_OFFSET, SPARSE_BYTES = b"GNU.sparse.offset", b"GNU.sparse.numbytes"
_REPEATED = (SPARSE_OFFSET, SPARSE_BYTES)
_MAX_LENGTH_DIGITS = 7
_MAX_SECONDS = 1 << 40
_NS_DIGITS = 9
_NS_PER_S = 1_000_000_000
_LOCAL_ONLY = (
    b"path",
    b"linkpath",
    b"size",
    b"uid",
    b"gid",
    b"mtime",
    b"GNU.sparse.",
    b"SCHILY.",
    b"LIBARCHIVE.",
)
"""What a global header may not set: tools differ on whether global headers apply at all."""


class PaxRecords:
    """The records of one header: ``get`` for single keys, ``sparse_pairs`` for the repeated ones."""

    __slots__ = ("sparse_pairs", "values")

    def __init__(self, data: bytes) -> None:
        """Parse. Raises: Invalid for anything malformed, repeated or with a NUL where a name belongs."""
        self.values: dict[bytes, bytes] = {}
        self.sparse_pairs: list[tuple[bytes, bytes]] = []
        position = 0
        while position < len(data):
            position = self._record(data, position)

    def _record(self, data: bytes, start: int) -> int:
        """Take the record at ``start``; return where the next one begins."""
        space = data.find(b" ", start, start + _MAX_LENGTH_DIGITS + 1)
        digits = data[start:space] if space > 0 else b""
        end = start + int(digits) if digits.isdigit() else 0
        equals = data.find(b"=", space, end)
        if not space < equals < end <= len(data) or data[end - 1 : end] != b"\n":
            raise Invalid("read layer", "", "the archive has a malformed PAX header")
        key, value = data[space + 1 : equals], data[equals + 1 : end - 1]
        if key in _REPEATED:
            self.sparse_pairs.append((key, value))
        elif key in self.values:
            raise Invalid("read layer", "", f"a PAX header has two values for {key[:40]!r}")
        else:
            self.values[key] = value
        return end

    def get(self, key: bytes) -> bytes | None:
        """The value, None when absent or empty (an empty value deletes: POSIX). Raises: Invalid for a NUL."""
        value = self.values.get(key)
        if not value:
            return None
        if b"\0" in value:
            raise Invalid("read layer", "", f"the PAX value of {key.decode(errors='replace')} contains a NUL")
        return value

    def number(self, key: bytes) -> int | None:
        """A decimal number, or None. Raises: Invalid."""
        value = self.get(key)
        if value is None:
            return None
        return decimal(value, key)

    def time_ns(self, key: bytes) -> int | None:
        """A time in nanoseconds, exactly, or None. Raises: Invalid."""
        value = self.get(key)
        if value is None:
            return None
        negative = value.startswith(b"-")
        seconds, _, fraction = value.removeprefix(b"-").partition(b".")
        if not seconds.isdigit() or (fraction and not fraction.isdigit()) or int(seconds[:20]) > _MAX_SECONDS:
            raise Invalid("read layer", "", f"the PAX value {value[:40]!r} is not a time")
        total = int(seconds) * _NS_PER_S + int(fraction[:_NS_DIGITS].ljust(_NS_DIGITS, b"0"))
        return -total if negative else total

    def xattrs(self) -> dict[bytes, bytes]:
        """Extended attributes as star and GNU tar (binary) and libarchive (base64) write them."""
        found = {}
        for key, value in self.values.items():
            if key.startswith(b"SCHILY.xattr."):
                found[key[13:]] = value
            elif key.startswith(b"LIBARCHIVE.xattr."):
                found.setdefault(*_libarchive(key[17:], value))
        return found


def decimal(value: bytes, what: bytes) -> int:
    """A decimal number of at most 19 digits. Raises: Invalid."""
    if not value.isdigit() or len(value) > 19:  # noqa: PLR2004 - 63 bits
        raise Invalid("read layer", "", f"{what.decode(errors='replace')} {value[:40]!r} is not a number")
    return int(value)


def require_harmless_global(data: bytes) -> None:
    """Accept a global header that only comments. Raises: Invalid for one that would change entries."""
    for key in PaxRecords(data).values:
        if key.startswith(_LOCAL_ONLY):
            raise Invalid(
                "read layer", "", f"a global PAX header sets {key[:40]!r}, which tools understand differently"
            )


def _libarchive(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Name and value of a libarchive attribute: the name is URL-encoded, the value base64 without padding."""
    import binascii

    pieces = name.split(b"%")
    try:
        decoded = pieces[0] + b"".join(bytes([int(piece[:2], 16)]) + piece[2:] for piece in pieces[1:])
        return decoded, binascii.a2b_base64(value + b"=" * (-len(value) % 4))
    except ValueError as error:
        raise Invalid("read layer", "", "a PAX header has a malformed extended attribute") from error
