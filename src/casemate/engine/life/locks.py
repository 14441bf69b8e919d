"""One lock a container: whoever works on it, or keeps it while it runs, holds the flock on its file in the run directory.

The descriptor is handed to the keepers when a container starts, so that *held* means: somebody alive is responsible. The file is
removed by whoever removes the container, holding the lock; its last words are the exit code, for those who wait.
"""

from __future__ import annotations

import errno
import os

from casemate.errors import Conflict
from casemate.kernel.fd import Fd
from casemate.kernel.lock import lock, try_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.store.paths import StorePaths

_MODE = 0o600


def lock_path(paths: StorePaths, container_id: str) -> str:
    """Where the lock of a container is."""
    return f"{paths.run_root}/locks/{container_id}"


def acquire(
    paths: StorePaths, container_id: str, *, timeout_s: float = 0.0, doing: str = "lock container"
) -> Fd:
    """The container's lock, held. Raises: Conflict when somebody else holds it for longer than ``timeout_s``."""
    held = find_free(paths, container_id, timeout_s=timeout_s)
    if held is None:
        raise Conflict(doing, container_id[:12], "it is running, or another command is working on it")
    return held


def find_free(paths: StorePaths, container_id: str, *, timeout_s: float = 0.0) -> Fd | None:
    """The container's lock, held; None when somebody holds it for longer than ``timeout_s``."""
    path = lock_path(paths, container_id)
    while True:
        found = _open(path)
        # A reader's shared lock lasts microseconds: never mistake it for an owner.
        if not lock(found.fileno(), max(timeout_s, 0.02)):
            found.close()
            return None
        if _is_current(found.fileno(), path):
            return found
        found.close()


def is_held(paths: StorePaths, container_id: str) -> bool:
    """Whether somebody alive is responsible for the container at this moment. Never waits."""
    try:
        fd = os.open(lock_path(paths, container_id), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    with Fd(fd) as found:
        return not try_lock(found.fileno(), shared=True)


def open_for_wait(paths: StorePaths, container_id: str) -> Fd | None:
    """The lock's file, not locked; None when the container is gone."""
    try:
        return Fd(os.open(lock_path(paths, container_id), os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        return None


def leave_exit_code(lock_fd: int, exit_code: int) -> None:
    """Write the exit code into the held lock's file, for those who wait on a container that is being removed."""
    os.pwrite(lock_fd, b"%d\n" % exit_code, 0)


def read_exit_code(lock_fd: int) -> int | None:
    """The exit code that the remover left, or None."""
    text = os.pread(lock_fd, 16, 0).strip()
    return int(text) if text.isdigit() else None


def remove(paths: StorePaths, container_id: str) -> None:
    """Remove the lock's file. Only its holder may."""
    try:
        os.unlink(lock_path(paths, container_id))
    except FileNotFoundError:
        return


def _open(path: str) -> Fd:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return Fd(os.open(path, flags, _MODE))
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        return Fd(os.open(path, flags, _MODE))


def _is_current(fd: int, path: str) -> bool:
    """Whether ``path`` still names the open file (it may have been removed while we waited)."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (status.st_dev, status.st_ino) == (mine.st_dev, mine.st_ino)
