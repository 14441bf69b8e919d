"""Landlock: what this kernel offers. The rules themselves are applied by ``enter``."""

from __future__ import annotations

import ctypes
import errno

from casemate.kernel.const.landlock import (
    LANDLOCK_ACCESS_FS_IOCTL_DEV,
    LANDLOCK_ACCESS_FS_MAKE_SYM,
    LANDLOCK_ACCESS_FS_REFER,
    LANDLOCK_ACCESS_FS_TRUNCATE,
    LANDLOCK_CREATE_RULESET_VERSION,
    LANDLOCK_RULE_PATH_BENEATH,
)
from casemate.kernel.fd import Fd
from casemate.kernel.libc import LONG, POINTER, checked, declare, last_errno


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


_create_ruleset = declare("landlock_create_ruleset", POINTER, LONG, LONG)
_add_rule = declare("landlock_add_rule", LONG, LONG, POINTER, LONG)
_restrict_self = declare("landlock_restrict_self", LONG, LONG)

_LAST_FS_RIGHT = (
    LANDLOCK_ACCESS_FS_MAKE_SYM,  # ABI 1
    LANDLOCK_ACCESS_FS_REFER,
    LANDLOCK_ACCESS_FS_TRUNCATE,
    LANDLOCK_ACCESS_FS_TRUNCATE,  # ABI 4 added network rights
    LANDLOCK_ACCESS_FS_IOCTL_DEV,
)

_FIELDS_BEFORE_NETWORK, _FIELDS_BEFORE_SCOPE, _FIELDS = 1, 2, 3
_ABI_NETWORK, _ABI_SCOPE = 4, 6


def abi() -> int:
    """The Landlock ABI of the running kernel; 0 when it is absent or switched off at boot.

    Raises: KernelError for any other answer.
    Source: landlock_create_ruleset(2).
    """
    version = _create_ruleset(None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    if version == -1 and last_errno() in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
        return 0
    return checked(version, "landlock_create_ruleset", "version")


def fs_rights(version: int) -> int:
    """Every file system right that an ABI knows; 0 for ABI 0."""
    if version <= 0:
        return 0
    last = _LAST_FS_RIGHT[min(version, len(_LAST_FS_RIGHT)) - 1]
    return (last << 1) - 1


def ruleset_attr(version: int, *, fs: int = 0, net: int = 0, scoped: int = 0) -> bytes:
    """``struct landlock_ruleset_attr`` in the size that the ABI knows; the caller masks the rights."""
    fields = _FIELDS
    if version < _ABI_SCOPE:
        fields = _FIELDS_BEFORE_SCOPE
    if version < _ABI_NETWORK:
        fields = _FIELDS_BEFORE_NETWORK
    return b"".join(value.to_bytes(8, "little") for value in (fs, net, scoped)[:fields])


def create_ruleset(attr: bytes) -> Fd:
    """A new rule set that handles what ``attr`` (see ``ruleset_attr``) names.

    Raises: KernelError; EINVAL for an unknown right, ENOMSG for none, E2BIG.
    Source: landlock_create_ruleset(2).
    """
    return Fd(checked(_create_ruleset(attr, len(attr), 0), "landlock_create_ruleset", f"{len(attr)} bytes"))


def allow_beneath(ruleset_fd: int, path_fd: int, access: int) -> None:
    """Allow these rights on a file, or on a directory and all below it.

    Raises: KernelError; EINVAL when a file gets a right that only directories have.
    Source: landlock_add_rule(2).
    """
    rule = _PathBeneath(access, path_fd)
    result = _add_rule(ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, ctypes.addressof(rule), 0)
    checked(result, "landlock_add_rule", path_fd)


def restrict_self(ruleset_fd: int, flags: int = 0) -> None:
    """Confine the calling thread and all it starts, for good.

    Raises: KernelError, EPERM without no_new_privs and without CAP_SYS_ADMIN.
    Source: landlock_restrict_self(2).
    """
    checked(_restrict_self(ruleset_fd, flags), "landlock_restrict_self", ruleset_fd)
