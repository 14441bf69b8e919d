"""Which hierarchies this machine has, where they are mounted, and where the caller stands in them.

Everything is read from /proc/self/mountinfo and /proc/self/cgroup; the parsers are pure.
Source: cgroups(7), proc(5).
"""

from __future__ import annotations

import os

UNIFIED = "unified"  # our name for the v2 hierarchy
NAMED_SYSTEMD = "name=systemd"

_KNOWN_V1 = frozenset(
    {
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "misc",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
        "rdma",
    }
)


class Hierarchy:
    """One mounted hierarchy: v1 with its controllers, or v2 (``controllers`` is then just ``unified``).

    ``mountpoint`` shows the part of it that starts at ``root``; ``own`` is the caller's group seen from
    there, None when it lies outside.
    """

    __slots__ = ("controllers", "mountpoint", "own", "root")

    def __init__(
        self, controllers: frozenset[str], mountpoint: str, root: str, own: str | None = None
    ) -> None:
        self.controllers = controllers
        self.mountpoint = mountpoint
        self.root = root
        self.own = own

    @property
    def is_v2(self) -> bool:
        """Whether this is the unified hierarchy."""
        return UNIFIED in self.controllers

    def __repr__(self) -> str:
        return f"Hierarchy({','.join(sorted(self.controllers))} at {self.mountpoint}, own {self.own})"


def parse_mountinfo(text: str) -> list[Hierarchy]:
    """The cgroup mounts, the first of each hierarchy only, in mount order.

    Source: proc(5), /proc/PID/mountinfo.
    """
    found: list[Hierarchy] = []
    seen: set[frozenset[str]] = set()
    for line in text.splitlines():
        fields = line.split(" ")
        if "-" not in fields:
            continue
        dash = fields.index("-", 6)
        if fields[dash + 1] not in ("cgroup", "cgroup2"):
            continue
        if fields[dash + 1] == "cgroup2":
            controllers = frozenset({UNIFIED})
        else:
            options = fields[dash + 3].split(",")
            controllers = frozenset(o for o in options if o in _KNOWN_V1 or o.startswith("name="))
        if controllers and controllers not in seen:
            seen.add(controllers)
            found.append(Hierarchy(controllers, _unescape(fields[4]), _unescape(fields[3])))
    return found


def _unescape(field: str) -> str:
    """Mount paths hold space, tab, newline and backslash as octal escapes."""
    if "\\" not in field:
        return field
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, char)
    return field


def parse_own(text: str) -> dict[frozenset[str], str]:
    """The caller's group in each hierarchy, from /proc/self/cgroup.

    Source: cgroups(7).
    """
    own: dict[frozenset[str], str] = {}
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        own[frozenset({UNIFIED} if number == "0" else controllers.split(","))] = path
    return own


def locate(hierarchies: list[Hierarchy], own: dict[frozenset[str], str]) -> None:
    """Fill in ``own`` of each hierarchy, relative to its mount point."""
    for hierarchy in hierarchies:
        path = own.get(hierarchy.controllers)
        root = hierarchy.root.rstrip("/")
        if path is not None and "/.." not in path and (path == root or path.startswith(root + "/")):
            hierarchy.own = path[len(root) :].strip("/")


def read_hierarchies(
    mountinfo: str = "/proc/self/mountinfo", own: str = "/proc/self/cgroup"
) -> list[Hierarchy]:
    """The hierarchies of this process's mount namespace; empty when none is mounted or /proc is missing."""
    try:
        found = parse_mountinfo(_text(mountinfo))
        locate(found, parse_own(_text(own)))
    except OSError:
        return []
    return found


def _text(path: str) -> str:
    with open(path, "rb") as file:
        return os.fsdecode(file.read())
