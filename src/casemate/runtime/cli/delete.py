"""`delete`: remove what was made for a container; --force kills it first, and succeeds when there is nothing."""

from __future__ import annotations

import os

from casemate.errors import CasemateError, Conflict, Corrupt, NotFound, TimedOut, Unsupported
from casemate.kernel.pidfd import pidfd_send_signal, wait_ended
from casemate.runtime.cli.args import FLAG, parse
from casemate.runtime.cli.group.ending import remove_group
from casemate.runtime.cli.main import warn
from casemate.runtime.cli.record import load_record, remove_directory, salvage_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.cli.main import Settings
    from casemate.runtime.cli.record import Record

OPTIONS = {"force": FLAG}
SHORT = {"f": "force"}
_SIGKILL = 9
_KILL_TIMEOUT_S = 10.0


def delete(settings: Settings, words: list[str]) -> int:
    """Delete a stopped (or created) container."""
    arguments = parse(words, OPTIONS, SHORT)
    arguments.expect(1, 1)
    force = arguments.flag("force")
    record = _find(settings.root, arguments.operands[0], force=force)
    if record is None:
        return 0
    if not force:
        status = record.status()
        if status not in ("stopped", "created"):
            raise Conflict(
                "delete container",
                record.id,
                f"cannot delete a container that is not stopped: {status}",
                hint="--force kills it first",
            )
    delete_record(settings, record)
    return 0


def _find(root: str, container_id: str, *, force: bool) -> Record | None:
    """Return the record, with ``force`` whatever is left of one; None when there is nothing to remove."""
    try:
        return load_record(root, container_id)
    except (NotFound, Corrupt, Unsupported):
        if not force:
            raise
    if not os.path.lexists(f"{root}/{container_id}"):
        return None
    return salvage_record(root, container_id)


def delete_record(settings: Settings, record: Record) -> None:
    """Kill what is left, remove the control group, run poststop hooks, forget the container."""
    group = record.cgroup()
    if group is not None and record.is_alive() and group.is_frozen():
        group.kill(_KILL_TIMEOUT_S)  # knows how to end who may not run
    kill_first(record)
    if group is not None:
        remove_group(group, _KILL_TIMEOUT_S)
    hooks = _poststop(record)
    state = record.state() if hooks else {}
    remove_directory(record.directory)
    if hooks:
        from casemate.runtime.cli.hooks import run_poststop

        warn(settings, run_poststop({"hooks": {"poststop": hooks}}, state))


def _poststop(record: Record) -> Any:
    """Return the poststop hooks; none when config.json is gone or broken, which must not keep the container here."""
    if not record.may_have_hooks("poststop"):
        return None
    try:
        return (record.spec().get("hooks") or {}).get("poststop")
    except (OSError, CasemateError, AttributeError):
        return None


def kill_first(record: Record) -> None:
    """Kill the first process and wait until it has ended; in a pid namespace everything ends with it."""
    pidfd = record.open_first()
    if pidfd is None:
        return
    with pidfd:
        pidfd_send_signal(pidfd.fileno(), _SIGKILL)
        if not wait_ended(pidfd.fileno(), _KILL_TIMEOUT_S):
            raise TimedOut("kill container", record.id, f"process {record.pid} has not ended")
