"""Containers: a request becomes a plan, the plan a process. `exec.py` does the same for one more program.

The order of a start is the order of the calls in `plan_container`; `docs/architecture/follow-one-container.md` tells it in words.
"""

from __future__ import annotations

import os

from casemate.errors import Internal
from casemate.kernel.fd import Fd
from casemate.runtime.compile import devices, masks, mounts, namespaces, rootfs, terminal, validate
from casemate.runtime.compile.build import Build
from casemate.runtime.compile.confine import Confinement, add_confinement, add_exec
from casemate.runtime.launch import BORN
from casemate.runtime.ops import REPORT_CREATED
from casemate.runtime.plan import LEAVE
from casemate.runtime.running import Compiled, launch_compiled, set_keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.kernel.userns import IdMap
    from casemate.runtime.plan import Plan
    from casemate.runtime.request import ContainerRequest
    from casemate.runtime.running import Running

ASK_HOOKS = 2
ASK_NET_DEVICES = 6
ASK_WATCHER = 3
_PR_SET_DUMPABLE = 4
_DIRECTORY = 1


def plan_container(request: ContainerRequest) -> Plan:
    """Return the plan of a container without starting it. Close it."""
    compiled = _compile_container(request)
    compiled.close_ours()
    return compiled.build.plan


def start_container(request: ContainerRequest, *, deadline_s: float = 60.0) -> Running:
    """Start the container; return when its program runs (with a gate: when it waits there). Hooks have times of their own.

    Raises: Unsupported or Invalid before anything is made; afterwards the error of the failed operation, with everything undone.
    """
    compiled = _compile_container(request)

    def answer(code: int, pid: int) -> None:
        if code == BORN:
            if request.on_child is not None:
                request.on_child(pid)
        elif code == namespaces.ASK_MAPS:
            _map_ids(pid, compiled.build.id_map)
        elif code == ASK_NET_DEVICES:
            _move_net_devices(pid, request)
        elif code == ASK_HOOKS and request.hooks is not None:
            request.hooks(pid)
        elif code == ASK_WATCHER and request.watcher is not None:
            request.watcher(pid)
        elif compiled.build.agent is not None:
            compiled.build.agent.answer(code, request, pid=pid, first=pid)

    running = launch_compiled(compiled, answer, None if request.spec.get("hooks") else deadline_s)
    if request.cgroup is not None:
        request.cgroup.occupied()
    return running


def _move_net_devices(pid: int, request: ContainerRequest) -> None:
    from casemate.runtime.net_devices import move_all

    move_all(pid, request.spec["linux"]["netDevices"])


def _map_ids(pid: int, id_map: IdMap | None) -> None:
    from casemate.kernel.userns import write_maps

    if id_map is not None:
        write_maps(pid, id_map)


def _compile_container(request: ContainerRequest) -> Compiled:
    process = request.spec.get("process") or {}
    build = Build(title="casemate", spec=request.spec, process=process, stdio=request.stdio)
    streams = terminal.Streams()
    compiled = Compiled(build, streams, None)
    done = False
    try:
        _add_container(build, request, compiled)
        done = True
    finally:
        if not done:
            compiled.close()
    return compiled


def _add_container(build: Build, request: ContainerRequest, compiled: Compiled) -> None:
    """Compile the whole start, in the order in which it happens."""
    validate.refuse(request.spec)
    relayed = set_keeper(build, request.stdio, request.keeper, request.cgroup)
    namespaces.add_namespaces(build, id_map=request.id_map)
    build.maps_volumes = request.rootfs.kind == "overlay" and build.id_map is not None and build.privileged
    namespaces.add_maps(build, oom_score_adj=build.process.get("oomScoreAdj"))
    if build.process.get("scheduler") or build.process.get("ioPriority"):
        from casemate.runtime.compile.scheduling import add_priorities

        add_priorities(build)
    namespaces.add_cgroup(build, request.cgroup)
    namespaces.add_root_ids(build)
    build.inside("UMASK", 0)
    rootfs.add_root(build, request.rootfs)
    late = mounts.add_mounts(build, bundle_dir=request.bundle_dir, rootfs=request.rootfs)
    devices.add_devices(build)
    final = _add_sysctls(build) if build.linux.get("sysctl") else []
    namespaces.add_names(build)
    terminal.add_terminal(build, compiled.streams, console=True, relayed=relayed)
    masks.add_masks(build, request.rootfs, bundle_dir=request.bundle_dir)
    build.target(build.process.get("cwd") or "/", _DIRECTORY, meaning="make the working directory")
    if late or build.is_new("cgroup"):
        namespaces.add_cgroup_namespace(build)
        mounts.add_cgroup_mounts(build, late, cgroup=request.cgroup)
    if build.linux.get("netDevices"):
        build.inside("ASK", ASK_NET_DEVICES, meaning="move the network devices")
    if (
        request.hooks is not None or request.on_child is not None
    ):  # it goes no further before `on_child` has returned
        build.inside("ASK", ASK_HOOKS, meaning="run the hooks")
    hooks = build.spec.get("hooks") or {}
    if hooks.get("createContainer"):
        _add_hooks(build, request, compiled, "createContainer")
    rootfs.add_pivot(build, read_only=bool((request.spec.get("root") or {}).get("readonly")))
    build.flush_late()
    namespaces.add_joins(build)
    for name, value, slot in final:
        build.inside("WRITE", slot, value.encode(), 1, meaning=f"set {name} to {value}")
    terminal.add_streams(build, compiled.streams, relayed=relayed)
    how = Confinement(
        seccomp_cache_dir=request.seccomp_cache_dir,
        landlock=request.landlock,
        keyring=request.id if request.keyring else None,
        init=request.init,
    )
    add_confinement(build, how)
    _add_gate(build, request, compiled)
    if hooks.get("startContainer"):
        _add_hooks(build, request, compiled, "startContainer", filtered=_late_filter(build, how))
    if request.watcher is not None:
        _add_watcher(build)
    add_exec(build, how)


def _add_sysctls(build: Build) -> list[tuple[str, str, int]]:
    from casemate.runtime.compile.sysctls import add_sysctls

    return add_sysctls(build)


def _add_gate(build: Build, request: ContainerRequest, compiled: Compiled) -> None:
    """Report that the container is made, and wait for the word to execute the program, if there is a gate."""
    gate = request.gate_fd
    build.inside("BARRIER")
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


def _add_watcher(build: Build) -> None:
    """Wait until somebody watches. Without privilege only what is dumpable can be watched by its own user."""
    if not build.privileged:
        build.inside("PRCTL", _PR_SET_DUMPABLE, 1, 0, 0, 0, meaning="let its user watch the container")
    build.inside("ASK", ASK_WATCHER, meaning="have the container watched")


def _late_filter(build: Build, how: Confinement) -> bytes | None:
    """Return the seccomp filter that only exec would bring; without no_new_privs it is loaded before, and inherited."""
    return how.filter.program if build.process.get("noNewPrivileges") and how.filter is not None else None


def _add_hooks(
    build: Build, request: ContainerRequest, compiled: Compiled, stage: str, *, filtered: bytes | None = None
) -> None:
    """Compile hooks of one stage; they report to a pipe of ours, or to whoever opens the gate."""
    from casemate.runtime.compile.hooks import add_gated_hooks, add_hooks

    if request.hook_state is None:
        raise Internal("start the container", f"{stage} hooks", "their state was not given")
    if stage == "startContainer" and request.hook_report_fd is not None:
        add_gated_hooks(build, request.hook_state, request.hook_report_fd, filtered)
        return
    if compiled.hooks is None:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        compiled.hooks = Fd(reader)
        build.hook_report = build.plan.slot_of(writer, owned=True, label="hook report")
    add_hooks(build, stage, request.hook_state, report=build.hook_report, filtered=filtered)
