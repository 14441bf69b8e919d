"""The container's root: a bundle directory or an overlay of (id-mapped) layers, attached on our `/` and pivoted into.

No mount of ours ever appears on the host. With privilege the parent makes detached mounts, which die with their descriptors;
without, the child makes them in its own mount namespace.
"""

from __future__ import annotations

import os

from casemate.errors import NotFound
from casemate.kernel.const.mount import (
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FD,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_SLAVE,
    OPEN_TREE_CLONE,
)
from casemate.kernel.const.openat2 import AT_EMPTY_PATH, AT_RECURSIVE
from casemate.runtime.compile.build import O_PATH_CLOEXEC
from casemate.runtime.compile.mount_options import propagation_flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.core.snapshots import RootFs
    from casemate.runtime.compile.build import Build

RANGE = 65536
# Since 6.14 FSCONFIG_SET_FD takes O_PATH descriptors, since 6.15 overlayfs takes layers on mounts that are attached nowhere.
_DETACHED_LAYERS_SINCE = (6, 15)


def add_root(build: Build, rootfs: RootFs) -> None:
    """Make the root mount, cut it off from the host's mounts, and attach it: ``build.root`` is its slot afterwards."""
    tree = _overlay(build, rootfs) if rootfs.kind == "overlay" else _directory(build, rootfs)
    host = build.slot()
    build.inside(
        "OPENAT2", host, -1, "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, 0, 0, meaning="open the old root"
    )
    flag = _host_propagation(build)
    build.inside(
        "MOUNT_SETATTR",
        host,
        AT_EMPTY_PATH | AT_RECURSIVE,
        0,
        0,
        flag,
        -1,
        meaning="stop mounts from reaching the host",
    )
    place = host
    if rootfs.kind == "bind" and (build.spec.get("hooks") or {}).get("createContainer"):
        place = _host_place(build, rootfs.lowers[0])
    build.inside("MOVE_MOUNT", tree, place, meaning="attach the container's root")
    build.root = tree


def _host_place(build: Build, path: str) -> int:
    """Return the slot of the root file system's directory in the child's own mount namespace.

    createContainer hooks run before pivot_root and look for the container's root, with all its mounts, where the bundle has it.
    """
    about = os.stat(path)
    slot = build.slot()
    meaning = f"open the root file system {path}"
    build.inside("OPENAT2", slot, -1, path, O_PATH_CLOEXEC | os.O_DIRECTORY, 0, 0, meaning=meaning)
    build.inside("EXPECT_INODE", slot, about.st_dev, about.st_ino, meaning=meaning)
    return slot


def _host_propagation(build: Build) -> int:
    """Return MS_SLAVE when a bind mount that the child itself makes shall see later mounts of the host, else MS_PRIVATE."""
    if build.privileged:
        return MS_PRIVATE
    wanted = [option for mount in build.spec.get("mounts") or () for option in mount.get("options") or ()]
    return (
        MS_SLAVE if {"slave", "rslave", "shared", "rshared"} & set(wanted) or _follows(build) else MS_PRIVATE
    )


def _follows(build: Build) -> bool:
    """Whether later mounts of the host shall appear in the root. `shared` is a peer group of the container's own."""
    return build.linux.get("rootfsPropagation") in ("slave", "rslave")


def _directory(build: Build, rootfs: RootFs) -> int:
    path = rootfs.lowers[0]
    try:
        if not os.path.isdir(path):
            raise NotFound("prepare container", path, "the root file system is not a directory")
        flags = OPEN_TREE_CLONE | AT_RECURSIVE
        tree = build.clone_host_mount(path, flags=flags, meaning=f"open the root file system {path}")
    except OSError as error:
        raise NotFound("prepare container", path, error.strerror) from error
    # The copy is a peer of the host's mount until told otherwise: what the container mounts would appear on the host.
    build.add_where_mounted(
        "MOUNT_SETATTR",
        tree,
        AT_EMPTY_PATH | AT_RECURSIVE,
        0,
        0,
        MS_SLAVE if _follows(build) else MS_PRIVATE,
        -1,
        meaning="cut the root off from the host's mounts",
    )
    return tree


def _overlay(build: Build, rootfs: RootFs) -> int:
    """Return the slot of a detached overlay mount."""
    layers = _layers(build, rootfs)
    if _kernel() < _DETACHED_LAYERS_SINCE:
        from casemate.runtime.compile.older.overlay import stack

        shifted = build.privileged and _id_shift(rootfs) is not None
        return stack(build, rootfs, layers, shifted=shifted, sealed=_is_sealed(build))
    add = build.before if build.privileged else build.inside
    context, mount = build.slot(), build.slot()
    meaning = "stack the image's layers"
    add("FSOPEN", context, "overlay", meaning=meaning)
    add("FSCONFIG", context, FSCONFIG_SET_STRING, "source", "overlay", -1, meaning=meaning)
    if rootfs.userxattr:
        add("FSCONFIG", context, FSCONFIG_SET_FLAG, "userxattr", None, -1, meaning=meaning)
    for slot in layers:
        add("FSCONFIG", context, FSCONFIG_SET_FD, "lowerdir+", None, slot, meaning=meaning)
    for key, path in (("upperdir", rootfs.upper), ("workdir", rootfs.work)):
        if path is not None:
            slot = _open_directory(build, path)
            add("FSCONFIG", context, FSCONFIG_SET_FD, key, None, slot, meaning="add the writable layer")
    add("FSCONFIG", context, FSCONFIG_CMD_CREATE, None, None, -1, meaning=meaning)
    # Devices never work on a root of ours; set-user-id bits and file capabilities only without no_new_privs.
    attributes = MOUNT_ATTR_NODEV | (MOUNT_ATTR_NOSUID if _is_sealed(build) else 0)
    add("FSMOUNT", mount, context, attributes, meaning=meaning)
    return mount


def _is_sealed(build: Build) -> bool:
    return bool(build.process.get("noNewPrivileges"))


def _layers(build: Build, rootfs: RootFs) -> list[int]:
    """Return the slots of the lower directories, id-mapped to the container's range where it differs."""
    shift = _id_shift(rootfs) if build.privileged else None
    if shift is None:
        return [_open_directory(build, path) for path in rootfs.lowers]
    stored, owner = shift
    line = f"{stored} {owner} {RANGE}\n".encode()
    userns = build.slot()
    build.before("USERNS", userns, line, line, meaning="make the id map of the layers")
    slots = []
    for path in rootfs.lowers:
        source = build.host_path(path, meaning="open layer", directory=True)
        tree = build.slot()
        build.before(
            "OPEN_TREE", tree, source, None, OPEN_TREE_CLONE | AT_EMPTY_PATH, meaning=f"open layer {path}"
        )
        build.before(
            "MOUNT_SETATTR",
            tree,
            AT_EMPTY_PATH,
            MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY,
            0,
            0,
            userns,
            meaning=f"map the ids of layer {path}",
            hint="the store must be on a file system with id-mapped mounts: ext4, xfs, btrfs, tmpfs",
        )
        slots.append(tree)
    return slots


def _id_shift(rootfs: RootFs) -> tuple[int, int] | None:
    """Return (id on disk, id in the container's range) of the image's root, None when both are the same."""
    if rootfs.owner_base is None:
        return None
    stored = rootfs.stored_uid_base or 0
    return None if stored == rootfs.owner_base else (stored, rootfs.owner_base)


def _open_directory(build: Build, path: str) -> int:
    """Return the slot of a directory for overlayfs: opened by us, or by the child and compared with what we saw."""
    if build.privileged:
        return build.host_path(path, meaning="open layer", directory=True)
    about = os.stat(path)
    slot = build.slot()
    build.inside(
        "OPENAT2", slot, -1, path, O_PATH_CLOEXEC | os.O_DIRECTORY, 0, 0, meaning=f"open layer {path}"
    )
    build.inside("EXPECT_INODE", slot, about.st_dev, about.st_ino, meaning=f"verify layer {path}")
    return slot


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(digit for digit in minor if digit.isdigit()) or 0)


def add_pivot(build: Build, *, read_only: bool) -> None:
    """Make the root the container's `/`, let go of the host's mounts, and apply what had to wait: read-only, propagation."""
    for slot, destination in build.sealed_last:
        meaning = f"make {destination} read-only"
        build.inside("MOUNT_SETATTR", slot, AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0, -1, meaning=meaning)
    build.inside("PIVOT_ROOT", build.root, meaning="enter the container's root")
    name = build.linux.get("rootfsPropagation") or ""
    if name:
        flag, recursive = propagation_flag(name)
        if flag != MS_PRIVATE:
            at = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
            build.inside("MOUNT_SETATTR", build.root, at, 0, 0, flag, -1, meaning=f"make the root {name}")
    if read_only:
        build.inside(
            "MOUNT_SETATTR",
            build.root,
            AT_EMPTY_PATH,
            MOUNT_ATTR_RDONLY,
            0,
            0,
            -1,
            meaning="make the root read-only",
        )
