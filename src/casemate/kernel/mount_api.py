"""Mounts as descriptors: open_tree, move_mount, mount_setattr, fsopen, fsconfig, fsmount; mount, umount.

A path is looked up at most once, when a tree is opened; from there on everything goes by descriptor, so that
nobody can put a symbolic link between the check and the mount. Constants: ``casemate.kernel.const.mount``.
"""

from __future__ import annotations

import ctypes
import os

from casemate.kernel.const.mount import (
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FD,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MOUNT_ATTR_IDMAP,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
)
from casemate.kernel.const.openat2 import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE
from casemate.kernel.fd import Fd
from casemate.kernel.libc import LONG, POINTER, STRING, KernelError, c_path, checked, declare


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


_open_tree = declare("open_tree", LONG, STRING, LONG)
_move_mount = declare("move_mount", LONG, STRING, LONG, STRING, LONG)
_mount_setattr = declare("mount_setattr", LONG, STRING, LONG, POINTER, LONG)
_fsopen = declare("fsopen", STRING, LONG)
_fsconfig = declare("fsconfig", LONG, LONG, STRING, STRING, LONG)
_fsmount = declare("fsmount", LONG, LONG, LONG)
_fspick = declare("fspick", LONG, STRING, LONG)
_mount = declare("mount", STRING, STRING, STRING, LONG, STRING)
_umount2 = declare("umount2", STRING, LONG)


def open_tree(path: str | bytes, *, dir_fd: int = AT_FDCWD, flags: int = 0) -> Fd:
    """A descriptor of an existing mount or file (O_PATH); with OPEN_TREE_CLONE a detached copy of it.

    Flags: OPEN_TREE_CLONE, AT_RECURSIVE, AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW. Closing a detached copy
    unmounts it.
    Raises: KernelError.
    Needs: Linux 5.2; CAP_SYS_ADMIN over the mount namespace for a copy.
    Source: open_tree(2).
    """
    number = _open_tree(dir_fd, c_path(path), flags | OPEN_TREE_CLOEXEC)
    return Fd(checked(number, "open_tree", path))


def clone_tree(fd: int, *, recursive: bool = False) -> Fd:
    """A detached copy of the mount that ``fd`` (any descriptor, O_PATH too) lies in, rooted at ``fd``.

    Raises: KernelError, EINVAL when a part of the tree is unbindable or locked.
    Needs: Linux 5.2; CAP_SYS_ADMIN over the mount namespace.
    """
    return open_tree(
        "", dir_fd=fd, flags=OPEN_TREE_CLONE | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    )


def move_mount(tree_fd: int, target_fd: int, *, flags: int = 0) -> None:
    """Attach a detached mount, or move an attached one, onto what ``target_fd`` names. Borrows both.

    Raises: KernelError.
    Needs: Linux 5.2; CAP_SYS_ADMIN over the mount namespace.
    Source: move_mount(2).
    """
    both = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    checked(
        _move_mount(tree_fd, b"", target_fd, b"", flags | both), "move_mount", f"{tree_fd} -> {target_fd}"
    )


def mount_setattr(
    tree_fd: int,
    *,
    set_flags: int = 0,
    clear_flags: int = 0,
    propagation: int = 0,
    userns_fd: int | None = None,
    recursive: bool = False,
) -> None:
    """Change attributes of a mount, or of a whole tree, in one step: all of it changes or none.

    ``userns_fd`` maps the owners of a detached mount through that user namespace (MOUNT_ATTR_IDMAP is then
    implied).
    Raises: KernelError; EPERM when a locked flag would be cleared, EINVAL when the file system cannot be
    idmapped.
    Needs: Linux 5.12; CAP_SYS_ADMIN over the mount namespace, for an id map also over the file system's.
    Source: mount_setattr(2).
    """
    if userns_fd is not None:
        set_flags |= MOUNT_ATTR_IDMAP
    attr = _MountAttr(set_flags, clear_flags, propagation, userns_fd or 0)
    at_flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    result = _mount_setattr(tree_fd, b"", at_flags, ctypes.addressof(attr), ctypes.sizeof(attr))
    checked(result, "mount_setattr", tree_fd)


def fsopen(fstype: str) -> Fd:
    """A context in which a new file system of this type is configured.

    Raises: KernelError, ENODEV when the kernel does not have the type.
    Needs: Linux 5.2; CAP_SYS_ADMIN over the mount namespace.
    Source: fsopen(2).
    """
    return Fd(checked(_fsopen(c_path(fstype), FSOPEN_CLOEXEC), "fsopen", fstype))


def fsconfig(
    context_fd: int, command: int, *, key: str | None = None, value: str | bytes | None = None, aux: int = 0
) -> None:
    """Give one parameter or command to a context of ``fsopen`` or ``fspick``.

    What the file system itself says about a refusal is added to the error: the kernel queues such lines on
    the context.
    Raises: KernelError.
    Source: fsconfig(2).
    """
    encoded_key = None if key is None else c_path(key)
    encoded_value = value
    if isinstance(value, str) or command == FSCONFIG_SET_STRING:  # the kernel reads a string up to its NUL
        encoded_value = None if value is None else c_path(value)
    if _fsconfig(context_fd, command, encoded_key, encoded_value, aux) == -1:
        error = KernelError(ctypes.get_errno(), "fsconfig", key or f"command {command}")
        for line in context_log(context_fd):
            error.add_note(line)
        raise error


def context_log(context_fd: int) -> list[str]:
    """The messages that wait on a file system context, oldest first, without their ``e `` or ``w `` mark."""
    lines: list[str] = []
    while len(lines) < 16:  # noqa: PLR2004 - the kernel keeps eight; never loop for ever
        try:
            line = os.read(context_fd, 4096)
        except OSError:  # ENODATA: no more
            break
        lines.append(line.decode(errors="replace").strip()[2:])
    return lines


def fsmount(context_fd: int, attributes: int = 0) -> Fd:
    """The configured file system as a detached mount with MOUNT_ATTR_* attributes.

    Raises: KernelError; EPERM when a user namespace may not see this file system (mount_too_revealing).
    Needs: Linux 5.2; CAP_SYS_ADMIN over the mount namespace.
    Source: fsmount(2).
    """
    return Fd(checked(_fsmount(context_fd, FSMOUNT_CLOEXEC, attributes), "fsmount", context_fd))


def new_mount(fstype: str, options: dict[str, str | int | None] | None = None, *, attributes: int = 0) -> Fd:
    """A new file system, mounted but attached nowhere.

    ``options``: a string is a parameter, an int a descriptor, None a flag. ``source`` is an option like the
    others.
    Raises: KernelError, with the file system's own words as notes.
    """
    with fsopen(fstype) as context:
        for key, value in (options or {}).items():
            if value is None:
                fsconfig(context.fileno(), FSCONFIG_SET_FLAG, key=key)
            elif isinstance(value, int):
                fsconfig(context.fileno(), FSCONFIG_SET_FD, key=key, aux=value)
            else:
                fsconfig(context.fileno(), FSCONFIG_SET_STRING, key=key, value=value)
        fsconfig(context.fileno(), FSCONFIG_CMD_CREATE)
        return fsmount(context.fileno(), attributes)


def fspick(path: str | bytes, *, dir_fd: int = AT_FDCWD, flags: int = 0) -> Fd:
    """A context for reconfiguring the file system mounted at ``path`` (FSCONFIG_CMD_RECONFIGURE).

    Raises: KernelError.
    Source: fspick(2).
    """
    return Fd(checked(_fspick(dir_fd, c_path(path), flags | 1), "fspick", path))


def mount(
    source: str | None, target: str | bytes, fstype: str | None, *, flags: int = 0, data: str | None = None
) -> None:
    """The old call, for what the new ones cannot do; it resolves ``target`` as a path.

    Raises: KernelError.
    Source: mount(2).
    """
    encoded = [None if text is None else c_path(text) for text in (source, target, fstype, data)]
    checked(_mount(encoded[0], encoded[1], encoded[2], flags, encoded[3]), "mount", target)


def umount(target: str | bytes, *, flags: int = 0) -> None:
    """Unmount what is on top at ``target`` (MNT_DETACH, UMOUNT_NOFOLLOW).

    Raises: KernelError, EINVAL when nothing is mounted there, EBUSY while it is in use.
    Source: umount(2).
    """
    checked(_umount2(c_path(target), flags), "umount2", target)
