"""One lock a container: whoever works on it.

Or keeps it while it runs, holds the flock on its file in the run directory.

The descriptor is handed to the keepers when a container starts, so that *held* means: somebody alive is
responsible. The file is
removed by whoever removes the container, holding the lock; its last words are the exit code, for those who
wait.
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
BEGUN, GONE = ".begun", ".gone"


def lock_path(paths: StorePaths, container_id: str) -> str:
    """Where the lock of a container is."""
    return f"{paths.run_root}/locks/{container_id}"


def acquire(
    paths: StorePaths, container_id: str, *, timeout_s: float = 0.0, doing: str = "lock container"
) -> Fd:
    """The container's lock, held.

    Raises: Conflict when somebody else holds it for longer than ``timeout_s``.
    """
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
    path = lock_path(paths, container_id)
    for name in (path + BEGUN, path):  # in the order in which they exist, so that a rename is not missed
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        with Fd(fd) as found:
            if not try_lock(found.fileno(), shared=True):
                return True
    return False


def open_for_wait(paths: StorePaths, container_id: str) -> Fd | None:
    """The lock's file, not locked; None when the container is gone."""
    try:
        return Fd(os.open(lock_path(paths, container_id), os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        return None


def begin(paths: StorePaths, container_id: str) -> Fd:
    """The held lock of a container that has no row yet.

    Its name says so: a file of that name without a holder is litter.
    """
    found = _open(lock_path(paths, container_id) + BEGUN)
    try_lock(found.fileno())
    return found


def publish(paths: StorePaths, container_id: str) -> None:
    """Give a lock that was begun its name: the row exists now.

    Between the two the row says "creating" and its lock is not found: ``is_held`` and ``find_free`` look for
    both names.
    """
    path = lock_path(paths, container_id)
    os.rename(path + BEGUN, path)


def retire(paths: StorePaths, container_id: str) -> None:
    """Say that the row is about to go: what is left of the lock after that is litter. Only its holder may."""
    path = lock_path(paths, container_id)
    try:
        os.rename(path, path + GONE)
    except FileNotFoundError:
        return


def iter_litter(paths: StorePaths) -> list[str]:
    """Paths of locks that belong to no row, whose makers or removers may have been killed."""
    directory = f"{paths.run_root}/locks"
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return [f"{directory}/{name}" for name in names if name.endswith((BEGUN, GONE))]


def remove_litter(path: str) -> bool:
    """Remove one such file unless somebody holds it; whether it was removed."""
    try:
        found = Fd(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
    except FileNotFoundError:
        return False
    with found:
        if not try_lock(found.fileno()) or not _is_current(found.fileno(), path):
            return False
        os.unlink(path)
    return True


def leave_exit_code(lock_fd: int, exit_code: int) -> None:
    """Write the exit code into the held lock's file, for those who wait while the container is removed."""
    try:
        os.pwrite(lock_fd, b"%d\n" % exit_code, 0)
    except OSError as error:  # a full disk keeps nobody from removing what fills it
        if error.errno != errno.ENOSPC:
            raise


def read_exit_code(lock_fd: int) -> int | None:
    """The exit code that the remover left, or None."""
    text = os.pread(lock_fd, 16, 0).strip()
    return int(text) if text.isdigit() else None


def remove(paths: StorePaths, container_id: str) -> None:
    """Remove the lock's file, whatever its name is by now. Only its holder may."""
    path = lock_path(paths, container_id)
    for name in (path, path + BEGUN, path + GONE):
        try:
            os.unlink(name)
        except FileNotFoundError:
            continue


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
