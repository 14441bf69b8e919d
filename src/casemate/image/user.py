"""The ``User`` field of an image and ``--user``: parsed once, numbers never fall through to names.

A field of digits is a number in range or an error; it is not looked up in the image's passwd, where an
attacker can give the name ``4294967296`` to uid 0 (CVE-2024-40635, CVE-2026-46680; SECURITY C17).
"""

from __future__ import annotations

from casemate.errors import Invalid
from casemate.oci.quoting import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

MAX_ID = (1 << 32) - 2
"""The largest uid and gid: 2^32 - 1 means "unchanged" to the kernel."""

_DIGITS = frozenset("0123456789")
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_REST = _FIRST | _DIGITS | frozenset(".-$")
_MAX_NAME = 256


class UserSpec:
    """``user[:group]``: each half is a number or a name; what is absent is None.

    Exactly one of ``uid`` and ``user_name`` is set; at most one of ``gid`` and ``group_name``.
    """

    __slots__ = ("gid", "group_name", "uid", "user_name")

    def __init__(
        self, *, uid: int | None, user_name: str | None, gid: int | None = None, group_name: str | None = None
    ) -> None:
        self.uid = uid
        self.user_name = user_name
        self.gid = gid
        self.group_name = group_name

    def __repr__(self) -> str:
        user = self.user_name if self.uid is None else self.uid
        group = self.group_name if self.gid is None else self.gid
        return f"UserSpec({user!r}, {group!r})"


def parse_user(text: str) -> UserSpec:
    """Return what ``text`` says; "" is uid 0 (with the image's primary group of root). Raises: Invalid."""
    if not text:
        return UserSpec(uid=0, user_name=None)
    user, colon, group = text.partition(":")
    if not user or (colon and not group):
        _refuse(text, "one side of the colon is empty")
    uid, user_name = _number_or_name(user, text)
    gid, group_name = _number_or_name(group, text) if colon else (None, None)
    return UserSpec(uid=uid, user_name=user_name, gid=gid, group_name=group_name)


def _number_or_name(part: str, text: str) -> tuple[int | None, str | None]:
    if part[0] in _DIGITS or part[0] in "+-":
        if not _DIGITS.issuperset(part):
            _refuse(text, f"{quoted(part)} is neither a number nor a name")
        significant = part.lstrip("0") or "0"
        if len(significant) > len(str(MAX_ID)) or int(significant) > MAX_ID:
            _refuse(text, f"{quoted(part)} is over the largest id, {MAX_ID}")
        return int(significant), None
    if len(part) > _MAX_NAME or part[0] not in _FIRST or not _REST.issuperset(part):
        _refuse(text, f"{quoted(part)} is not a user or group name")
    return None, part


def _refuse(text: str, why: str) -> NoReturn:
    raise Invalid("read user", quoted(text), why, hint="write user, uid, user:group or uid:gid")
