"""Mount options of the runtime-spec: attributes, propagation, and what is left for the file system itself.

Source: runtime-spec config.md "Mounts", mount(8).
"""

from __future__ import annotations

from casemate.errors import Invalid, Unsupported
from casemate.kernel.const.mount import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_ATIME_MASK = 0x70  # the three atime modes are one field: mount_setattr(2)

# option -> (bits set, bits cleared)
_ATTRIBUTES = {
    "ro": (MOUNT_ATTR_RDONLY, 0),
    "rw": (0, MOUNT_ATTR_RDONLY),
    "nosuid": (MOUNT_ATTR_NOSUID, 0),
    "suid": (0, MOUNT_ATTR_NOSUID),
    "nodev": (MOUNT_ATTR_NODEV, 0),
    "dev": (0, MOUNT_ATTR_NODEV),
    "noexec": (MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, MOUNT_ATTR_NOEXEC),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW),
    "relatime": (0, _ATIME_MASK),
    "noatime": (MOUNT_ATTR_NOATIME, _ATIME_MASK),
    "atime": (0, _ATIME_MASK),
    "strictatime": (MOUNT_ATTR_STRICTATIME, _ATIME_MASK),
    "norelatime": (MOUNT_ATTR_STRICTATIME, _ATIME_MASK),
    "nostrictatime": (0, _ATIME_MASK),
}

_PROPAGATION = {
    "private": (MS_PRIVATE, False),
    "rprivate": (MS_PRIVATE, True),
    "slave": (MS_SLAVE, False),
    "rslave": (MS_SLAVE, True),
    "shared": (MS_SHARED, False),
    "rshared": (MS_SHARED, True),
    "unbindable": (MS_UNBINDABLE, False),
    "runbindable": (MS_UNBINDABLE, True),
}

# Without effect on a new mount, or the default of every kernel that we run on.
_NOTHING = frozenset(
    {
        "defaults",
        "async",
        "nomand",
        "silent",
        "loud",
        "auto",
        "user",
        "notmpcopyup",
        "noiversion",
        "nolazytime",
    }
)
_SUPERBLOCK = frozenset({"sync", "dirsync", "lazytime", "mand", "iversion", "acl", "noacl"})


class MountOptions:
    """What the options of one mount mean. ``data`` is for the file system, as (key, value or None)."""

    __slots__ = (
        "bind",
        "clear",
        "copy_up",
        "data",
        "idmap",
        "propagation",
        "propagation_recursive",
        "recursive",
        "recursive_clear",
        "recursive_set",
        "set",
    )

    def __init__(self) -> None:
        self.bind = False
        self.recursive = False
        self.set = 0
        self.clear = 0
        self.recursive_set = 0
        self.recursive_clear = 0
        self.propagation = 0
        self.propagation_recursive = False
        self.idmap = ""
        self.copy_up = False
        self.data: list[tuple[str, str | None]] = []

    @property
    def read_only(self) -> bool:
        """Whether the mount itself is read-only."""
        return bool(self.set & MOUNT_ATTR_RDONLY)


def parse_options(options: Iterable[str], *, destination: str) -> MountOptions:
    """Return the meaning of ``options``; later ones override earlier ones. Raises: Invalid, Unsupported."""
    found = MountOptions()
    for option in options:
        if not isinstance(option, str) or not option or "\0" in option:
            raise Invalid(f"read options of mount {destination}", repr(option), "not an option")
        _apply(found, option, destination)
    return found


def _apply(found: MountOptions, option: str, destination: str) -> None:
    if option in ("bind", "rbind"):
        found.bind = True
        found.recursive = option == "rbind"
    elif option in _ATTRIBUTES:
        bits, cleared = _ATTRIBUTES[option]
        found.set = found.set & ~cleared & ~(_ATIME_MASK if cleared & _ATIME_MASK else 0) | bits
        found.clear = found.clear & ~bits | cleared
    elif option[0] == "r" and option[1:] in _ATTRIBUTES:
        bits, cleared = _ATTRIBUTES[option[1:]]
        found.recursive_set = found.recursive_set & ~cleared | bits
        found.recursive_clear = found.recursive_clear & ~bits | cleared
    elif option in _PROPAGATION:
        found.propagation, found.propagation_recursive = _PROPAGATION[option]
    elif option in ("idmap", "ridmap", "noidmap"):
        found.idmap = option
    elif option == "tmpcopyup":
        found.copy_up = True
    elif option in _SUPERBLOCK:
        found.data.append((option, None))
    elif option.split("=", 1)[0] in ("context", "fscontext", "defcontext", "rootcontext"):
        raise Unsupported(f"mount {destination}", option, "SELinux is not active on this host")
    elif option not in _NOTHING:
        key, sign, value = option.partition("=")
        found.data.append((key, value if sign else None))


def propagation_flag(name: str) -> tuple[int, bool]:
    """Return (MS_* flag, recursive) of linux.rootfsPropagation. Raises: Invalid."""
    if name not in _PROPAGATION:
        raise Invalid("read linux.rootfsPropagation", name, "unknown propagation")
    return _PROPAGATION[name]


def known_options() -> list[str]:
    """Every option that is understood here; others are passed to the file system."""
    recursive = [f"r{name}" for name in _ATTRIBUTES]
    return sorted(
        {*_ATTRIBUTES, *recursive, *_PROPAGATION, *_NOTHING, *_SUPERBLOCK, "bind", "rbind", "idmap", "ridmap"}
    )
