"""The processes of a container, as ``docker top`` shows them."""

from __future__ import annotations

import os
import time

from casemate.engine.life.running import running_process
from casemate.engine.life.states import present_state
from casemate.kernel.procfs import command_line, parent_pid, process_ids, stat_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store

TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]


def list_processes(store: Store, row: ContainerRow) -> tuple[list[str], list[list[str]]]:
    """(titles, rows); members are found by their pid namespace, so that it works without control groups too.

    Raises: Conflict.
    """
    running_process(store, row, "list processes", paused=True).close()
    first = present_state(store.paths, row).pid
    own = _pid_namespace(first)
    rows = []
    for pid in sorted(process_ids()):
        if own is not None and _pid_namespace(pid) == own:
            described = _describe(pid)
            if described is not None:
                rows.append(described)
    return TITLES, rows


def _pid_namespace(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return None


def _describe(pid: int) -> list[str] | None:
    fields = stat_fields(pid)
    if fields is None:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    used = (int(fields[11]) + int(fields[12])) // ticks
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(fields[19]) / ticks
    try:
        uid = str(os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        return None
    command = " ".join(command_line(pid)) or f"[{pid}]"
    clock = f"{used // 3600:02d}:{used // 60 % 60:02d}:{used % 60:02d}"
    start = time.strftime("%H:%M", time.localtime(started))
    return [uid, str(pid), str(parent_pid(pid) or 0), "0", start, "?", clock, command]
