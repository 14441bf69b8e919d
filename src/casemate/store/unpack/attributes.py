"""Extended attributes that an image may bring: its own and file capabilities, nothing that steers us."""

from __future__ import annotations

import errno
import os

from casemate.errors import Exhausted, Invalid
from casemate.image.layer_tar import quoted_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.image.layer_tar import Entry

CAPABILITY = b"security.capability"
_USER = b"user."
_OVERLAY = b"user.overlay."
_V2_BYTES, _V3_BYTES = 20, 24
_NAME_LIMIT = 255
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EPERM, errno.EACCES)


def is_allowed(name: bytes) -> bool:
    """Whether an image may set this attribute.

    ``user.overlay.*`` would forge whiteouts and redirects; ``trusted.*``, ``system.*`` (ACLs name host ids)
    and the other ``security.*`` belong to the host.
    """
    return name == CAPABILITY or (name.startswith(_USER) and not name.startswith(_OVERLAY))


def set_attributes(fd: int, entry: Entry, skipped: dict[str, int]) -> None:
    """Set the allowed attributes of an entry; count the others in ``skipped``. Raises: Invalid, Exhausted."""
    for name, value in entry.xattrs.items():
        stored = _portable_capability(value) if name == CAPABILITY else value
        if not is_allowed(name) or stored is None:
            skipped["extended attributes"] = skipped.get("extended attributes", 0) + 1
            continue
        if b"\0" in name or len(name) > _NAME_LIMIT or name == _USER:
            raise Invalid(
                "unpack layer", quoted_path(entry.path), "an extended attribute has an impossible name"
            )
        try:
            os.setxattr(fd, name, stored)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                skipped["extended attributes"] = skipped.get("extended attributes", 0) + 1
                continue
            raise _explain(error, entry, name) from error


def _explain(error: OSError, entry: Entry, name: bytes) -> Exception:
    """The named error for an attribute that the file system does not take."""
    if error.errno in (errno.ENOSPC, errno.E2BIG, errno.ERANGE):
        why = "the file system has no room for its extended attributes"
        return Exhausted("unpack layer", quoted_path(entry.path), why)
    if error.errno == errno.EINVAL:
        why = f"the extended attribute {quoted_path(name)} has an impossible value"
        return Invalid("unpack layer", quoted_path(entry.path), why)
    return error


def _portable_capability(value: bytes) -> bytes | None:
    """File capabilities of version 2, None for ones bound to a user namespace of another machine.

    The kernel binds them to the namespace that sets them. Source: capabilities(7), "Namespaced file
    capabilities".
    """
    if len(value) == _V3_BYTES and value[_V2_BYTES:] == b"\0\0\0\0" and value[3] == 0x03:  # noqa: PLR2004
        return value[:3] + b"\x02" + value[4:_V2_BYTES]
    return value if len(value) == _V2_BYTES else None
