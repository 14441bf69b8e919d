"""Running another program in a running container.

Same user rules, same wall, same code as the first program.
"""

from __future__ import annotations

import os

from casemate.engine.life.finish import cgroup_path
from casemate.engine.life.running import running_process
from casemate.engine.life.session import Session
from casemate.engine.life.states import present_state
from casemate.engine.life.streams import Streams
from casemate.engine.life.surroundings import look_around, root_view, rootfs_of
from casemate.engine.options import options_from
from casemate.engine.spec.build import build_spec, exec_process
from casemate.engine.spec.confine import confinement
from casemate.engine.spec.process import build_cwd, expand_env
from casemate.engine.spec.users import resolve_user
from casemate.errors import Invalid
from casemate.kernel.procfs import start_time
from casemate.oci.quick_json import dumps, loads
from casemate.runtime.exec import exec_process as run_process
from casemate.runtime.exitrecord import status_of
from casemate.runtime.plan import KEEP
from casemate.runtime.request import ExecRequest, KeeperOptions

_PRIVILEGED = "exec --privileged"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from casemate.engine.options import Attach, ExecOptions
    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store


def exec_in_container(  # noqa: PLR0917 - the public verb, one caller
    store: Store, row: ContainerRow, argv: Sequence[str], options: ExecOptions, attach: Attach | None
) -> Session:
    """Start ``argv`` inside; the session of its caller.

    Raises: Conflict (not running, paused), ProgramNotFound, NotExecutable, Invalid, NotFound (user).
    """
    if not argv or not argv[0]:
        raise Invalid("exec in container", row.name, "no command specified")
    streams = Streams(attach, tty=options.tty, interactive=options.interactive, relay=not options.detach)
    with running_process(store, row, "exec in container") as process, streams:
        request = _request(store, row, argv, options)
        request.stdio = streams.stdio
        request.pid, request.pidfd = present_state(store.paths, row).pid, process.fileno()
        if options.privileged:
            _record_relaxation(store, row.id)
        running = run_process(request)
        stdin = streams.take_stdin(running.stdin)

    def wait() -> int:
        code = status_of(running.wait())
        running.close()
        return code

    return Session(
        pid=running.pid,
        start_time=start_time(running.pid) or 0,
        wait=wait,
        close=running.close,
        stdin=stdin,
        is_terminal=options.tty,
    )


def _record_relaxation(store: Store, container_id: str) -> None:
    """A program that was let out of the wall stays visible in the container's list of relaxations."""
    record: dict[str, Any] = loads(store.containers.get(container_id).config, what="container record")
    if _PRIVILEGED not in record["relaxed"]:
        record["relaxed"].append(_PRIVILEGED)
        store.containers.update(container_id, config=dumps(record))


def _request(store: Store, row: ContainerRow, argv: Sequence[str], options: ExecOptions) -> ExecRequest:
    from casemate.cgroups.manager import open_manager

    record: dict[str, Any] = loads(row.config, what="container record")
    container = options_from(record["options"])
    if options.privileged:
        container.privileged = True
    around = look_around(store, row.id, container)
    wall = confinement(container, all_capabilities=around.all_capabilities)
    with root_view(rootfs_of(store, row.id, container)) as view:
        user = resolve_user(
            record["user"] if options.user is None else options.user, view, groups=container.groups
        )
    spec = build_spec(record, container, wall=wall, user=user, around=around, etc_mounts=())
    changed = _changed(record, argv, options)
    process = exec_process(changed, wall=wall, user=user, around=around, tty=options.tty)
    process["rlimits"] = spec["process"]["rlimits"]
    return ExecRequest(
        id=row.id,
        pid=0,
        pidfd=-1,
        process=process,
        spec=spec,
        cgroup=open_manager(rootless=os.geteuid() != 0).open(cgroup_path(row.id)),
        keeper=KeeperOptions(mode=KEEP, discard=True) if options.detach else None,
        seccomp_cache_dir=f"{store.paths.cache}/seccomp",
        landlock=wall.landlock,
    )


def _changed(record: dict[str, Any], argv: Sequence[str], options: ExecOptions) -> dict[str, Any]:
    return {
        **record,
        "argv": list(argv),
        "env": [*record["env"], *expand_env(options.env, options.env_files, os.environ)],
        "cwd": build_cwd(record["cwd"], options.workdir),
        "tty": options.tty,
    }
