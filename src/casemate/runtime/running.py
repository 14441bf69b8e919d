"""What starting a container and running one more program in it share: the keeper, the launch, the running program."""

from __future__ import annotations

import os

from casemate.errors import CasemateError, Internal
from casemate.kernel.socket_fds import recv_fds
from casemate.runtime.launch import launch
from casemate.runtime.plan import LEAVE, WAIT, Keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from casemate.cgroups.manager import Cgroup
    from casemate.kernel.fd import Fd
    from casemate.runtime.compile.build import Build
    from casemate.runtime.compile.terminal import Streams
    from casemate.runtime.launch import Launched
    from casemate.runtime.request import KeeperOptions, Stdio

_AT_REMOVEDIR = 0x200


class Running:
    """A program that runs. ``stdin`` is the pipe's writing end, or the terminal's master; the caller owns what it takes.

    ``notes`` are sentences about what the spec asked and the host could not give exactly.
    """

    __slots__ = ("_gate", "_launched", "keeper_pid", "notes", "pid", "stdin", "tty")

    def __init__(
        self, launched: Launched, *, stdin: Fd | None, tty: bool, gate: Fd | None, notes: list[str]
    ) -> None:
        self._launched = launched
        self._gate = gate
        self.pid = launched.pid
        self.keeper_pid = launched.keeper_pid
        self.stdin = stdin
        self.tty = tty
        self.notes = notes

    @property
    def stdin_fd(self) -> int | None:
        """The descriptor to write input to, borrowed; None when there is none."""
        return None if self.stdin is None or self.stdin.closed else self.stdin.fileno()

    def fileno(self) -> int:
        """The control channel, for poll: readable when the program has ended."""
        return self._launched.fileno()

    def release(self) -> None:
        """Let a held program be executed."""
        if self._gate is not None:
            os.write(self._gate.fileno(), b"\0")
            self._gate.close()
            self._gate = None

    def wait(self, timeout_s: float | None = None) -> int:
        """The wait status of the program. Raises: TimedOut, Internal."""
        return self._launched.wait_exit(timeout_s)

    def close_stdin(self) -> None:
        """Close the writing end, so that the program reads end of file."""
        if self.stdin is not None:
            self.stdin.close()

    def close(self) -> None:
        """Let go of every descriptor; a program with a keeper of its own runs on."""
        self.close_stdin()
        if self._gate is not None:
            self._gate.close()
        self._launched.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Compiled:
    """A plan with what stays on our side of it."""

    __slots__ = ("build", "gate", "hooks", "streams")

    def __init__(self, build: Build, streams: Streams, gate: Fd | None) -> None:
        self.build = build
        self.streams = streams
        self.gate = gate
        self.hooks: Fd | None = None  # where hooks that run inside report failures

    def close(self) -> None:
        """Close everything: nothing was started."""
        self.build.plan.close()
        self.close_ours()

    def close_ours(self) -> None:
        """Close what is not the plan's."""
        for fd in (self.streams.stdin_writer, self.streams.master_socket, self.gate, self.hooks):
            if fd is not None:
                fd.close()


def launch_compiled(compiled: Compiled, answer: Any, deadline_s: float | None) -> Running:
    """Execute a compiled start. Raises: the error of the failed operation, with everything undone."""
    done = False
    try:
        launched = _launch(compiled, answer, deadline_s)
        stdin = compiled.streams.stdin_writer
        if compiled.streams.master_socket is not None:
            stdin = _receive_master(compiled.streams.master_socket)
        done = True
    finally:
        if done:
            compiled.build.plan.close()
            if compiled.hooks is not None:
                compiled.hooks.close()
        else:
            compiled.close()
    return Running(
        launched, stdin=stdin, tty=compiled.build.stdio.tty, gate=compiled.gate, notes=compiled.build.notes
    )


def _launch(compiled: Compiled, answer: Any, deadline_s: float | None) -> Launched:
    """Execute the plan; what a hook that failed reported is the error then."""
    try:
        return launch(compiled.build.plan, on_ask=answer, deadline_s=deadline_s)
    except CasemateError as error:
        if compiled.hooks is None:
            raise
        from casemate.runtime.compile.hooks import read_report

        failure = read_report(compiled.hooks.fileno(), error.doing)
        if failure is None:
            raise
        raise failure from error


def _receive_master(socket: Fd) -> Fd:
    with socket:
        _, fds = recv_fds(socket.fileno(), 16, 1)
    if len(fds) != 1:
        raise Internal("start the container", "terminal", "enter did not send it")
    return fds[0]


def set_keeper(build: Build, stdio: Stdio, options: KeeperOptions | None, cgroup: Cgroup | None) -> bool:
    """Describe what the parent does while the program runs; return whether it relays output."""
    plan = build.plan
    if options is None:
        plan.keeper = Keeper(WAIT, durable=False)
    else:
        plan.keeper = Keeper(
            options.mode,
            log_max_bytes=options.log_max_bytes,
            log_files=options.log_files,
            exit_argv=options.exit_argv,
            durable=options.durable,
        )
        for name, fd in (
            ("lock", options.lock_fd),
            ("pidfile", options.pidfile_fd),
            ("exit_dir", options.exit_dir_fd),
            ("log_dir", options.log_dir_fd),
            ("listen", options.listen_fd),
        ):
            if fd is not None:
                setattr(plan.keeper, name, plan.slot_of(fd, owned=False, label=name))
    kept = options is not None and options.mode != LEAVE and (stdio.tty or not options.discard)
    relayed = stdio.relay or kept
    if relayed:
        for name, fd in (("client_out", stdio.client_out), ("client_err", stdio.client_err)):
            if fd is not None:
                setattr(plan.keeper, name, plan.slot_of(fd, owned=False, label=name))
    if options is not None and cgroup is not None and options.mode != LEAVE:
        _add_after(build, cgroup)
    return relayed


def _add_after(build: Build, cgroup: Cgroup) -> None:
    """Let the keeper record the control group's last values and remove it when the program has ended."""
    for label, fd in cgroup.collect():
        build.plan.add("after", "COLLECT", build.plan.slot_of(fd, owned=True, label=label), label)
    for parent_fd, name in cgroup.dirs():
        slot = build.plan.slot_of(parent_fd, owned=True, label=f"parent of {name}")
        build.plan.add("after", "UNLINKAT", slot, name, _AT_REMOVEDIR)
