"""/sys/fs/cgroup inside a container: the unified tree, or one mount for each version 1 hierarchy.

With a cgroup namespace the mounts are new and show the container's own cgroup as their root. Without one, the container sees a
copy of its own directory in each hierarchy (as runc does), never the host's tree.
"""

from __future__ import annotations

import os

from casemate.kernel.const.mount import (
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    OPEN_TREE_CLONE,
)
from casemate.kernel.const.openat2 import AT_EMPTY_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cgroups.manager import Cgroup
    from casemate.runtime.compile.build import Build
    from casemate.runtime.compile.mount_options import MountOptions

_DIRECTORY = 1
_ROOT = "/sys/fs/cgroup"


class _Hierarchy:
    """One version 1 hierarchy: its mount options and where we are in it."""

    __slots__ = ("controllers", "name", "path")

    def __init__(self, controllers: list[str], path: str) -> None:
        self.controllers = controllers
        self.path = path
        self.name = ",".join(item.removeprefix("name=") for item in controllers)


def read_hierarchies() -> tuple[list[_Hierarchy], bool]:
    """Return the version 1 hierarchies of this host, and whether there is nothing but the unified one."""
    found: list[_Hierarchy] = []
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controllers:
                found.append(_Hierarchy(controllers.split(","), path))
    return found, not found


def add_cgroup_mount(build: Build, destination: str, options: MountOptions, *, cgroup: Cgroup | None) -> None:
    """Compile the mount of type cgroup."""
    hierarchies, unified = read_hierarchies()
    namespaced = "cgroup" in build.namespaces
    if not namespaced:
        _add_copies(build, destination, options, cgroup=cgroup, hierarchies=hierarchies, unified=unified)
        return
    if unified:
        tree = _new_mount(build, "cgroup2", [], options, meaning=f"mount cgroup2 at {destination}")
        _attach(build, tree, destination, meaning=f"mount cgroup2 at {destination}")
        return
    top = _add_top(build, destination)
    for hierarchy in hierarchies:
        meaning = f"mount the {hierarchy.name} control groups at {destination}"
        tree = _new_mount(build, "cgroup", hierarchy.controllers, options, meaning=meaning)
        _attach_below(build, top, hierarchy, tree, meaning=meaning)
    _seal_top(build, top, options)


def _attach(build: Build, tree: int, destination: str, *, meaning: str) -> None:
    target = build.target(destination, _DIRECTORY, meaning=meaning)
    build.inside("MOVE_MOUNT", tree, target, meaning=meaning)


def _new_mount(
    build: Build, kind: str, controllers: list[str], options: MountOptions, *, meaning: str
) -> int:
    context, tree = build.slot(), build.slot()
    build.inside("FSOPEN", context, kind, meaning=meaning)
    build.inside("FSCONFIG", context, FSCONFIG_SET_STRING, "source", "cgroup", -1, meaning=meaning)
    for item in controllers:
        key, sign, value = item.partition("=")
        if sign:
            build.inside("FSCONFIG", context, FSCONFIG_SET_STRING, key, value, -1, meaning=meaning)
        else:
            build.inside("FSCONFIG", context, FSCONFIG_SET_FLAG, key, None, -1, meaning=meaning)
    build.inside("FSCONFIG", context, FSCONFIG_CMD_CREATE, None, None, -1, meaning=meaning)
    build.inside("FSMOUNT", tree, context, options.set, meaning=meaning)
    return tree


def _add_top(build: Build, destination: str) -> int:
    """Return the slot of a small tmpfs at ``destination`` that holds the mount points of the hierarchies."""
    meaning = f"mount a tmpfs for control groups at {destination}"
    context, tree = build.slot(), build.slot()
    build.inside("FSOPEN", context, "tmpfs", meaning=meaning)
    build.inside("FSCONFIG", context, FSCONFIG_SET_STRING, "mode", "755", -1, meaning=meaning)
    build.inside("FSCONFIG", context, FSCONFIG_CMD_CREATE, None, None, -1, meaning=meaning)
    build.inside(
        "FSMOUNT", tree, context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, meaning=meaning
    )
    _attach(build, tree, destination, meaning=meaning)
    return tree


def _attach_below(build: Build, top: int, hierarchy: _Hierarchy, tree: int, *, meaning: str) -> None:
    """Attach one hierarchy below the tmpfs, which is ours, and link each controller of a joint one to it."""
    target = build.slot()
    build.inside("MKDIR", top, hierarchy.name, 0o755, meaning=meaning)
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    build.inside("OPENAT2", target, top, hierarchy.name, flags, 0, 0, meaning=meaning)
    build.inside("MOVE_MOUNT", tree, target, meaning=meaning)
    if len(hierarchy.controllers) > 1:
        for controller in hierarchy.controllers:
            build.inside("SYMLINK", hierarchy.name, top, controller, meaning=meaning)


def _seal_top(build: Build, top: int, options: MountOptions) -> None:
    if options.read_only:
        meaning = "make the control groups' directory read-only"
        build.inside("MOUNT_SETATTR", top, AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0, -1, meaning=meaning)


def _add_copies(
    build: Build,
    destination: str,
    options: MountOptions,
    *,
    cgroup: Cgroup | None,
    hierarchies: list[_Hierarchy],
    unified: bool,
) -> None:
    """Show the container its own directory of each hierarchy, at the place where the host has it."""
    own = getattr(cgroup, "path", "") or ""
    if unified:
        meaning = f"mount the control group at {destination}"
        tree = _copy(build, f"{_ROOT}/{own.strip('/')}", options, meaning=meaning)
        _attach(build, tree, destination, meaning=meaning)
        return
    top = _add_top(build, destination)
    for hierarchy in hierarchies:
        path = _mounted_at(hierarchy)
        if path is None:
            continue
        meaning = f"mount the {hierarchy.name} control groups at {destination}"
        inside = f"{path}/{own.strip('/')}"
        tree = _copy(
            build,
            inside if own and os.path.isdir(inside) else f"{path}/{hierarchy.path.strip('/')}",
            options,
            meaning=meaning,
        )
        _attach_below(build, top, hierarchy, tree, meaning=meaning)
    _seal_top(build, top, options)


def _mounted_at(hierarchy: _Hierarchy) -> str | None:
    for name in (hierarchy.name, *hierarchy.controllers):
        path = f"{_ROOT}/{name.removeprefix('name=')}"
        if os.path.isdir(path):
            return path
    return None


def _copy(build: Build, path: str, options: MountOptions, *, meaning: str) -> int:
    tree = build.clone_host_mount(path, flags=OPEN_TREE_CLONE, meaning=meaning)
    build.add_where_mounted(
        "MOUNT_SETATTR", tree, AT_EMPTY_PATH, options.set, 0, MS_PRIVATE, -1, meaning=meaning
    )
    return tree
