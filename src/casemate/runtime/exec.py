"""One more program in a running container, confined by the same code as its first one."""

from __future__ import annotations

import os

from casemate.errors import Conflict
from casemate.kernel.const.sched import CLONE_NEWPID, CLONE_NEWUSER
from casemate.kernel.pidfd import has_ended
from casemate.runtime.compile import namespaces, terminal
from casemate.runtime.compile.build import Build
from casemate.runtime.compile.confine import Confinement, add_confinement, add_exec
from casemate.runtime.ops import REPORT_CREATED
from casemate.runtime.plan import LEAVE
from casemate.runtime.running import Compiled, launch_compiled, set_keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.runtime.plan import Plan
    from casemate.runtime.request import ExecRequest
    from casemate.runtime.running import Running

_PRIORITIES = ("scheduler", "ioPriority", "execCPUAffinity")
_RARE = frozenset({*_PRIORITIES, "apparmorProfile", "selinuxLabel"})


def exec_process(request: ExecRequest, *, deadline_s: float = 60.0) -> Running:
    """Run one more program in a container, confined by the same code as its first one. Raises: as `start_container`."""
    compiled = _compile_exec(request)

    def answer(code: int, pid: int) -> None:
        if compiled.build.agent is not None:
            compiled.build.agent.answer(code, request, pid=pid, first=request.pid)

    return launch_compiled(compiled, answer, deadline_s)


def plan_exec(request: ExecRequest) -> Plan:
    """Return the plan of an additional program without starting it. Close it."""
    return _compile_exec(request).build.plan


def _compile_exec(request: ExecRequest) -> Compiled:
    build = Build(title="casemate", spec=request.spec, process=request.process, stdio=request.stdio)
    compiled = Compiled(build, terminal.Streams(), None)
    done = False
    try:
        _add_exec(build, request, compiled.streams)
        if has_ended(request.pidfd):  # what was read by the process's number may have been a stranger's
            raise Conflict("join the container", request.id, "container not running: its process has ended")
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
    if not _RARE.isdisjoint(request.process):
        from casemate.runtime.compile.validate import refuse_process

        refuse_process(request.process, request.spec.get("linux") or {})
    relayed = set_keeper(build, request.stdio, request.keeper, None)
    target = build.plan.slot_of(request.pidfd, owned=False, label="container")
    flags = namespaces.joined_flags(build, request.pid)
    parent = flags & CLONE_NEWPID
    if not build.privileged:
        parent |= flags & CLONE_NEWUSER
    if parent:
        build.before("CHILD_NS", target, parent, meaning="join the container's pid namespace")
    if parent & CLONE_NEWUSER:
        namespaces.add_inherited_score(build, oom_score_adj=request.process.get("oomScoreAdj"))
    else:
        namespaces.add_maps(build, oom_score_adj=request.process.get("oomScoreAdj"))
    _add_cgroup(build, request)
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


def _add_cgroup(build: Build, request: ExecRequest) -> None:
    """Compile entering the control group, and what shall be served how before and after that."""
    if not any(build.process.get(name) for name in _PRIORITIES):
        namespaces.add_cgroup(build, request.cgroup)
        return
    from casemate.runtime.compile import scheduling

    scheduling.add_priorities(build)
    scheduling.add_first_affinity(build)
    namespaces.add_cgroup(build, request.cgroup)
    scheduling.add_final_affinity(build)
