"""`exec`: one more program in a running container, confined by the same code as its first one."""

from __future__ import annotations

from casemate.errors import Conflict, Invalid
from casemate.kernel.pidfd import has_ended
from casemate.runtime.cli.args import FLAG, LIST, VALUE, parse
from casemate.runtime.cli.main import warn
from casemate.runtime.cli.program.following import follow
from casemate.runtime.cli.program.stdio import (
    add_environment,
    announce,
    check_console,
    connect_to,
    direct_stdio,
)
from casemate.runtime.cli.record import load_record, read_file
from casemate.runtime.exec import exec_process
from casemate.runtime.plan import LEAVE
from casemate.runtime.request import ExecRequest, KeeperOptions
from casemate.runtime.users import parse_id, parse_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.cli.args import Arguments
    from casemate.runtime.cli.main import Settings
    from casemate.runtime.cli.record import Record
    from casemate.runtime.running import Running

OPTIONS = {
    "console-socket": VALUE,
    "pidfd-socket": VALUE,
    "cwd": VALUE,
    "env": LIST,
    "tty": FLAG,
    "user": VALUE,
    "additional-gids": LIST,
    "process": VALUE,
    "detach": FLAG,
    "pid-file": VALUE,
    "process-label": VALUE,
    "apparmor": VALUE,
    "no-new-privs": FLAG,
    "cap": LIST,
    "preserve-fds": VALUE,
    "ignore-paused": FLAG,
    "cgroup": LIST,
    "no-subreaper": FLAG,
}
SHORT = {
    "e": "env",
    "t": "tty",
    "u": "user",
    "g": "additional-gids",
    "p": "process",
    "d": "detach",
    "c": "cap",
}


def exec(settings: Settings, words: list[str]) -> int:  # noqa: A001 - the verb's name
    """Run a program in a container; return its exit code, or at once with --detach."""
    arguments = parse(words, OPTIONS, SHORT)
    arguments.expect(1)
    record = load_record(settings.root, arguments.operands[0])
    pidfd = record.open_first()
    _check_status(record, ignore_paused=arguments.flag("ignore-paused"))
    if pidfd is None:
        raise Conflict("run program", record.id, "container not running")
    with pidfd:
        running = _start(settings, record, arguments, pidfd.fileno())
    warn(settings, running.notes)
    announce(arguments, running.pid)
    if arguments.flag("detach"):
        running.close()
        return 0
    return follow(running)


def _check_status(record: Record, *, ignore_paused: bool) -> None:
    status = record.status()
    if status == "stopped":
        raise Conflict("run program", record.id, "cannot exec in a stopped container: container not running")
    if status == "paused" and not ignore_paused:
        raise Conflict(
            "run program", record.id, "cannot exec in a paused container (use --ignore-paused to override)"
        )
    if status == "creating":
        raise Conflict("run program", record.id, "the container is still being created")


def _start(settings: Settings, record: Record, arguments: Arguments, pidfd: int) -> Running:
    spec = record.spec()
    process = _process(arguments, spec)
    add_environment(spec, process, f"/proc/{record.pid}/root")
    if has_ended(pidfd):  # what was read by its number may have been a stranger's
        raise Conflict("run program", record.id, "container not running")
    detached = arguments.flag("detach")
    wanted = check_console(arguments, terminal=bool(process.get("terminal")), detached=detached)
    console = connect_to(wanted) if wanted else None
    try:
        stdio = direct_stdio(arguments, process, console)
        if stdio.tty and stdio.console_size is None and console is None:
            from casemate.runtime.cli.program.tty import window_size

            stdio.console_size = window_size(0)
        request = ExecRequest(
            id=record.id,
            pid=record.pid,
            pidfd=pidfd,
            process=process,
            spec=spec,
            cgroup=_group(record, arguments.list("cgroup")),
            stdio=stdio,
            keeper=KeeperOptions(mode=LEAVE) if detached else None,
            seccomp_cache_dir=f"{settings.root}/.seccomp",
            bundle_dir=record.bundle,
        )
        return exec_process(request)
    finally:
        if console is not None:
            console.close()


def _group(record: Record, wanted: list[str]) -> Any:
    group = record.cgroup()
    if not wanted or group is None:
        return group
    from casemate.runtime.cli.group.subgroup import open_subgroup

    return open_subgroup(group, wanted, record.open_cgroup)


def _process(arguments: Arguments, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the program: that of --process, or the container's own with what the options change."""
    path = arguments.value("process")
    process: dict[str, Any]
    if path:
        from casemate.runtime.schema.check import check_process
        from casemate.runtime.schema.document import read

        process = read(read_file(path), what=path)
        check_process(process, what=path)
    else:
        if len(arguments.operands) == 1:
            raise Invalid("run program", arguments.operands[0], "process args cannot be empty")
        process = dict(spec.get("process") or {})
        process["args"] = arguments.operands[1:]
        process["terminal"] = arguments.flag("tty")
        process.pop("consoleSize", None)
    _apply_options(arguments, process)
    return process


def _apply_options(arguments: Arguments, process: dict[str, Any]) -> None:
    if arguments.flag("tty"):
        process["terminal"] = True
    process["env"] = list(process.get("env") or ()) + arguments.list("env")
    if arguments.value("cwd"):
        process["cwd"] = arguments.value("cwd")
    if arguments.value("apparmor"):
        process["apparmorProfile"] = arguments.value("apparmor")
    if arguments.value("process-label"):
        process["selinuxLabel"] = arguments.value("process-label")
    if arguments.flag("no-new-privs"):
        process["noNewPrivileges"] = True
    user = dict(process.get("user") or {})
    if arguments.value("user"):
        uid, gid = parse_user(arguments.value("user"))
        if uid not in (0, user.get("uid", 0)) and not arguments.value("process"):
            process[
                "capabilities"
            ] = {}  # what the spec gives is for its own user: others have none, not even in reach
        user = {"uid": uid, "gid": user.get("gid", 0) if gid is None else gid}
    gids = [parse_id(text, what="group") for text in arguments.list("additional-gids")]
    if gids:
        user["additionalGids"] = list(user.get("additionalGids") or ()) + gids
    process["user"] = user
    _add_capabilities(arguments, process)


def _add_capabilities(arguments: Arguments, process: dict[str, Any]) -> None:
    extra = arguments.list("cap")
    if not extra:
        return
    sets = {name: list(values or ()) for name, values in (process.get("capabilities") or {}).items()}
    for name in ("bounding", "effective", "permitted"):
        sets.setdefault(name, []).extend(extra)
    process["capabilities"] = sets
