"""What state a container is in: its row, its lock and its exit record, read together.

Readers never wait and never write.
"""

from __future__ import annotations

import os

from casemate.engine.life.locks import is_held
from casemate.errors import Corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from casemate.store.containers import ContainerRow
    from casemate.store.paths import StorePaths

ACTIVE = ("creating", "starting", "running", "paused", "removing")
"""States in which somebody alive should be responsible: what recovery looks at."""
UNKNOWN_EXIT = 255
"""Exit code of a program whose end nobody saw (docker's, after its daemon was killed)."""


class Present:
    """The state at this moment.

    ``oom_killed``, ``finished_ns`` and ``exit_code`` mean something in state "exited".
    """

    __slots__ = ("dropped", "exit_code", "finished_ns", "has_keeper", "oom_killed", "pid", "status")

    def __init__(self, status: str, *, pid: int = 0, has_keeper: bool = False) -> None:
        self.status = status
        self.pid = pid
        self.has_keeper = has_keeper
        self.exit_code = 0
        self.finished_ns = 0
        self.oom_killed = False
        self.dropped = 0


def container_dir(paths: StorePaths, container_id: str) -> str:
    """The durable directory of a container: log, exit record, generated files."""
    return f"{paths.containers}/{container_id}"


def present_state(paths: StorePaths, row: ContainerRow, *, is_ours: bool = False) -> Present:
    """The state of ``row`` now; costs no system call for a container that does not run.

    ``is_ours``: the caller holds the lock, so that no keeper can.
    """
    if row.state not in ACTIVE:
        return _settled(row)
    held = not is_ours and is_held(paths, row.id)
    if row.state in {"creating", "removing"}:
        return Present("created" if row.state == "creating" else "removing", has_keeper=held)
    if held:
        pid = row.pid or read_pid(paths, row.id)
        status = row.state if row.state != "starting" else ("running" if pid else "created")
        return Present(status, pid=pid, has_keeper=True)
    ended = read_exit(paths, row.id)
    if ended is not None:
        return ended
    if row.pid and is_alive(row):
        return Present(row.state, pid=row.pid)
    return _lost(row)


def is_alive(row: ContainerRow) -> bool:
    """Whether the very process of ``row`` still exists (same boot, same start time)."""
    from casemate.kernel.procfs import boot_id, is_same_process

    return bool(row.pid) and row.boot_id == boot_id() and is_same_process(row.pid, row.start_time)


def _settled(row: ContainerRow) -> Present:
    present = Present(row.state)
    present.exit_code = row.exit_code
    present.finished_ns = row.finished_ns
    return present


def _lost(row: ContainerRow) -> Present:
    present = Present("exited" if row.state != "starting" else "created")
    present.exit_code = UNKNOWN_EXIT if row.state != "starting" else 0
    present.finished_ns = row.started_ns
    return present


def read_pid(paths: StorePaths, container_id: str) -> int:
    """The pid that the keeper wrote; 0 when there is none (yet)."""
    try:
        with open(container_dir(paths, container_id) + "/pid", "rb") as file:
            text = file.read(16).strip()
    except FileNotFoundError:
        return 0
    return int(text) if text.isdigit() else 0


def read_exit(paths: StorePaths, container_id: str) -> Present | None:
    """The exit record as a state; None when the program has not ended, or nobody saw it end.

    A record that is damaged tells nothing: that of a --rm container is not synced, and a power cut may empty it.
    """
    from casemate.runtime.exitrecord import read_exit_record

    try:
        fd = os.open(container_dir(paths, container_id), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        record = read_exit_record(fd)
    except Corrupt:
        return None
    finally:
        os.close(fd)
    if record is None:
        return None
    present = Present("exited")
    present.exit_code = record.exit_code
    present.finished_ns = record.time_ns
    present.oom_killed = _was_oom_killed(record.collected)
    present.dropped = record.dropped_bytes
    return present


def _was_oom_killed(collected: Mapping[str, bytes]) -> bool:
    """Whether the kernel killed for memory inside.

    "oom_kill N" of memory.events (v2) or memory.oom_control (v1).
    """
    for data in collected.values():
        for line in data.splitlines():
            name, _, count = line.partition(b" ")
            if name == b"oom_kill" and count.strip().isdigit() and int(count) > 0:
                return True
    return False
