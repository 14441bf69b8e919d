"""Starting a container.

User and files of the image, specification, control group, program, keeper - and all of it undone when one
fails.
"""

from __future__ import annotations

import os
import sys
import time

from casemate import quickstart
from casemate.engine.life import locks
from casemate.engine.life.finish import cgroup_path, finish, settle, wait_for_end
from casemate.engine.life.session import Session
from casemate.engine.life.states import ACTIVE, container_dir, present_state
from casemate.engine.life.streams import Streams
from casemate.engine.life.surroundings import look_around, root_view, rootfs_of
from casemate.engine.life.undo import Undo
from casemate.engine.options import options_from
from casemate.engine.spec.build import build_spec
from casemate.engine.spec.confine import confinement
from casemate.engine.spec.users import resolve_user
from casemate.errors import Conflict, Internal
from casemate.kernel.fd import Fd
from casemate.kernel.procfs import boot_id, start_time
from casemate.kernel.socket_fds import listen_seqpacket
from casemate.oci.quick_json import dumps, loads
from casemate.runtime.container import start_container as start_program
from casemate.runtime.exitrecord import status_of
from casemate.runtime.request import ContainerRequest, KeeperOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.cgroups.manager import Cgroup
    from casemate.core.snapshots import RootFs
    from casemate.engine.options import Attach, ContainerOptions
    from casemate.engine.spec.build import Surroundings
    from casemate.runtime.request import Stdio
    from casemate.runtime.running import Running
    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store

LOG_MAX_BYTES = 10 << 20
LOG_FILES = 3
_WAIT_FOR_OTHERS_S = 10.0


def start_container(
    store: Store, row: ContainerRow, attach: Attach | None, *, lock: Fd | None = None, explain: bool = False
) -> Session:
    """Start the program of ``row``; the session of its caller (detached: only good for its pid).

    ``lock``: the held lock that ``create_container`` gave; closed in any case. ``explain``: see ``Container.why``.

    Raises: ProgramNotFound, NotExecutable, Conflict (running, or being removed), Invalid. A container that
    could not start is as before.
    """
    held = lock or locks.find_free(store.paths, row.id, timeout_s=_WAIT_FOR_OTHERS_S)
    if held is None:
        raise Conflict("start container", row.name, "it is running, or another command is working on it")
    with held:
        row = store.containers.get(row.id)
        is_first = lock is not None and row.state == "starting"
        if lock is not None:
            row.state = "created"  # what it is when the start fails
        state = present_state(store.paths, row, is_ours=True)
        if state.status in {"running", "paused"} or row.state in {"creating", "removing"}:
            raise Conflict("start container", row.name, f"it is {state.status}")
        if row.state in ACTIVE:
            row = settle(store, row)  # its last end had not been seen
        started = _Start(store, row, attach, is_first=is_first, explain=explain)
        with Undo() as undo:
            running, stdin = started.run(held, undo)
            undo.keep()
    return _session(store, row, started, running=running, stdin=stdin)


def _session(
    store: Store, row: ContainerRow, started: _Start, *, running: Running, stdin: Fd | None
) -> Session:
    """The caller's hold on what was started."""
    session: Session

    def wait() -> int:
        try:
            code = status_of(running.wait())
        except Internal:  # the keeper that we talk to was killed; its twin still writes the exit record
            code = wait_for_end(store, row.id)
        running.close()
        if started.explain:
            from casemate.engine.why.explain import explain

            session.explanation = explain(store, store.containers.get(row.id), ended_with=code)
        finish(store, row.id, in_passing=quickstart.ends_at_once)
        return code

    session = Session(
        pid=running.pid,
        start_time=start_time(running.pid) or 0,
        wait=wait,
        close=running.close,
        stdin=stdin,
        is_terminal=started.options.tty,
    )
    return session


class _Start:
    """One start under way."""

    def __init__(
        self, store: Store, row: ContainerRow, attach: Attach | None, *, is_first: bool, explain: bool
    ) -> None:
        """``is_first``: the row says "starting" since it was made, and its directory is new.

        ``explain``: what fails inside is written down.
        """
        self.store = store
        self.row = row
        self.attach = attach
        self.record: dict[str, Any] = loads(row.config, what="container record")
        self.options: ContainerOptions = options_from(self.record["options"])
        self.directory = container_dir(store.paths, row.id)
        self.changed = False
        self.is_first = is_first
        self.explain = explain or self.options.explain

    def run(self, held: Fd, undo: Undo) -> tuple[Running, Fd | None]:
        """Do it; every step that the row does not account for pushes its undoing."""
        store, row = self.store, self.row
        undo.push(lambda: store.containers.update(row.id, state=row.state, durable=False))
        around = look_around(store, row.id, self.options)
        rootfs = rootfs_of(store, row.id, self.options)
        spec = self.specification(around, rootfs)
        durable = not row.auto_remove
        if not self.is_first:
            store.containers.update(row.id, state="starting", pid=0, started_ns=time.time_ns(), durable=False)
            _forget_last_run(self.directory)
        cgroup = self.make_cgroup(spec, undo)
        place = Fd(os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        streams = Streams(self.attach, tty=self.options.tty, interactive=self.options.interactive)
        with place, streams:
            request = self.request(spec, rootfs, around, stdio=streams.stdio, cgroup=cgroup)
            if self.explain:
                from casemate.engine.why.watch import be_watched

                be_watched(request, place=place.fileno())
            running = self.launch(request, place=place.fileno(), lock_fd=held.fileno())
            stdin = streams.take_stdin(running.stdin)
        columns: dict[str, object] = {"config": dumps(self.record)} if self.changed else {}
        store.containers.update(
            row.id,
            state="running",
            pid=running.pid,
            start_time=start_time(running.pid) or 0,
            boot_id=boot_id(),
            durable=durable,
            **columns,
        )
        return running, stdin

    def specification(self, around: Surroundings, rootfs: RootFs) -> dict[str, Any]:
        """The OCI specification, after looking the user up in the image's own files."""
        from casemate.engine.life.etc import write_etc_files

        record, options = self.record, self.options
        with root_view(rootfs) as view:
            user = resolve_user(record["user"], view, groups=options.groups)
        wall = confinement(options, all_capabilities=around.all_capabilities)
        etc = write_etc_files(self.directory, record, options, around)
        return build_spec(record, options, wall=wall, user=user, around=around, etc_mounts=etc)

    def make_cgroup(self, spec: dict[str, Any], undo: Undo) -> Cgroup:
        """The container's control group with its limits."""
        from casemate.cgroups.manager import open_manager

        manager = open_manager(rootless=os.geteuid() != 0)
        resources = spec["linux"]["resources"]
        cgroup = manager.create(cgroup_path(self.row.id), resources=resources)
        undo.push(cgroup.remove)
        unenforced = cgroup.apply(resources)
        if unenforced != self.record.get("unenforced", []):
            self.record["unenforced"] = unenforced
            self.changed = True
        return cgroup

    def request(
        self, spec: dict[str, Any], rootfs: RootFs, around: Surroundings, *, stdio: Stdio, cgroup: Cgroup
    ) -> ContainerRequest:
        """What the runtime is asked for; the keeper's part is added by ``launch``."""
        wall = confinement(self.options, all_capabilities=around.all_capabilities)
        return ContainerRequest(
            self.row.id,
            spec,
            rootfs,
            cgroup=cgroup,
            stdio=stdio,
            seccomp_cache_dir=f"{self.store.paths.cache}/seccomp",
            landlock=wall.landlock,
            id_map=around.id_map,
            init=self.options.init,
        )

    def launch(self, request: ContainerRequest, *, place: int, lock_fd: int) -> Running:
        """Start the program under a keeper that holds the lock, writes log and exit record.

        And lets callers attach.
        """
        pidfile = os.open("pid", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=place)
        with Fd(pidfile), _listen(self.store, self.row.id) as listen:
            request.keeper = KeeperOptions(
                exit_dir_fd=place,
                log_dir_fd=place,
                lock_fd=lock_fd,
                listen_fd=listen.fileno(),
                pidfile_fd=pidfile,
                log_max_bytes=self.options.log_max_bytes or LOG_MAX_BYTES,
                log_files=self.options.log_files or LOG_FILES,
                exit_argv=self.exit_argv(),
                durable=not self.row.auto_remove,
            )
            return start_program(request)

    def exit_argv(self) -> list[str]:
        """What the keeper runs at the end: nobody else removes a detached --rm container.

        An attached caller does it itself.
        """
        if not self.row.auto_remove or self.attach is not None:
            return []
        paths = self.store.paths
        return [
            sys.executable,
            "-I",
            "-m",
            "casemate.engine.cleanup",
            paths.root,
            paths.run_root,
            self.row.id,
        ]


def _listen(store: Store, container_id: str) -> Fd:
    """The socket that later callers attach by."""
    directory = attach_dir(store)
    try:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with Fd(fd) as place:
        try:  # noqa: SIM105 - contextlib costs 1.5 ms
            os.unlink(container_id, dir_fd=place.fileno())
        except FileNotFoundError:
            pass
        return listen_seqpacket(place.fileno(), container_id)


def attach_dir(store: Store) -> str:
    """Where the sockets of running containers are."""
    return f"{store.paths.run_root}/attach"


def _forget_last_run(directory: str) -> None:
    """Remove the exit record and pid of an earlier run; its log stays, as docker's does."""
    for name in ("exit", "exit.tmp", "pid", "witness"):
        try:
            os.unlink(f"{directory}/{name}")
        except FileNotFoundError:
            continue
