"""Readers of /proc about processes: identity that survives pid reuse, state, ids and capabilities.

A pid alone names nothing for long. A process is ``(boot id, pid, start time)``, or a pidfd while one is held.
"""

from __future__ import annotations

import os

from casemate.kernel.fd import Fd

_STATE = 0  # fields after the command name in /proc/PID/stat, counted from 0: proc(5) counts the state as 3
_PARENT = 1
_START = 19

_boot_id = ""


def _read(path: str, *, dir_fd: int | None = None, limit_bytes: int = 65536) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        return os.read(fd, limit_bytes)
    finally:
        os.close(fd)


def boot_id() -> str:
    """The identity of this boot: a UUID that is new after every restart of the machine.

    Raises: OSError when /proc is not mounted.
    """
    global _boot_id  # noqa: PLW0603 - it cannot change while this process lives
    if not _boot_id:
        _boot_id = _read("/proc/sys/kernel/random/boot_id").decode().strip()
    return _boot_id


def open_process(pid: int) -> Fd | None:
    """The directory /proc/PID, which names this one process: reads fail with ESRCH once it is gone."""
    try:
        return Fd(os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        return None


def stat_fields(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat after the command name; None when there is no such process.

    The name is the process's own choice and may hold spaces, brackets and newlines: the last bracket ends it.

    Source: proc(5).
    """
    try:
        line = _read(f"/proc/{pid}/stat")
    except OSError:  # ENOENT before, ESRCH while it goes
        return None
    return line[line.rindex(b")") + 1 :].split()


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (field 22 of stat); None when it is gone."""
    fields = stat_fields(pid)
    return int(fields[_START]) if fields else None


def process_state(pid: int) -> str | None:
    """One letter: R, S, D, T, t, Z (ended, not yet reaped), X; None when there is no such process."""
    fields = stat_fields(pid)
    return fields[_STATE].decode() if fields else None


def is_same_process(pid: int, started: int) -> bool:
    """Whether ``pid`` still names the process that started then, and has not ended (a zombie has)."""
    fields = stat_fields(pid)
    return fields is not None and int(fields[_START]) == started and fields[_STATE] not in (b"Z", b"X")


def parent_pid(pid: int) -> int | None:
    """The parent's pid; None when there is no such process."""
    fields = stat_fields(pid)
    return int(fields[_PARENT]) if fields else None


def status_fields(pid: int | None = None) -> dict[str, str]:
    """/proc/PID/status as a mapping, of the caller without ``pid``; empty when the process is gone."""
    try:
        text = _read(f"/proc/{'thread-self' if pid is None else pid}/status").decode(errors="replace")
    except OSError:
        return {}
    rows = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key: value.strip() for key, value in rows}


def capability_sets(pid: int | None = None) -> dict[str, int]:
    """The five sets as masks: effective, permitted, inheritable, bounding, ambient; empty if gone."""
    fields = status_fields(pid)
    names = {
        "inheritable": "CapInh",
        "permitted": "CapPrm",
        "effective": "CapEff",
        "bounding": "CapBnd",
        "ambient": "CapAmb",
    }
    return {name: int(fields[field], 16) for name, field in names.items() if field in fields}


def command_line(pid: int) -> list[str]:
    """The arguments as the process itself shows them: untrusted; empty for kernel threads and the dead."""
    try:
        data = _read(f"/proc/{pid}/cmdline")
    except OSError:
        return []
    return [part.decode(errors="replace") for part in data.rstrip(b"\0").split(b"\0")] if data else []


def process_ids() -> list[int]:
    """All pids visible in /proc now."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]
