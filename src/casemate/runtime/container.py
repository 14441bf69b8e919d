"""Containers: a request becomes a plan, the plan a process. Start and exec share the code that confines.

The order of a start is the order of the calls in `plan_container`; `docs/architecture/follow-one-container.md` tells it in words.
"""

from __future__ import annotations

import os

from casemate.errors import Internal
from casemate.kernel.const.sched import CLONE_NEWPID, CLONE_NEWUSER
from casemate.kernel.fd import Fd
from casemate.kernel.socket_fds import recv_fds
from casemate.runtime.compile import devices, masks, mounts, namespaces, rootfs, terminal, validate
from casemate.runtime.compile.build import Build
from casemate.runtime.compile.confine import Confinement, add_confinement, add_exec
from casemate.runtime.launch import launch
from casemate.runtime.ops import REPORT_CREATED
from casemate.runtime.plan import LEAVE, WAIT, Keeper
from casemate.runtime.request import ContainerRequest, ExecRequest, KeeperOptions, Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from casemate.cgroups.manager import Cgroup
    from casemate.kernel.userns import IdMap
    from casemate.runtime.launch import Launched
    from casemate.runtime.plan import Plan

ASK_HOOKS = 2
ASK_START_HOOKS = 3
_DIRECTORY = 1

__all__ = [
    "ContainerRequest",
    "ExecRequest",
    "KeeperOptions",
    "Running",
    "Stdio",
    "exec_process",
    "plan_container",
    "start_container",
]


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


class _Compiled:
    """A plan with what stays on our side of it."""

    __slots__ = ("build", "gate", "streams")

    def __init__(self, build: Build, streams: terminal.Streams, gate: Fd | None) -> None:
        self.build = build
        self.streams = streams
        self.gate = gate

    def close(self) -> None:
        """Close everything: nothing was started."""
        self.build.plan.close()
        for fd in (self.streams.stdin_writer, self.streams.master_socket, self.gate):
            if fd is not None:
                fd.close()


def plan_container(request: ContainerRequest) -> Plan:
    """Return the plan of a container without starting it. Close it."""
    compiled = _compile_container(request)
    for fd in (compiled.streams.stdin_writer, compiled.streams.master_socket, compiled.gate):
        if fd is not None:
            fd.close()
    return compiled.build.plan


def start_container(request: ContainerRequest, *, deadline_s: float = 60.0) -> Running:
    """Start the container; return when its program runs (with a gate: when it waits there).

    Raises: Unsupported or Invalid before anything is made; afterwards the error of the failed operation, with everything undone.
    """
    compiled = _compile_container(request)

    def answer(code: int, pid: int) -> None:
        if code == namespaces.ASK_MAPS:
            _map_ids(pid, compiled.build.id_map)
        elif code == ASK_HOOKS and request.hooks is not None:
            request.hooks(pid)
        elif code == ASK_START_HOOKS and request.start_hooks is not None:
            request.start_hooks(pid)

    return _launch(compiled, answer, deadline_s)


def exec_process(request: ExecRequest, *, deadline_s: float = 60.0) -> Running:
    """Run one more program in a container, confined by the same code as its first one. Raises: as `start_container`."""
    return _launch(_compile_exec(request), None, deadline_s)


def plan_exec(request: ExecRequest) -> Plan:
    """Return the plan of an additional program without starting it. Close it."""
    return _compile_exec(request).build.plan


def _launch(compiled: _Compiled, answer: Any, deadline_s: float) -> Running:
    done = False
    try:
        launched = launch(compiled.build.plan, on_ask=answer, deadline_s=deadline_s)
        stdin = compiled.streams.stdin_writer
        if compiled.streams.master_socket is not None:
            stdin = _receive_master(compiled.streams.master_socket)
        done = True
    finally:
        if done:
            compiled.build.plan.close()
        else:
            compiled.close()
    return Running(
        launched, stdin=stdin, tty=compiled.build.stdio.tty, gate=compiled.gate, notes=compiled.build.notes
    )


def _receive_master(socket: Fd) -> Fd:
    with socket:
        _, fds = recv_fds(socket.fileno(), 16, 1)
    if len(fds) != 1:
        raise Internal("start the container", "terminal", "enter did not send it")
    return fds[0]


def _map_ids(pid: int, id_map: IdMap | None) -> None:
    from casemate.kernel.userns import write_maps

    if id_map is not None:
        write_maps(pid, id_map)


def _compile_container(request: ContainerRequest) -> _Compiled:
    process = request.spec.get("process") or {}
    build = Build(title="casemate", spec=request.spec, process=process, stdio=request.stdio)
    streams = terminal.Streams()
    compiled = _Compiled(build, streams, None)
    done = False
    try:
        _add_container(build, request, compiled)
        done = True
    finally:
        if not done:
            compiled.close()
    return compiled


def _add_container(build: Build, request: ContainerRequest, compiled: _Compiled) -> None:
    """Compile the whole start, in the order in which it happens."""
    validate.check(request.spec)
    relayed = _set_keeper(build, request.stdio, request.keeper, request.cgroup)
    namespaces.add_namespaces(build, id_map=request.id_map)
    build.maps_volumes = request.rootfs.kind == "overlay" and build.id_map is not None and build.privileged
    namespaces.add_maps(build, oom_score_adj=build.process.get("oomScoreAdj"))
    namespaces.add_cgroup(build, request.cgroup)
    namespaces.add_root_ids(build)
    build.inside("UMASK", 0)
    rootfs.add_root(build, request.rootfs)
    late = mounts.add_mounts(build, bundle_dir=request.bundle_dir, rootfs=request.rootfs)
    devices.add_devices(build)
    if build.linux.get("sysctl"):
        from casemate.runtime.compile.sysctls import add_sysctls

        add_sysctls(build)
    namespaces.add_names(build)
    terminal.add_terminal(build, compiled.streams, console=True, relayed=relayed)
    masks.add_masks(build, request.rootfs)
    build.target(build.process.get("cwd") or "/", _DIRECTORY, meaning="make the working directory")
    if late or build.is_new("cgroup"):
        namespaces.add_cgroup_namespace(build)
        mounts.add_cgroup_mounts(build, late, cgroup=request.cgroup)
    if request.hooks is not None:
        build.inside("ASK", ASK_HOOKS, meaning="run the hooks")
    rootfs.add_pivot(build, read_only=bool((request.spec.get("root") or {}).get("readonly")))
    build.flush_late()
    namespaces.add_joins(build)
    terminal.add_streams(build, compiled.streams, relayed=relayed)
    how = Confinement(
        seccomp_cache_dir=request.seccomp_cache_dir,
        landlock=request.landlock,
        keyring=request.id if request.keyring else None,
        init=request.init,
    )
    add_confinement(build, how)
    _add_gate(build, request, compiled)
    add_exec(build, how)


def _add_gate(build: Build, request: ContainerRequest, compiled: _Compiled) -> None:
    """Report that the container is made, and wait for the word to execute the program, if there is a gate."""
    gate = request.gate_fd
    build.inside("BARRIER")
    if request.start_hooks is not None:
        build.inside("ASK", ASK_START_HOOKS, meaning="run the startContainer hooks")
    if gate is None and request.hold:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        compiled.gate = Fd(writer)
        slot = build.plan.slot_of(reader, owned=True, label="gate")
    elif gate is not None:
        slot = build.plan.slot_of(gate, owned=False, label="gate")
    else:
        slot = -1
    if slot >= 0 or build.plan.keeper.mode == LEAVE:
        build.inside("REPORT", REPORT_CREATED)
    if slot >= 0:
        build.inside("WAIT", slot, meaning="wait for start")


def _set_keeper(build: Build, stdio: Stdio, options: KeeperOptions | None, cgroup: Cgroup | None) -> bool:
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


_AT_REMOVEDIR = 0x200


def _compile_exec(request: ExecRequest) -> _Compiled:
    build = Build(title="casemate", spec=request.spec, process=request.process, stdio=request.stdio)
    compiled = _Compiled(build, terminal.Streams(), None)
    done = False
    try:
        _add_exec(build, request, compiled.streams)
        done = True
    finally:
        if not done:
            compiled.close()
    return compiled


def _add_exec(build: Build, request: ExecRequest, streams: terminal.Streams) -> None:
    """Compile joining the container's namespaces and the same confinement as at its start.

    The child is born in the container's pid namespace, and without privilege in its user namespace, which gives the right to
    join the other one; the parent stays outside of both. Everything else is joined by the child, in one step, after it has
    entered the cgroup.
    """
    relayed = _set_keeper(build, request.stdio, request.keeper, None)
    target = build.plan.slot_of(request.pidfd, owned=False, label="container")
    flags = namespaces.joined_flags(build, request.pid)
    parent = flags & CLONE_NEWPID
    if not build.privileged:
        parent |= flags & CLONE_NEWUSER
    if parent:
        build.before("CHILD_NS", target, parent, meaning="join the container's pid namespace")
    namespaces.add_maps(build, oom_score_adj=request.process.get("oomScoreAdj"))
    namespaces.add_cgroup(build, request.cgroup)
    build.inside("BARRIER")
    if flags & ~parent:
        build.inside("SETNS", target, flags & ~parent, meaning="join the container's namespaces")
    denied = namespaces.setgroups_denied(request.pid)
    if build.own_userns:
        namespaces.become_root(build, request.pid, setgroups=not denied)
    build.root = build.slot()
    build.inside(
        "OPENAT2",
        build.root,
        -1,
        "/",
        os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC,
        0,
        0,
        meaning="open the container's root",
    )
    terminal.add_terminal(build, streams, console=False, relayed=relayed)
    terminal.add_streams(build, streams, relayed=relayed)
    how = Confinement(
        seccomp_cache_dir=request.seccomp_cache_dir,
        landlock=request.landlock,
        keyring=request.id if request.keyring else None,
        setgroups_denied=denied,
    )
    add_confinement(build, how)
    if build.plan.keeper.mode == LEAVE:
        build.inside("REPORT", REPORT_CREATED)
    add_exec(build, how)
