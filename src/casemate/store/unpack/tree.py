"""Trees that a container has shaped: removed and measured by descriptors, no link followed."""

from __future__ import annotations

import errno
import os
import stat

from casemate.core.snapshots import Usage
from casemate.kernel.const.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS
from casemate.kernel.libc import KernelError
from casemate.kernel.path import openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 32
"""So many directories are held open at once; what lies deeper is first moved to the top of the tree."""
_MAX_RETRIES = 1000
_ALL_OF_OWNER = 0o700
_SECTOR_BYTES = 512
_GONE_OR_TOO_DEEP = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""What is deeper than a path can name is not counted."""


def remove_tree(parent_fd: int, name: str | bytes) -> None:
    """Remove ``name`` and everything below it; absent is success.

    Descends by descriptors of directories that are never links; anything that appears meanwhile is removed
    too. Depth is not limited: directories deeper than 32 levels are moved up, so neither descriptors nor
    stack grow.
    Raises: OSError, EACCES or EPERM when the caller may not.
    """
    name = os.fsencode(name)
    if _unlink(parent_fd, name):
        return
    top_fd = _enter(parent_fd, name)
    try:
        _empty(top_fd)
    finally:
        os.close(top_fd)
    os.rmdir(name, dir_fd=parent_fd)


def _unlink(parent_fd: int, name: bytes) -> bool:
    """Unlink anything but a directory; False when ``name`` is a directory."""
    try:
        os.unlink(name, dir_fd=parent_fd)
    except FileNotFoundError:
        return True
    except (IsADirectoryError, PermissionError) as error:  # POSIX says EPERM for a directory, Linux EISDIR
        if not _is_directory(parent_fd, name):
            raise error from None
        return False
    return True


def _is_directory(parent_fd: int, name: bytes) -> bool:
    """Whether ``name`` itself is a directory."""
    return stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode)


def _enter(parent_fd: int, name: bytes) -> int:
    """Open a directory; one that its owner made unreadable is made readable first."""
    try:
        return os.open(name, _OPEN, dir_fd=parent_fd)
    except PermissionError:
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            os.chmod(f"/proc/self/fd/{handle}", _ALL_OF_OWNER)
            return os.open(name, _OPEN, dir_fd=parent_fd)
        finally:
            os.close(handle)


class _Level:
    """A directory being emptied: its descriptor, its name in the level above, what is still in it."""

    __slots__ = ("fd", "name", "pending")

    def __init__(self, fd: int, name: bytes) -> None:
        self.fd = fd
        self.name = name
        self.pending: list[bytes] = []


def _empty(top_fd: int) -> None:
    """Remove everything in a directory, holding at most _MAX_DEPTH descriptors."""
    levels = [_Level(top_fd, b"")]
    moved = retries = 0
    try:
        levels[0].pending = _unlink_files(top_fd)
        while levels:
            level = levels[-1]
            if level.pending and len(levels) > _MAX_DEPTH:
                moved = _move_up(level.fd, level.pending.pop(), top_fd, moved)
                levels[0].pending.append(_moved_name(moved))
            elif level.pending:
                name = level.pending.pop()
                levels.append(_Level(_enter(level.fd, name), name))
                levels[-1].pending = _unlink_files(levels[-1].fd)
            else:
                levels.pop()
                if levels and not _close_and_remove(level, levels[-1].fd):
                    retries += 1
                    _refuse_endless(retries)
                    levels[-1].pending.append(level.name)
    finally:
        for level in levels[1:]:
            os.close(level.fd)


def _unlink_files(fd: int) -> list[bytes]:
    """Unlink everything in a directory except directories, whose names are returned."""
    directories = []
    with os.scandir(fd) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            if entry.is_dir(follow_symlinks=False) or not _unlink(fd, name):
                directories.append(name)
    return directories


def _close_and_remove(level: _Level, parent_fd: int) -> bool:
    """Remove an emptied directory; False when something has appeared in it."""
    os.close(level.fd)
    try:
        os.rmdir(level.name, dir_fd=parent_fd)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def _refuse_endless(retries: int) -> None:
    """Raise when somebody keeps filling what is being emptied."""
    if retries > _MAX_RETRIES:
        raise OSError(errno.EBUSY, "files keep appearing in a tree that is being removed")


def _moved_name(number: int) -> bytes:
    """The name of the directory that was moved up as the ``number``-th."""
    return f".removing-{number}".encode()


def _move_up(from_fd: int, name: bytes, top_fd: int, moved: int) -> int:
    """Rename a deep directory to a free name at the top; return the number in that name."""
    made_writable = False
    while True:
        moved += 1
        try:
            os.rename(name, _moved_name(moved), src_dir_fd=from_fd, dst_dir_fd=top_fd)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                continue
            if (
                error.errno == errno.EACCES and not made_writable
            ):  # moving writes "..", which its mode may forbid
                os.close(_enter(from_fd, name))
                made_writable = True
                continue
            raise
        return moved


def measure_tree(dir_fd: int) -> Usage:
    """Bytes allocated and inodes below a directory, itself included; hard links count once.

    Raises: OSError, EACCES where the caller may not look.
    """
    size_bytes = inodes = 0
    seen: set[int] = set()
    for status in _iter_status(dir_fd):
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if status.st_ino in seen:
                continue
            seen.add(status.st_ino)
        size_bytes += status.st_blocks * _SECTOR_BYTES
        inodes += 1
    return Usage(size_bytes, inodes)


def _iter_status(dir_fd: int) -> Iterator[os.stat_result]:
    """The status of a directory and of everything below it."""
    yield os.fstat(dir_fd)
    pending: list[bytes] = [b"."]
    while pending:
        path = pending.pop()
        try:
            fd = openat2(dir_fd, path, _OPEN, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        except KernelError as error:
            if error.errno in _GONE_OR_TOO_DEEP:
                continue
            raise
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        yield entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(path + b"/" + os.fsencode(entry.name))
        finally:
            os.close(fd)
