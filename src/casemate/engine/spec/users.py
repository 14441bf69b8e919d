"""Who a container's program runs as: docker's USER grammar over the image's own /etc/passwd and /etc/group.

A string of digits is a number, or an error; it is never looked up as a name (an image could map "4294967296"
to root). The files
belong to the image: they are read through ``RootView``, with a size and an entry cap, by our own parser,
never by NSS.
"""

from __future__ import annotations

from casemate.errors import Invalid, NotFound
from casemate.image.user import MAX_ID, parse_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casemate.engine.spec.rootview import RootView

MAX_FILE_BYTES = 1 << 20
MAX_ENTRIES = 20_000


class User:
    """A resolved user: numeric ids inside the container, supplementary groups, home directory."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, *, groups: tuple[int, ...] = (), home: str = "/") -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home


class _Entry:
    __slots__ = ("gid", "home", "name", "uid")

    def __init__(self, name: str, uid: int, gid: int, home: str) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.home = home


def resolve_user(text: str, view: RootView, *, groups: Sequence[str] = ()) -> User:
    """Ids for docker's ``user[:group]`` (empty: root), plus the named extra ``groups``.

    Supplementary groups come from /etc/group by the user's *name*, and only when no group was given, as
    docker does.
    Raises: NotFound (no such user or group in the image), Invalid (numbers, hostile files).
    """
    asked = parse_user(text)
    entry = _find_user(view, asked.uid, asked.user_name)
    if asked.uid is None and entry is None:
        raise NotFound("find user", asked.user_name, "no matching entries in passwd file")
    uid = entry.uid if asked.uid is None and entry else int(asked.uid or 0)
    extra = [_group_id(view, *_number_or_name(group)) for group in groups]
    if asked.gid is not None or asked.group_name is not None:
        gid = _group_id(view, asked.gid, asked.group_name)
    else:
        gid = entry.gid if entry else 0
        if entry:
            extra = [*_member_of(view, entry.name), *extra]
    return User(uid, gid, groups=tuple(dict.fromkeys(extra)), home=(entry.home if entry else "") or "/")


def _number_or_name(group: str) -> tuple[int | None, str | None]:
    asked = parse_user(f"0:{group}")
    return asked.gid, asked.group_name


def _find_user(view: RootView, uid: int | None, name: str | None) -> _Entry | None:
    for fields in _lines(view, "/etc/passwd", 6):
        if uid is None and fields[0] != name:
            continue
        found_uid, found_gid = _number(fields[2]), _number(fields[3])
        if found_uid is None or found_gid is None:
            continue
        if uid is None or found_uid == uid:
            home = fields[5] if fields[5].startswith("/") and fields[5].isprintable() else ""
            return _Entry(fields[0], found_uid, found_gid, home)
    return None


def _member_of(view: RootView, name: str) -> list[int]:
    found = []
    for fields in _lines(view, "/etc/group", 4):
        gid = _number(fields[2])
        if gid is not None and name in fields[3].split(","):
            found.append(gid)
    return found


def _group_id(view: RootView, gid: int | None, name: str | None) -> int:
    if gid is not None:
        return gid
    for fields in _lines(view, "/etc/group", 3):
        found = _number(fields[2])
        if found is not None and fields[0] == name:
            return found
    raise NotFound("find group", name, "no matching entries in group file")


def _number(text: str) -> int | None:
    """An id of an image's file: plain decimal within range, else None (the line does not count)."""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_ID)):
        return None
    value = int(text)
    return value if value <= MAX_ID else None


def _lines(view: RootView, path: str, fields: int) -> Iterator[list[str]]:
    """Colon-separated lines of an account file with at least ``fields`` fields.

    Nothing when the image has no such file.
    """
    try:
        data = view.read(path, limit_bytes=MAX_FILE_BYTES)
    except (NotFound, PermissionError):
        return
    for count, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n")):
        if count >= MAX_ENTRIES:
            raise Invalid("read", path, f"more than {MAX_ENTRIES} lines in the image")
        if line and line[0] != "#":
            parts = line.strip().split(":")
            if len(parts) >= fields:
                yield parts
