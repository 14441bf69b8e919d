"""The ``enter`` binary as a sealed file in memory, which no container can overwrite.

A container that reaches ``/proc/PID/exe`` of the process that enters it finds a file whose write seal cannot
be lifted (CVE-2019-5736). Where memory files may not be executed the installed path is used; it belongs to
the host's root and the entering process is not dumpable, which is the second line of the same defence.
"""

from __future__ import annotations

import errno
import fcntl
import os

from casemate.errors import Internal, Unavailable
from casemate.kernel import memfd
from casemate.kernel.libc import KernelError
from casemate.kernel.process import spawn

CONTROL_FD = 3
_OWNER_ONLY = 0o500  # a container's program with the interpreter /proc/self/exe must not run it
_HIGH = 10  # above every number that the child is given
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.ENOSYS, errno.ENOEXEC)

_sealed_fd = -1


def enter_path() -> str:
    """Path of the installed binary."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin", "enter")


def sealed_enter() -> int:
    """Descriptor of the sealed copy, made once and kept; -1 when memory files may not be executed."""
    global _sealed_fd  # noqa: PLW0603 - a cache of one descriptor
    if _sealed_fd < 0:
        try:
            with memfd.sealed("casemate-enter", _binary(), executable=True) as made:
                os.fchmod(made.fileno(), _OWNER_ONLY)
                _sealed_fd = fcntl.fcntl(made.fileno(), fcntl.F_DUPFD_CLOEXEC, _HIGH)
        except KernelError as error:
            if error.errno not in _FORBIDDEN:
                raise
            return -1
    return _sealed_fd


def spawn_enter(control_fd: int, title: str) -> int:
    """Start ``enter`` with ``control_fd`` (borrowed) as descriptor 3 and /dev/null as 0, 1 and 2; its pid.

    Raises: Internal when the binary is missing, Unavailable when no process can be made.
    """
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    fds = {0: null, 1: null, 2: null, CONTROL_FD: control_fd}
    try:
        copy = sealed_enter()
        if copy >= 0:
            try:
                return spawn(f"/proc/self/fd/{copy}", [title], env={}, fds=fds)
            except OSError as error:
                if error.errno not in _FORBIDDEN:
                    raise
        return spawn(enter_path(), [title], env={}, fds=fds)
    except OSError as error:
        raise Unavailable("start", "enter", error.strerror, hint="see: casemate doctor") from None
    finally:
        os.close(null)


def _binary() -> bytes:
    path = enter_path()
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        raise Internal(
            "read", path, error.strerror, hint="build it: python src/enter/build.py (a wheel carries it)"
        ) from None
