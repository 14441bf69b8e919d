"""A mount of the runtime-spec as it is written: its destination; options as attributes, propagation, and the file system's own.

Source: runtime-spec config.md "Mounts", mount(8).
"""

from __future__ import annotations

import os

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
    from typing import Any

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
    "norelatime": (0, 0),  # mount(8): without relatime the kernel's default remains, which is relatime
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

_SWITCHES = {"tmpcopyup": "copy_up", "remount": "remount"}
# Without effect on a new mount, or the default of every kernel that we run on.
_NOTHING = frozenset(
    {
        "defaults",
        "silent",
        "loud",
        "auto",
        "user",
        "notmpcopyup",
    }
)
_SUPERBLOCK = frozenset({"sync", "dirsync", "lazytime", "mand"})
# Of some disk file systems only; the old mount call let every other one ignore them.
_OPPOSITES = {"async": "sync", "nolazytime": "lazytime", "nomand": "mand", "noiversion": "iversion"}
_PSEUDO = frozenset(
    {"tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay", "ramfs", "bpf"}
)
_ON_DISK = frozenset({"iversion", "acl", "noacl"})

# What lxcfs and the like may put below /proc; anything else there would hide or fake what we protect.
_ALLOWED_BELOW_PROC = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    )
)


class MountOptions:
    """What the options of one mount mean. ``data`` is for the file system, as (key, value or None), ``superblock`` flags too."""

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
        "remount",
        "set",
        "superblock",
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
        self.remount = False
        self.superblock: list[str] = []
        self.data: list[tuple[str, str | None]] = []

    def superblock_of(self, kind: str) -> list[str]:
        """The superblock's flags that a file system of this kind takes."""
        return [name for name in self.superblock if name not in _ON_DISK or kind not in _PSEUDO]

    @property
    def read_only(self) -> bool:
        """Whether the mount itself is read-only."""
        return bool(self.set & MOUNT_ATTR_RDONLY)


def destination_of(mount: dict[str, Any]) -> str:
    """Return the destination without `.` and `..`. Raises: Invalid where nothing may be mounted."""
    destination = mount.get("destination")
    if not isinstance(destination, str) or not destination or "\0" in destination:
        raise Invalid("read mounts", repr(destination), "the destination is not a path")
    path = os.path.normpath("/" + destination)
    path = "/" + path.lstrip("/")
    if path == "/":
        raise Invalid("read mounts", destination, "nothing can be mounted on the container's root")
    if path.startswith("/proc/") and path not in _ALLOWED_BELOW_PROC:
        raise Invalid("read mounts", destination, "inside /proc only a few harmless files can be covered")
    return path


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
    elif option in _SWITCHES:
        setattr(found, _SWITCHES[option], True)
    elif option in _SUPERBLOCK or option in _ON_DISK or option in _OPPOSITES:
        gone = _OPPOSITES.get(option)
        found.superblock = [name for name in found.superblock if name != gone] + ([] if gone else [option])
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
        {
            *_ATTRIBUTES,
            *recursive,
            *_PROPAGATION,
            *_NOTHING,
            *_SUPERBLOCK,
            *_ON_DISK,
            *_OPPOSITES,
            *("bind", "rbind", "idmap", "ridmap", "remount", "tmpcopyup"),
        }
    )
