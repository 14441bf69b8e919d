"""Advisory locks that live as long as an open file description: whoever holds the descriptor holds the lock.

flock(2) is used rather than OFD locks: both belong to the open file description and pass through SCM_RIGHTS
and spawn, but a flock needs no write access and is the one that ``enter`` and shell scripts (flock(1))
understand. On NFS it becomes a byte-range lock of the process; casemate's run directory is never on NFS.
"""

from __future__ import annotations

import errno
import fcntl
import time

from casemate.kernel.libc import KernelError


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Take the lock if it is free; False when another open file description holds it.

    Raises: KernelError, ENOLCK.
    Source: flock(2).
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, "flock", fd) from None
    return True


def lock(fd: int, timeout_s: float | None = None, *, shared: bool = False) -> bool:
    """Wait for the lock, for ever without a time limit; False when the time is over first.

    With a limit it asks again after 0.2 ms, then ever later up to 50 ms: flock(2) has no time-out of its own.
    Raises: KernelError.
    """
    if timeout_s is None:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, "flock", fd) from None
        return True
    deadline = time.monotonic() + timeout_s
    pause_s = 0.0002
    while not try_lock(fd, shared=shared):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        time.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 2, 0.05)
    return True


def unlock(fd: int) -> None:
    """Give the lock up, for every copy of this descriptor."""
    fcntl.flock(fd, fcntl.LOCK_UN)
