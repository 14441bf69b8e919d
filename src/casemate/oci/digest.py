"""Digests: the only names under which content is fetched, kept and found.

A digest is canonical or it is refused: ``sha256:`` and 64 lower-case hexadecimal digits. Whatever makes a
file name of a digest must have passed here first, so that no server can choose a path (SECURITY C19).
Source: OCI image-spec, "Digests".
"""

from __future__ import annotations

from casemate.errors import Invalid, Unsupported
from casemate.oci.quoting import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeGuard

ALGORITHM = "sha256"
_PREFIX = "sha256:"
_HEX_LENGTH = 64
_HEX_DIGITS = frozenset("0123456789abcdef")
_KNOWN_ELSEWHERE = ("sha512:", "sha384:", "blake3:")


def is_digest(text: object) -> TypeGuard[str]:
    """Tell whether ``text`` is a canonical sha256 digest."""
    return (
        isinstance(text, str)
        and len(text) == len(_PREFIX) + _HEX_LENGTH
        and text.startswith(_PREFIX)
        and _HEX_DIGITS.issuperset(text[len(_PREFIX) :])
    )


def require_digest(text: object, *, what: str = "digest") -> str:
    """Return ``text`` unchanged when it is a canonical digest.

    Raises: Unsupported for another registered algorithm, Invalid for anything else.
    """
    if is_digest(text):
        return text
    doing = f"read the digest of {what}" if what != "digest" else "read digest"
    if isinstance(text, str) and text.startswith(_KNOWN_ELSEWHERE):
        raise Unsupported(doing, quoted(text), "only sha256 digests are supported")
    raise Invalid(doing, quoted(text), "not of the form sha256:<64 lower-case hexadecimal digits>")


def hex_of(digest: str) -> str:
    """Return the 64 hexadecimal digits of ``digest``, safe as a file name. Raises: Invalid, Unsupported."""
    return require_digest(digest)[len(_PREFIX) :]


def from_hex(hex_digits: str) -> str:
    """Return the digest whose hexadecimal part is ``hex_digits``. Raises: Invalid."""
    return require_digest(_PREFIX + hex_digits)


def digest_of(data: bytes | memoryview) -> str:
    """Return the canonical digest of ``data``."""
    import hashlib

    return _PREFIX + hashlib.sha256(data).hexdigest()


def short(digest: str) -> str:
    """Return the 12 digits that people see."""
    return digest.removeprefix(_PREFIX)[:12]
