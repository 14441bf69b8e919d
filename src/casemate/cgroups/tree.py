"""Directories of a hierarchy: made, opened and removed.

Paths are safe to use as strings here: cgroup file systems have no symbolic links, and every component has
passed ``names``. A container that may write below its own group can only make directories inside it.
"""

from __future__ import annotations

import errno
import os
import time

from casemate.errors import Conflict, Denied, Internal, Invalid, NotFound
from casemate.kernel.libc import KernelError

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0005, 0.02
_ATTEMPTS = 8  # another process may remove an empty parent between our two mkdir calls


def make(base: str, parts: tuple[str, ...]) -> list[str]:
    """The paths of ``parts`` below ``base``, topmost first, each existing now.

    Raises: Invalid when a name is a control file's, Denied, NotFound (the base itself is gone), KernelError.
    """
    paths = paths_of(base, parts)
    for _ in range(_ATTEMPTS):
        try:
            os.mkdir(paths[-1], 0o755)
        except FileExistsError:
            if not exists(
                paths[-1]
            ):  # a control file: in this hierarchy the limits would be missing in silence
                raise Invalid("make cgroup", paths[-1], "the kernel has a file of this name") from None
            return paths
        except NotADirectoryError:
            raise Invalid("make cgroup", paths[-1], "the kernel has a file of this name") from None
        except FileNotFoundError:
            _make_parents(paths[:-1])
        except PermissionError as error:
            raise Denied("make cgroup", paths[-1], error.strerror) from None
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, "mkdir", paths[-1]) from None
        else:
            return paths
    raise NotFound("make cgroup", paths[-1], "its parent keeps disappearing")


def _make_parents(paths: list[str]) -> None:
    for path in paths:
        try:
            os.mkdir(path, 0o755)
        except (FileExistsError, FileNotFoundError):
            continue
        except PermissionError as error:
            raise Denied("make cgroup", path, error.strerror) from None


def paths_of(base: str, parts: tuple[str, ...]) -> list[str]:
    """``base/a``, ``base/a/b``, ... for every prefix of ``parts``. Pure."""
    return [f"{base}/{'/'.join(parts[: depth + 1])}" for depth in range(len(parts))]


def exists(path: str) -> bool:
    """Whether it is a directory."""
    return os.path.isdir(path)


def children(path: str) -> list[str]:
    """The groups directly below, in no order; empty when it is gone."""
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def descendants(path: str) -> list[str]:
    """The group itself and all below it, each after its parent."""
    found = [path]
    for step in found:  # grows while it is walked
        found += children(step)
    return found


def remove(path: str, deadline: float) -> None:
    """Remove a group and all below it. What is gone already is success.

    A group stays busy for a moment after its last process has ended: that is waited for until ``deadline``
    (time.monotonic).
    Raises: Conflict when it is still in use then, Denied.
    """
    pause_s = _FIRST_PAUSE_S
    while not _try_remove(path):
        if time.monotonic() >= deadline:
            raise Conflict("remove cgroup", path, "processes still run in it")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _try_remove(path: str) -> bool:
    """Whether it is gone now. What a container made inside is walked only when it is not empty."""
    if _rmdir(path):
        return True
    for inner in reversed(descendants(path)[1:]):
        _rmdir(inner)
    return _rmdir(path)


def _rmdir(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except PermissionError as error:
        raise Denied("remove cgroup", path, error.strerror) from None
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise KernelError(error.errno or errno.EIO, "rmdir", path) from None
        return False
    return True


def prune(path: str) -> None:
    """Remove one directory if it holds nothing; leave it in silence otherwise."""
    try:
        os.rmdir(path)
    except OSError:
        return


def open_directory(path: str) -> int:
    """An owned descriptor of a group's directory.

    Raises: NotFound.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound("open cgroup", path, "it does not exist") from None


def open_all(paths: list[str], flags: int, *, required: bool) -> list[tuple[str, int]]:
    """(path, owned descriptor) of each file; those that are missing are left out unless ``required``.

    Raises: Internal when a required one cannot be opened; all others are closed then.
    """
    opened: list[tuple[str, int]] = []
    for path in paths:
        try:
            opened.append((path, os.open(path, flags | os.O_CLOEXEC)))
        except OSError as error:
            if not required and error.errno in (errno.ENOENT, errno.EACCES):
                continue
            for _, fd in opened:
                os.close(fd)
            raise Internal("open", path, error.strerror) from None
    return opened
