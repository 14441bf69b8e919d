"""Directories of the tree that is being written, found again quickly and never outside it.

Every look-up is one openat2 that may not leave the tree. A link on the way is followed as if the tree were
``/``, as every container runtime does; the result is inside by the kernel's own rule.
"""

from __future__ import annotations

import errno
import os
import stat

from casemate.errors import Invalid
from casemate.image.layer_tar import quoted_path
from casemate.kernel.const.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV
from casemate.kernel.libc import KernelError
from casemate.kernel.path import openat2

_IN_TREE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
_HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_OPEN = 400
DEFAULT_MODE = 0o755
_OPAQUE = "user.overlay.opaque"


class Directories:
    """Open handles of directories by their path in the archive."""

    __slots__ = ("_open", "_root_fd", "implicit")

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._open: dict[bytes, int] = {}
        self.implicit: set[bytes] = set()
        """Directories that no entry describes, made because something lies in them."""

    def handle(self, path: bytes) -> int:
        """An O_PATH descriptor of the directory, made with its parents when missing; owned by this object.

        Raises: Invalid when something that is no directory is in the way.
        """
        if not path:
            return self._root_fd
        fd = self._open.get(path)
        if fd is None:
            if len(self._open) >= _MAX_OPEN:
                self.forget()
            fd = self._open[path] = self._find_or_make(path)
        return fd

    def _find_or_make(self, path: bytes) -> int:
        parent, _, name = path.rpartition(b"/")
        is_replaced = False
        try:
            return self.open(path, _HANDLE)
        except KernelError as error:
            if error.errno == errno.ENOTDIR:
                is_replaced = _unlink_whiteout(self.handle(parent), name)
            if error.errno != errno.ENOENT and not is_replaced:
                raise _refused(path, error) from error
        parent_fd = self.handle(parent)
        try:
            os.mkdir(name, DEFAULT_MODE, dir_fd=parent_fd)
            if is_replaced:
                set_opaque(parent_fd, name)
            else:
                self.implicit.add(path)
            return self.open(path, _HANDLE)
        except FileExistsError as error:
            raise Invalid(
                "unpack layer", quoted_path(path), "it is a dangling link, and files lie below it"
            ) from error
        except KernelError as error:
            raise _refused(path, error) from error

    def open(self, path: bytes, flags: int) -> int:
        """A new descriptor of an existing directory, owned by the caller. Raises: KernelError."""
        return openat2(self._root_fd, path or b".", flags, 0, _IN_TREE)

    def forget(self) -> None:
        """Close all handles: needed whenever a directory or link may have been replaced."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()


def set_opaque(parent_fd: int, name: bytes) -> None:
    """Hide what lower layers have in a directory of this layer."""
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        os.setxattr(fd, _OPAQUE, b"y")
    finally:
        os.close(fd)


def _unlink_whiteout(parent_fd: int, name: bytes) -> bool:
    """Remove a whiteout of this layer, which has a new directory in its place; False for anything else."""
    if not stat.S_ISCHR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
        return False
    os.unlink(name, dir_fd=parent_fd)
    return True


def _refused(path: bytes, error: KernelError) -> Invalid | KernelError:
    """The error for a path that does not lead to a directory of the tree."""
    reasons = {
        errno.ENOTDIR: "a file is in the way",
        errno.ELOOP: "its symbolic links lead in a circle",
        errno.EXDEV: "it leads to another file system",
        errno.ENAMETOOLONG: "the path is too long",
    }
    why = reasons.get(error.errno or 0)
    return Invalid("unpack layer", quoted_path(path), why) if why else error
