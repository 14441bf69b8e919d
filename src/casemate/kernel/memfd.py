"""Files in memory, sealed so that nobody, not even their maker, can change them any more."""

from __future__ import annotations

import errno
import fcntl
import os

from casemate.kernel.const.memfd import (
    F_ADD_SEALS,
    F_GET_SEALS,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    MFD_ALLOW_SEALING,
    MFD_CLOEXEC,
    MFD_EXEC,
    MFD_NOEXEC_SEAL,
)
from casemate.kernel.fd import Fd
from casemate.kernel.libc import KernelError

ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE


def create(name: str, *, executable: bool = False) -> Fd:
    """An empty, sealable file in memory; from Linux 6.3 on one for data can never be made executable.

    Raises: KernelError; EACCES where vm.memfd_noexec=2 forbids an executable one.
    Source: memfd_create(2).
    """
    flags = MFD_CLOEXEC | MFD_ALLOW_SEALING
    try:
        return Fd(os.memfd_create(name, flags | (MFD_EXEC if executable else MFD_NOEXEC_SEAL)))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise KernelError(error.errno or errno.EIO, "memfd_create", name) from None
    try:  # before 6.3 neither flag exists
        return Fd(os.memfd_create(name, flags))
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, "memfd_create", name) from None


def sealed(name: str, data: bytes, *, executable: bool = False) -> Fd:
    """A file in memory that holds ``data`` and can never change again; its offset is 0.

    Raises: KernelError.
    """
    made = create(name, executable=executable)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(made.fileno(), view) :]
        os.lseek(made.fileno(), 0, os.SEEK_SET)
        seal(made.fileno())
    except BaseException:
        made.close()
        raise
    return made


def seal(fd: int) -> None:
    """Forbid writing, growing, shrinking and further seals.

    Raises: KernelError; EBUSY while a writable mapping exists.
    Source: fcntl(2), F_ADD_SEALS.
    """
    try:
        fcntl.fcntl(fd, F_ADD_SEALS, ALL_SEALS)
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, "fcntl F_ADD_SEALS", fd) from None


def is_sealed(fd: int) -> bool:
    """Whether the content behind ``fd`` cannot change any more (False for what is no memory file)."""
    try:
        return fcntl.fcntl(fd, F_GET_SEALS) & ALL_SEALS == ALL_SEALS
    except OSError:
        return False
