"""Namespaces: what kinds there are, which one a process is in, and how to enter one.

Python enters a namespace only in a child made for that one job, or a network namespace
for as long as opening a socket takes (``rtnetlink``); a container's mount namespace is
entered by the ``enter`` program alone.
"""

from __future__ import annotations

import fcntl
import os

from casemate.kernel.const.sched import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    NS_GET_PARENT,
    NS_GET_USERNS,
)
from casemate.kernel.fd import Fd
from casemate.kernel.libc import LONG, KernelError, checked, declare

#: The runtime-spec's name of each kind -> clone flag. The order is that of joining: user first, mount last.
FLAGS = {
    "user": CLONE_NEWUSER,
    "cgroup": CLONE_NEWCGROUP,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "network": CLONE_NEWNET,
    "pid": CLONE_NEWPID,
    "time": CLONE_NEWTIME,
    "mount": CLONE_NEWNS,
}

#: The same kinds -> file name below /proc/PID/ns.
FILES = {
    "user": "user",
    "cgroup": "cgroup",
    "ipc": "ipc",
    "uts": "uts",
    "network": "net",
    "pid": "pid",
    "time": "time",
    "mount": "mnt",
}

_setns = declare("setns", LONG, LONG)
_unshare = declare("unshare", LONG)


def setns(fd: int, kinds: int = 0) -> None:
    """Move this thread into the namespace behind ``fd``, or into several of the process behind a pidfd.

    ``kinds``: CLONE_NEW* flags; 0 accepts whatever kind a namespace file is, a pidfd needs them.
    Raises: KernelError; EINVAL for the wrong kind, or a user namespace while threads exist.
    Needs: CAP_SYS_ADMIN over the target; Linux 5.8 for a pidfd.
    Source: setns(2).
    """
    checked(_setns(fd, kinds), "setns", fd)


def unshare(kinds: int) -> None:
    """Give this process new namespaces of the kinds in the mask (CLONE_NEW*).

    Raises: KernelError; ENOSPC when user.max_*_namespaces is reached, EPERM where user namespaces are
    switched off.
    Source: unshare(2).
    """
    checked(_unshare(kinds), "unshare", f"{kinds:#x}")


def open_namespace(kind: str, pid: int | None = None) -> Fd:
    """The namespace file of a kind ("network") of a process, of the caller without ``pid``.

    A pid may have been reused: with one that is not your child, open a pidfd first and check it afterwards,
    or use ``setns`` on the pidfd.
    Raises: OSError.
    """
    who = "thread-self" if pid is None else str(pid)
    return Fd(os.open(f"/proc/{who}/ns/{FILES[kind]}", os.O_RDONLY | os.O_CLOEXEC))


def namespace_id(fd: int) -> tuple[int, int]:
    """What makes a namespace the same: device and inode of its file."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def find_namespace_id(kind: str, pid: int | None = None) -> tuple[int, int] | None:
    """As ``namespace_id`` for a process; None when it is gone, or the kernel has no such kind."""
    who = "thread-self" if pid is None else str(pid)
    try:
        found = os.stat(f"/proc/{who}/ns/{FILES[kind]}")
    except OSError:
        return None
    return found.st_dev, found.st_ino


def owning_userns(fd: int) -> Fd:
    """The user namespace that owns the namespace behind ``fd``.

    Raises: KernelError, EPERM when it lies outside the caller's own user namespace.
    Needs: Linux 4.9.
    Source: ioctl_ns(2).
    """
    return _ioctl(fd, NS_GET_USERNS, "NS_GET_USERNS")


def parent_namespace(fd: int) -> Fd:
    """The parent of a user or pid namespace.

    Raises: KernelError, EPERM at the top of what the caller may see.
    Needs: Linux 4.9.
    Source: ioctl_ns(2).
    """
    return _ioctl(fd, NS_GET_PARENT, "NS_GET_PARENT")


def _ioctl(fd: int, request: int, name: str) -> Fd:
    try:
        return Fd(fcntl.ioctl(fd, request))  # nsfs opens it with CLOEXEC
    except OSError as error:
        raise KernelError(error.errno or 0, f"ioctl {name}", fd) from None
