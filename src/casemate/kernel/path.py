"""Path resolution that cannot be led astray: openat2(2).

The floor is Linux 5.11 (close_range with CLOEXEC, idmapped mounts one later), so openat2 (5.6) is always
there on a supported kernel. What may still hide it is a seccomp filter of an outer container that answers
ENOSYS or EPERM; for that case ``open_in_root`` falls back to a walk with ``O_PATH|O_NOFOLLOW``, one
component at a time, which follows no symbolic link at all: stricter than the kernel, never weaker.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from casemate.kernel.const.openat2 import (
    AT_FDCWD,
    RESOLVE_BENEATH,
    RESOLVE_CACHED,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
)
from casemate.kernel.fd import Fd
from casemate.kernel.libc import LONG, STRING, KernelError, c_path, checked, declare, last_errno

_RETRIES = 128  # a rename somewhere on the host makes ".." in a scoped walk fail with EAGAIN: openat2(2)


_OPEN_HOW = struct.Struct("=QQQ")  # struct open_how: flags, mode, resolve
_openat2 = declare("openat2", LONG, STRING, STRING, LONG)


def openat2(dir_fd: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:  # noqa: PLR0917 - as openat2(2)
    """A new descriptor, owned by the caller, closed on exec; interrupted and raced look-ups are tried again.

    ``mode`` counts only with O_CREAT or O_TMPFILE: the kernel refuses it otherwise, so it is left out then.
    Raises: KernelError, EXDEV or ELOOP when the path leaves what ``resolve`` allows; ValueError for a NUL.
    Needs: Linux 5.6.
    Source: openat2(2).
    """
    encoded = c_path(path)
    creates = flags & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY)
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, mode if creates else 0, resolve)
    for _ in range(_RETRIES):
        number = _openat2(dir_fd, encoded, how, _OPEN_HOW.size)
        if number >= 0 or resolve & RESOLVE_CACHED or last_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    return checked(number, "openat2", path)


def open_in_root(
    root_fd: int, path: str | bytes, flags: int = os.O_PATH, *, mode: int = 0, resolve: int = 0
) -> Fd:
    """What ``path`` names when ``root_fd`` is ``/``: links and ``..`` stay inside, magic links are refused.

    ``resolve`` adds restrictions (RESOLVE_NO_XDEV, RESOLVE_NO_SYMLINKS). The path may or may not start with
    a slash.
    Raises: KernelError.
    Source: openat2(2), RESOLVE_IN_ROOT.
    """
    try:
        return Fd(openat2(root_fd, path, flags, mode, resolve | RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS))
    except KernelError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM) or resolve & RESOLVE_NO_XDEV or _openat2_works():
            raise
    return walk_in_root(root_fd, path, flags, mode=mode)


def _openat2_works() -> bool:
    """Whether openat2 itself is allowed here, so that its refusal was about the object."""
    try:
        os.close(openat2(AT_FDCWD, ".", os.O_PATH))
    except KernelError:
        return False
    return True


def walk_in_root(root_fd: int, path: str | bytes, flags: int = os.O_PATH, *, mode: int = 0) -> Fd:
    """As ``open_in_root`` without openat2: component by component, and none may be a symbolic link.

    ``..`` is refused rather than interpreted: between two steps the directory may have been moved.
    Raises: KernelError, ELOOP for a symbolic link, EXDEV for ``..``.
    """
    parts = [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise KernelError(errno.EXDEV, "walk", path)
    walked = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
    here = Fd(os.open(".", walked, dir_fd=root_fd))
    try:
        for part in parts[:-1]:
            step = _step(here, part, walked, path)
            here.close()
            here = step
        if not parts:
            return Fd(os.open(".", flags | os.O_CLOEXEC, mode, dir_fd=here.fileno()))
        return _step(here, parts[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, path, mode=mode)
    finally:
        here.close()


def _step(parent: Fd, name: bytes, flags: int, path: str | bytes, *, mode: int = 0) -> Fd:
    try:
        step = Fd(os.open(name, flags, mode, dir_fd=parent.fileno()))
    except OSError as error:
        number = errno.EIO if error.errno is None else error.errno
        if number == errno.ENOTDIR and is_link(parent.fileno(), name):
            number = errno.ELOOP
        raise KernelError(number, "openat", path) from None
    if stat.S_ISLNK(os.fstat(step.fileno()).st_mode):  # O_PATH|O_NOFOLLOW opens the link itself
        step.close()
        raise KernelError(errno.ELOOP, "openat", path)
    return step


def is_link(dir_fd: int, name: str | bytes) -> bool:
    """Whether ``name`` in ``dir_fd`` is a symbolic link; False when it does not exist."""
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
    except OSError:
        return False


def reopen(fd: int, flags: int) -> Fd:
    """The object behind an O_PATH descriptor, opened with other flags, without a second look-up of its name.

    Raises: OSError when the file does not allow these flags, or when /proc is not mounted.
    """
    return Fd(os.open(f"/proc/thread-self/fd/{fd}", flags | os.O_CLOEXEC))


__all__ = [
    "AT_FDCWD",
    "RESOLVE_BENEATH",
    "RESOLVE_CACHED",
    "RESOLVE_IN_ROOT",
    "RESOLVE_NO_MAGICLINKS",
    "RESOLVE_NO_SYMLINKS",
    "RESOLVE_NO_XDEV",
    "is_link",
    "open_in_root",
    "openat2",
    "reopen",
    "walk_in_root",
]
