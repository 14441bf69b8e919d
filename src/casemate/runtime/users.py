"""User and group numbers from text, read strictly: digits and nothing else, or it is an error."""

from __future__ import annotations

from casemate.errors import Invalid

MAX_ID = 0xFFFFFFFE  # 4294967295 is (uid_t)-1, "no id"
_LONGEST = 10


def parse_id(text: str, *, what: str) -> int:
    """Return the number. Raises: Invalid for signs, spaces, leading zeros, other bases and numbers beyond 32 bits."""
    plain = text.isascii() and text.isdigit() and len(text) <= _LONGEST and (text == "0" or text[0] != "0")
    number = int(text) if plain else -1
    if not 0 <= number <= MAX_ID:
        raise Invalid(
            f"read {what}", repr(text), f"it is a number from 0 to {MAX_ID}, without sign or leading zeros"
        )
    return number


def parse_user(text: str) -> tuple[int, int | None]:
    """Return (uid, gid) of "UID" or "UID:GID"; the gid is None when it was not given. Raises: Invalid."""
    uid_text, colon, gid_text = text.partition(":")
    uid = parse_id(uid_text, what="user")
    return uid, parse_id(gid_text, what="group") if colon else None
