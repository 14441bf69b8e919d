"""`delete`: remove what was made for a container; --force kills it first, and succeeds when there is nothing."""

from __future__ import annotations

import os

from casemate.errors import Conflict, Invalid, NotFound, TimedOut
from casemate.kernel.pidfd import open_same, pidfd_send_signal, wait_ended
from casemate.runtime.cli.args import FLAG, parse
from casemate.runtime.cli.main import warn
from casemate.runtime.cli.record import check_id, load_record, remove_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.runtime.cli.main import Settings
    from casemate.runtime.cli.record import Record

_SIGKILL = 9
_KILL_TIMEOUT_S = 10.0


def delete(settings: Settings, words: list[str]) -> int:
    """Delete a stopped (or created) container."""
    arguments = parse(words, {"force": FLAG}, {"f": "force"})
    if len(arguments.operands) != 1:
        raise Invalid("read command line", "", "one container id is expected")
    force = arguments.flag("force")
    try:
        record = load_record(settings.root, arguments.operands[0])
    except NotFound:
        if not force:
            raise
        remove_directory(f"{settings.root}/{check_id(arguments.operands[0])}")
        return 0
    status = record.status()
    if status not in ("stopped", "created") and not force:
        raise Conflict(
            "delete container", record.id, f"cannot delete a container that is not stopped: {status}"
        )
    delete_record(settings, record)
    return 0


def delete_record(settings: Settings, record: Record) -> None:
    """Kill what is left, remove the control group, run poststop hooks, forget the container."""
    kill_first(record)
    group = record.cgroup()
    if group is not None:
        group.kill(_KILL_TIMEOUT_S)
        group.remove()
    hooks = None
    if os.path.exists(f"{record.directory}/config.json"):
        spec = record.spec()
        hooks = (spec.get("hooks") or {}).get("poststop")
    state = record.state() if hooks else {}
    remove_directory(record.directory)
    if hooks:
        from casemate.runtime.cli.hooks import run_poststop

        warn(settings, run_poststop(spec, state))


def kill_first(record: Record) -> None:
    """Kill the first process and wait until it has ended; in a pid namespace everything ends with it."""
    if not record.is_alive():
        return
    pidfd = open_same(record.pid, int(record.data.get("start_time") or 0))
    if pidfd is None:
        return
    with pidfd:
        pidfd_send_signal(pidfd.fileno(), _SIGKILL)
        if not wait_ended(pidfd.fileno(), _KILL_TIMEOUT_S):
            raise TimedOut("kill container", record.id, f"process {record.pid} has not ended")
