"""Extended attributes by descriptor or name, with lists that are complete even while they grow."""

from __future__ import annotations

import errno
import os

UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENODATA, errno.EPERM})


def read_all(target: int | str | bytes, *, follow: bool = False) -> dict[str, bytes]:
    """Every extended attribute of a file, sorted by name; empty where the file system has none.

    An attribute that is removed between listing and reading is left out.
    Raises: OSError for anything but "not supported".
    """
    link = True if isinstance(target, int) else follow
    try:
        names = os.listxattr(target, follow_symlinks=link)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return {}
        raise
    found = {}
    for name in sorted(names):
        value = find(target, name, follow=link)
        if value is not None:
            found[name] = value
    return found


def find(target: int | str | bytes, name: str, *, follow: bool = False) -> bytes | None:
    """One attribute; None when it is not set or cannot exist here.

    Raises: OSError, EACCES.
    """
    link = True if isinstance(target, int) else follow
    try:
        return os.getxattr(target, name, follow_symlinks=link)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return None
        raise


def set_if_possible(target: int | str | bytes, name: str, value: bytes, *, follow: bool = False) -> bool:
    """Set an attribute; False when this file system or this user may not have it.

    Raises: OSError for a lack of space and the like.
    """
    link = True if isinstance(target, int) else follow
    try:
        os.setxattr(target, name, value, follow_symlinks=link)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return False
        raise
    return True
