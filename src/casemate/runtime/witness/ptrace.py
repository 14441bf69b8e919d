"""Watching other processes: ptrace(2), used only to look, never to change.

Whoever is watched goes on unharmed when its watcher dies: nothing here asks for PTRACE_O_EXITKILL.
Source: ptrace(2), linux/ptrace.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from casemate.kernel.libc import LONG, POINTER, KernelError, checked, declare

PTRACE_DETACH = 17
PTRACE_SYSCALL = 24
PTRACE_GETEVENTMSG = 0x4201
PTRACE_GETSIGINFO = 0x4202
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_LISTEN = 0x4208
PTRACE_GET_SYSCALL_INFO = 0x420E

PTRACE_O_TRACESYSGOOD = 1
PTRACE_O_TRACEFORK = 2
PTRACE_O_TRACEVFORK = 4
PTRACE_O_TRACECLONE = 8
PTRACE_O_TRACEEXEC = 16
FOLLOW_ALL = (
    PTRACE_O_TRACESYSGOOD
    | PTRACE_O_TRACEFORK
    | PTRACE_O_TRACEVFORK
    | PTRACE_O_TRACECLONE
    | PTRACE_O_TRACEEXEC
)

EVENT_EXEC = 4
EVENT_STOP = 128
SYSCALL_STOP = 5 | 0x80  # SIGTRAP, told from others by PTRACE_O_TRACESYSGOOD
WALL = 0x40000000  # wait(2): threads too

_ENTRY, _EXIT = 1, 2
_INFO_BYTES = 88
_ENTRY_FIELDS = struct.Struct("<B3xIQQQ6Q")  # op, arch, ip, sp, nr, args
_EXIT_FIELDS = struct.Struct("<B3xIQQqB")  # op, arch, ip, sp, rval, is_error

_ptrace = declare("ptrace", LONG, LONG, LONG, POINTER)
_info = ctypes.create_string_buffer(_INFO_BYTES)
_message = ctypes.c_ulong()


class Entry:
    """A system call as it was entered: AUDIT_ARCH_*, number, six arguments, instruction pointer."""

    __slots__ = ("arch", "args", "ip", "nr")

    def __init__(self, arch: int, nr: int, args: tuple[int, ...], ip: int) -> None:
        self.arch = arch
        self.nr = nr
        self.args = args
        self.ip = ip


def seize(pid: int) -> None:
    """Watch a thread and all that it will bear; it is not stopped.

    Raises: KernelError; EPERM when it may not be watched (another user's, or ptrace is forbidden on this host).
    Needs: the thread's user, or CAP_SYS_PTRACE over its user namespace; Linux 3.4.
    """
    checked(_ptrace(PTRACE_SEIZE, pid, 0, FOLLOW_ALL), "ptrace seize", pid)


def interrupt(pid: int) -> None:
    """Stop a watched thread once. Raises: KernelError, ESRCH when it has ended."""
    checked(_ptrace(PTRACE_INTERRUPT, pid, 0, None), "ptrace interrupt", pid)


def go_on(pid: int, signal: int = 0) -> bool:
    """Let a stopped thread run to its next system call's begin or end; False when it has ended meanwhile."""
    return _command(PTRACE_SYSCALL, pid, signal)


def let_go(pid: int) -> bool:
    """Watch a stopped thread no longer; the signal that it stopped for is forgotten. False when it has ended."""
    return _command(PTRACE_DETACH, pid, 0)


def stay_stopped(pid: int) -> bool:
    """Leave a thread in the group-stop that a signal asked for, until SIGCONT; False when it has ended."""
    return _command(PTRACE_LISTEN, pid, 0)


def _command(request: int, pid: int, data: int) -> bool:
    try:
        checked(_ptrace(request, pid, 0, data or None), "ptrace", pid)
    except KernelError as error:
        if error.errno == errno.ESRCH:
            return False
        raise
    return True


def event_message(pid: int) -> int:
    """The number that goes with an event stop: the new thread, or who executed a program; 0 when it has ended."""
    if _ptrace(PTRACE_GETEVENTMSG, pid, 0, ctypes.addressof(_message)) == -1:
        return 0
    return _message.value


def syscall_info(pid: int) -> Entry | int | None:
    """At a system call stop: the call as it begins, or its result as it ends (-errno: failed).

    None when the thread has ended.
    Needs: Linux 5.3.
    """
    if _ptrace(PTRACE_GET_SYSCALL_INFO, pid, _INFO_BYTES, ctypes.addressof(_info)) == -1:
        return None
    kind = _info[0][0]
    if kind == _ENTRY:
        _, arch, ip, _, nr, *args = _ENTRY_FIELDS.unpack_from(_info)
        return Entry(arch, nr, tuple(args), ip)
    if kind == _EXIT:
        result: int = _EXIT_FIELDS.unpack_from(_info)[4]
        return result
    return None


def signal_cause(pid: int) -> tuple[int, int, int]:
    """At a signal stop: (code, and for SIGSYS: system call number, architecture). Zeros when it has ended."""
    if _ptrace(PTRACE_GETSIGINFO, pid, 0, ctypes.addressof(_info)) == -1:
        return 0, 0, 0
    code, number, arch = struct.unpack_from("<i", _info, 8)[0], *struct.unpack_from("<iI", _info, 24)
    return code, number, arch


def wait_any() -> tuple[int, int] | None:
    """The next (thread, wait status) of all that are watched; None when there is nobody left."""
    try:
        return os.waitpid(-1, WALL)
    except ChildProcessError:
        return None
