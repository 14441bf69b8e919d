"""A plan goes to ``enter``, its reports come back, and failures become errors that name what failed."""

from __future__ import annotations

import errno
import os
import select
import struct
import time

from casemate.errors import (
    AlreadyExists,
    CasemateError,
    Conflict,
    Denied,
    Exhausted,
    Internal,
    Invalid,
    NotExecutable,
    NotFound,
    ProgramNotFound,
    TimedOut,
    Unsupported,
)
from casemate.kernel import memfd
from casemate.kernel.libc import KernelError
from casemate.kernel.socket_fds import recv_fds, send_fds, socketpair_seqpacket
from casemate.runtime.ops import REPORT_CREATED
from casemate.runtime.plan import KEEP, LEAVE
from casemate.runtime.sealed import spawn_enter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from casemate.kernel.fd import Fd
    from casemate.runtime.plan import Argument, Operation, Plan

    OnAsk = Callable[[int, int], None]

MESSAGE = struct.Struct("<IIiIQ")  # struct message in src/enter/enter.h
CHILD, REPORT, ASK, FAIL, EXECED, EXIT = range(1, 7)
FDS_PER_MESSAGE = 250
BORN = 0  # not asked: the child has just been born
GO_ON, ABORT = b"\0", b"\1"
NO_PROGRAM = 255  # FAIL before any operation: the plan itself was refused


class Launched:
    """A container's first process, as far as its launcher knows it. A context manager; closing kills nothing.

    ``pid`` and ``keeper_pid`` are numbers in the caller's pid namespace, ``reports`` the codes of REPORT so
    far, ``status`` the wait status once it is known.
    """

    __slots__ = ("_control", "_reap", "keeper_pid", "pid", "reports", "status")

    def __init__(self, control: Fd, enter_pid: int) -> None:
        self._control = control
        self._reap = enter_pid
        self.pid = 0
        self.keeper_pid = 0
        self.reports: list[int] = []
        self.status: int | None = None

    def fileno(self) -> int:
        """The control channel, for poll: readable when the exit status has come."""
        return self._control.fileno()

    def wait_exit(self, timeout_s: float | None = None) -> int:
        """The wait status of the child, after its output was delivered and its exit record is durable.

        Raises: TimedOut; Internal when the keeper was killed (its exit record then says more).
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self.status is None:
            message = _receive(self._control, deadline, "wait for the container")
            if message is None:
                raise Internal("wait for the container", self.pid, "its keeper went away")
            if message[0] == EXIT:
                self.status = message[2]
        self.close()
        return self.status

    def detach(self) -> None:
        """Let go: output no longer goes to the descriptors given at the start, the keeper stays."""
        self.close()

    def close(self) -> None:
        """Close the control channel; reap ``enter`` when it is known to have ended or about to."""
        self._control.close()
        if self._reap and self.status is not None:
            self.reap()

    def reap(self) -> None:
        """Wait for the ``enter`` process that this process spawned."""
        pid, self._reap = self._reap, 0
        if pid:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                return  # the caller has SIGCHLD ignored, or waits for all its children

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def launch(plan: Plan, *, on_ask: OnAsk | None = None, deadline_s: float | None = 60.0) -> Launched:
    """Execute ``plan`` until the program runs (mode LEAVE: until REPORT 1), or leave nothing behind.

    ``on_ask(code, pid)`` is called for each ASK, ``pid`` being 0 before the child exists, and with BORN when the
    child exists, which does not wait for the answer: what is done then costs no time. When it raises,
    everything is undone and the exception goes on. The plan's descriptors stay the caller's: call
    ``plan.close()``.
    Raises: ProgramNotFound (exit 127), NotExecutable (126), or the category of the failed operation's errno,
    with its meaning; TimedOut after ``deadline_s`` seconds (None: never) without the program running.
    """
    ours, theirs = socketpair_seqpacket()
    with theirs:
        launched = Launched(ours, spawn_enter(theirs.fileno(), plan.title))
    done = False
    try:
        _send_plan(ours, plan)
        _follow(launched, plan, on_ask, None if deadline_s is None else time.monotonic() + deadline_s)
        done = True
    finally:
        if not done:
            ours.close()  # enter sees this, kills the child, runs `after` and ends
            launched.reap()
    if plan.keeper.mode in (LEAVE, KEEP):
        launched.reap()  # it has left, or ended after it had made its keepers
    if plan.keeper.mode == LEAVE:
        launched.close()
    return launched


def _send_plan(control: Fd, plan: Plan) -> None:
    """Send the sealed plan and all descriptors."""
    with memfd.sealed("casemate-plan", plan.encode()) as data:
        fds = [data.fileno(), *plan.fds]
        for start in range(0, len(fds), FDS_PER_MESSAGE):
            _tell(control, b"MORE" if start else b"PLAN", fds[start : start + FDS_PER_MESSAGE])


def _tell(control: Fd, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send to ``enter``; when it is gone, its last words, still to be read, explain more than EPIPE."""
    try:
        send_fds(control.fileno(), data, list(fds))
    except KernelError as error:
        if error.errno not in (errno.EPIPE, errno.ECONNRESET):
            raise


def _follow(launched: Launched, plan: Plan, on_ask: OnAsk | None, deadline: float | None) -> None:
    """Receive messages until the program runs."""
    while True:
        message = _receive(launched._control, deadline, "start the container")  # noqa: SLF001 - same module
        if message is None:
            raise _lost(launched)
        kind, first, number, program, detail = message
        if kind == CHILD:
            launched.pid, launched.keeper_pid = number, first
            if on_ask is not None:
                on_ask(BORN, number)
        elif kind == REPORT:
            launched.reports.append(first)
            if plan.keeper.mode == LEAVE and first == REPORT_CREATED:
                return
        elif kind == ASK:
            _answer(launched, on_ask, first, number or launched.pid)
        elif kind == EXECED:
            return
        elif kind == FAIL:
            raise failure(plan.operation(program, first), number, detail, program=program)
        else:
            raise Internal("start the container", why=f"enter sent message {kind}")


def _answer(launched: Launched, on_ask: OnAsk | None, code: int, pid: int) -> None:
    if on_ask is not None:
        on_ask(code, pid)
    _tell(launched._control, GO_ON)  # noqa: SLF001 - same module


def _lost(launched: Launched) -> CasemateError:
    return Internal("start the container", launched.pid or "", "enter ended without a report")


def _receive(control: Fd, deadline: float | None, doing: str) -> tuple[int, int, int, int, int] | None:
    """The next message, None when the channel was closed. Raises: TimedOut."""
    poll = select.poll()
    poll.register(control.fileno(), select.POLLIN)
    left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
    if not poll.poll(left):
        raise TimedOut(doing, why="the time allowed for it has passed")
    try:
        data, _ = recv_fds(control.fileno(), MESSAGE.size)
    except KernelError as error:
        if error.errno != errno.ECONNRESET:
            raise
        # enter ended without reading our last answer; the kernel says so once, before what enter said last
        data, _ = recv_fds(control.fileno(), MESSAGE.size)
    if len(data) != MESSAGE.size:
        return None
    kind, first, number, program, detail = MESSAGE.unpack(data)
    return kind, first, number, program, detail


_CATEGORIES: dict[int, type[CasemateError]] = {
    errno.ENOENT: NotFound,
    errno.ENOTDIR: Invalid,
    errno.EISDIR: Invalid,
    errno.ELOOP: Invalid,
    errno.EINVAL: Invalid,
    errno.ENAMETOOLONG: Invalid,
    errno.EXDEV: Denied,
    errno.EPERM: Denied,
    errno.EACCES: Denied,
    errno.EROFS: Denied,
    errno.EEXIST: AlreadyExists,
    errno.EBUSY: Conflict,
    errno.ESTALE: Conflict,
    errno.ENOSPC: Exhausted,
    errno.EDQUOT: Exhausted,
    errno.ENOMEM: Exhausted,
    errno.EMFILE: Exhausted,
    errno.ENFILE: Exhausted,
    errno.EAGAIN: Exhausted,
    errno.ENOSYS: Unsupported,
    errno.EOPNOTSUPP: Unsupported,
    errno.ENODEV: Unsupported,
    errno.EAFNOSUPPORT: Unsupported,
    errno.ETIMEDOUT: TimedOut,
}
_ABSENT = (errno.ENOENT, errno.ENOTDIR)


def failure(op: Operation | None, number: int, detail: int, *, program: int = 2) -> CasemateError:
    """The error for a failed operation: its meaning, its errno as a category, its name for the curious."""
    if op is None:
        refused = program == NO_PROGRAM and detail
        why = f"the plan was refused (check {detail})" if refused else os.strerror(number)
        return Internal("start the container", why=why)
    if detail >> 32:
        why = f"killed by signal {detail >> 32} during {op.name}"
        return Internal(op.meaning or "start the container", why=why, hint=op.hint)
    why = f"{os.strerror(number)} ({op.name}, errno {number})"
    if op.name in ("EXEC", "FIND_EXEC"):
        subject = _program(op)
        if number in _ABSENT:
            return ProgramNotFound(op.meaning or "run", subject, os.strerror(number), hint=op.hint)
        return NotExecutable(op.meaning or "run", subject, os.strerror(number), hint=op.hint)
    category = _CATEGORIES.get(number, Internal)
    return category(op.meaning or op.name, why=why, hint=op.hint)


def _program(op: Operation) -> str:
    argv: Argument = op.args[0]
    if not isinstance(argv, (list, tuple)) or not argv:
        return ""
    first = str(argv[0])
    return os.path.basename(first) if op.name == "FIND_EXEC" and len(argv) > 1 else first
