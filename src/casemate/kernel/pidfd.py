"""Process descriptors: the only names of processes that cannot come to mean another one."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal.py brings enum; the C module has no stub
import errno
import os
import select

from casemate.kernel.fd import Fd
from casemate.kernel.libc import LONG, KernelError, checked, declare
from casemate.kernel.procfs import start_time

_pidfd_getfd = declare("pidfd_getfd", LONG, LONG, LONG)


def pidfd_open(pid: int, flags: int = 0) -> Fd:
    """A descriptor of the process that has this pid now.

    For a process that is not the caller's own child the pid may already be another's: use ``open_same``.
    Raises: KernelError, ESRCH when there is none.
    Needs: Linux 5.3.
    Source: pidfd_open(2).
    """
    try:
        return Fd(os.pidfd_open(pid, flags))  # the interpreter's own call: ctypes costs 2 ms
    except OSError as error:
        raise KernelError(error.errno or 0, "pidfd_open", pid) from None


def open_same(pid: int, started: int) -> Fd | None:
    """A descriptor of the process that was recorded with this pid and start time; None when it has ended.

    The start time is read after the descriptor was opened: had the pid been reused before that, it differs.
    """
    try:
        found = pidfd_open(pid)
    except KernelError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return None
        raise
    if start_time(pid) != started or has_ended(found.fileno()):
        found.close()
        return None
    return found


def pidfd_send_signal(pidfd: int, signal: int) -> bool:
    """Send a signal; False when the process has ended already.

    Raises: KernelError, EPERM.
    Needs: Linux 5.1.
    Source: pidfd_send_signal(2).
    """
    try:
        _signal.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise KernelError(error.errno or 0, "pidfd_send_signal", f"{pidfd}, signal {signal}") from None
    return True


def pidfd_getfd(pidfd: int, number: int) -> Fd:
    """A copy of descriptor ``number`` of another process, closed on exec.

    Raises: KernelError; EPERM without ptrace access, EBADF when it has no such descriptor.
    Needs: Linux 5.6; PTRACE_MODE_ATTACH_REALCREDS.
    Source: pidfd_getfd(2).
    """
    return Fd(checked(_pidfd_getfd(pidfd, number, 0), "pidfd_getfd", f"{pidfd}, {number}"))


def has_ended(pidfd: int) -> bool:
    """Whether the process has ended (it may still be a zombie)."""
    return wait_ended(pidfd, 0)


def wait_ended(pidfd: int, timeout_s: float | None = None) -> bool:
    """Wait until the process has ended; False when time is up first. Reaps nothing, needs no kinship."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else max(0, round(timeout_s * 1000))))


def wait_status(pidfd: int, *, block: bool = True) -> int | None:
    """Reap a child: its exit code, or minus the signal that ended it; None while it runs, if not ``block``.

    Raises: ChildProcessError when it is not the caller's child or was reaped already.
    Needs: Linux 5.4.
    """
    options = os.WEXITED | (0 if block else os.WNOHANG)
    found = os.waitid(os.P_PIDFD, pidfd, options)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
