"""`maskedPaths` and `readonlyPaths`: kernel files that a container must not read, or not write.

A mask is an inode of ours: the null device whose numbers we compared, or an empty read-only tmpfs that we made. The path is
resolved inside the root once. Which paths exist is decided here, from the host's procfs and sysfs (the same kernel shows the
same names) and from the root file system's directories; what appears later is refused by `enter`, not skipped.
"""

from __future__ import annotations

import errno
import os
import stat

from casemate.errors import Invalid
from casemate.kernel.const.mount import (
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_STRING,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    OPEN_TREE_CLONE,
)
from casemate.kernel.const.openat2 import AT_EMPTY_PATH, AT_RECURSIVE
from casemate.kernel.libc import KernelError
from casemate.kernel.path import open_in_root
from casemate.runtime.compile.devices import null_mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.core.snapshots import RootFs
    from casemate.runtime.compile.build import Build

_MUST_EXIST = 0
_SEALED = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


class _Sources:
    """The two masks of one container, each made when first needed and copied afterwards."""

    __slots__ = ("directory", "file")

    def __init__(self) -> None:
        self.file = -1
        self.directory = -1


def add_masks(build: Build, rootfs: RootFs, *, bundle_dir: str) -> None:
    """Compile `linux.maskedPaths`, then `linux.readonlyPaths`."""
    sources = _Sources()
    for path in build.linux.get("maskedPaths") or ():
        mode = _mode_of(build, _checked(path), rootfs, bundle_dir)
        if mode is not None:
            _add_mask(build, path, sources, directory=stat.S_ISDIR(mode))
    for path in build.linux.get("readonlyPaths") or ():
        if _mode_of(build, _checked(path), rootfs, bundle_dir) is not None:
            _add_read_only(build, path)


def _checked(path: object) -> str:
    if not isinstance(path, str) or not os.path.isabs(path) or "\0" in path:
        raise Invalid("read linux.maskedPaths", repr(path), "not an absolute path")
    return os.path.normpath("/" + path.lstrip("/"))


def _add_mask(build: Build, path: str, sources: _Sources, *, directory: bool) -> None:
    meaning = f"mask {path}"
    target = build.target(path, _MUST_EXIST, meaning=meaning)
    tree = _next_directory(build, sources) if directory else _next_file(build, sources)
    build.inside("MOVE_MOUNT", tree, target, meaning=meaning)


def _next_file(build: Build, sources: _Sources) -> int:
    if sources.file < 0:
        sources.file = null_mount(build)
        build.add_where_mounted(
            "MOUNT_SETATTR",
            sources.file,
            AT_EMPTY_PATH,
            MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY,
            0,
            0,
            -1,
        )
        return sources.file
    return _copy(build, sources.file)


def _next_directory(build: Build, sources: _Sources) -> int:
    if sources.directory < 0:
        context, sources.directory = build.slot(), build.slot()
        meaning = "make the empty directory for masks"
        build.inside("FSOPEN", context, "tmpfs", meaning=meaning)
        build.inside("FSCONFIG", context, FSCONFIG_SET_STRING, "nr_inodes", "1", -1, meaning=meaning)
        build.inside("FSCONFIG", context, FSCONFIG_SET_STRING, "mode", "555", -1, meaning=meaning)
        build.inside("FSCONFIG", context, FSCONFIG_CMD_CREATE, None, None, -1, meaning=meaning)
        build.inside("FSMOUNT", sources.directory, context, _SEALED, meaning=meaning)
        return sources.directory
    return _copy(build, sources.directory)


def _copy(build: Build, mount: int) -> int:
    """Return the slot of a copy of a mount that is attached in the container by now."""
    tree = build.slot()
    build.inside("OPEN_TREE", tree, mount, None, OPEN_TREE_CLONE | AT_EMPTY_PATH, meaning="copy the mask")
    return tree


def _add_read_only(build: Build, path: str) -> None:
    meaning = f"make {path} read-only"
    target = build.target(path, _MUST_EXIST, meaning=meaning)
    tree = build.slot()
    build.inside(
        "OPEN_TREE", tree, target, None, OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE, meaning=meaning
    )
    at = AT_EMPTY_PATH | AT_RECURSIVE
    build.inside("MOUNT_SETATTR", tree, at, MOUNT_ATTR_RDONLY, 0, MS_PRIVATE, -1, meaning=meaning)
    build.inside("MOVE_MOUNT", tree, target, meaning=meaning)


def _mode_of(build: Build, path: str, rootfs: RootFs, bundle_dir: str) -> int | None:
    """Return the type of what will stand at ``path``, None when nothing will: in the mount that covers it, else in the image."""
    mount, rest = _covering(build, path)
    if mount is None:
        mode = image_mode(rootfs, path)
        return stat.S_IFDIR if mode is None and _leads_to_mount(build, path) else mode
    kind, source = mount.get("type"), mount.get("source") or ""
    if kind in ("proc", "sysfs") or (source in ("/proc", "/sys") and source == _destination(mount)):
        return _kernel_mode(build, path)
    if kind == "tmpfs" and "tmpcopyup" in (mount.get("options") or ()):
        return image_mode(rootfs, path) or (None if rest else stat.S_IFDIR)
    if kind in ("bind", "none", "", None) or {"bind", "rbind"} & set(mount.get("options") or ()):
        return _mode_below(os.path.join(bundle_dir, source), rest)
    return None if rest and not _leads_to_mount(build, path) else stat.S_IFDIR


def _destination(mount: dict[str, Any]) -> str:
    return os.path.normpath("/" + str(mount.get("destination")).lstrip("/"))


def _covering(build: Build, path: str) -> tuple[dict[str, Any] | None, str]:
    """Return the mount of the spec that shows ``path``, and the path inside it; the deepest one, the last of several."""
    found, longest = None, ""
    for mount in build.spec.get("mounts") or ():
        destination = _destination(mount)
        if len(destination) >= len(longest) and (path == destination or path.startswith(destination + "/")):
            found, longest = mount, destination
    return found, path[len(longest) :].lstrip("/")


def _leads_to_mount(build: Build, path: str) -> bool:
    """Whether a directory is made there because a mount goes below it."""
    return any(_destination(mount).startswith(path + "/") for mount in build.spec.get("mounts") or ())


def _mode_below(source: str, rest: str) -> int | None:
    """Return the type of a file of the host that a bind mount shows."""
    if not rest:
        return os.stat(source).st_mode
    root = os.open(source, os.O_PATH | os.O_CLOEXEC)
    try:
        with open_in_root(root, rest) as fd:
            return os.fstat(fd.fileno()).st_mode
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    finally:
        os.close(root)


def _kernel_mode(build: Build, path: str) -> int | None:
    try:
        about = os.lstat(path)
    except OSError:
        return None
    if stat.S_ISLNK(about.st_mode):
        # Sysfs and procfs link inside themselves; the target is resolved in the container as it is here.
        try:
            about = os.stat(path)
        except OSError:
            return None
    if _namespace_dependent(build, path):
        return None
    return about.st_mode


def _namespace_dependent(build: Build, path: str) -> bool:
    """Whether the path may be missing in a new namespace although the host has it."""
    if path.startswith("/sys/fs/cgroup/"):
        return True
    return path.startswith("/sys/class/net/") and build.is_new("network")


def image_mode(rootfs: RootFs, path: str) -> int | None:
    """Return type and mode of ``path`` in the topmost layer that has it, None when none has; a whiteout hides the layers below.

    Raises: KernelError.
    """
    directories = [rootfs.upper, *rootfs.lowers] if rootfs.upper else list(rootfs.lowers)
    for directory in directories:
        root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with open_in_root(root, path) as fd:
                about = os.fstat(fd.fileno())
        except KernelError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            raise
        finally:
            os.close(root)
        return None if stat.S_ISCHR(about.st_mode) and about.st_rdev == 0 else about.st_mode
    return None
