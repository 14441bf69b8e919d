"""What the end of a container tells without anybody having watched: its status, its control group, its last words."""

from __future__ import annotations

import os
import signal

from casemate.engine.life.finish import cgroup_path
from casemate.engine.life.states import container_dir
from casemate.engine.why import prices
from casemate.engine.why.finding import Finding
from casemate.errors import CasemateError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from casemate.engine.why.scene import Scene
    from casemate.runtime.exitrecord import ExitRecord
    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store

_TAIL_LINES = 50
_MAX_LINE = 200
_PHRASES = (
    "operation not permitted",
    "permission denied",
    "read-only file system",
    "function not implemented",
    "bad system call",
    "resource temporarily unavailable",
    "too many open files",
    "no space left on device",
    "cannot allocate memory",
    "out of memory",
    "network is unreachable",
    "address family not supported",
    "are you root",
    "must be run as root",
    "no new privileges",
)


def exit_record(store: Store, row: ContainerRow) -> ExitRecord | None:
    """The record that the keeper wrote; None when there is none."""
    from casemate.errors import Corrupt
    from casemate.runtime.exitrecord import read_exit_record

    try:
        fd = os.open(container_dir(store.paths, row.id), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return read_exit_record(fd)
    except Corrupt:
        return None
    finally:
        os.close(fd)


def group_events(row: ContainerRow, record: ExitRecord | None) -> dict[str, int]:
    """How often limits of the control group were hit: ``oom_kill``, ``max`` of pids as ``pids_max``."""
    files: Mapping[str, bytes] = record.collected if record is not None else _present_files(row)
    found: dict[str, int] = {}
    for label, data in files.items():
        for line in data.splitlines():
            name, _, count = line.partition(b" ")
            if not count.strip().isdigit():
                continue
            if name == b"oom_kill":
                found["oom_kill"] = max(found.get("oom_kill", 0), int(count))
            elif name == b"max" and label == "pids.events":
                found["pids_max"] = int(count)
    return found


def _present_files(row: ContainerRow) -> dict[str, bytes]:
    from casemate.cgroups.manager import open_manager

    found: dict[str, bytes] = {}
    try:
        opened = open_manager(rootless=os.geteuid() != 0).open(cgroup_path(row.id)).collect()
    except (NotFound, CasemateError):
        return found
    for label, fd in opened:
        try:
            found[label] = os.pread(fd, 4096, 0)
        finally:
            os.close(fd)
    return found


def because_of_limits(scene: Scene, events: Mapping[str, int]) -> list[tuple[Finding, int]]:
    """(finding, how often) for limits that were hit."""
    found = []
    if events.get("oom_kill"):
        limit = scene.options.memory_bytes
        size = f"{limit >> 20} MiB (--memory)" if limit else "80 % of the host's memory, the default"
        finding = Finding(
            "memory",
            f"the kernel killed for memory inside the container: it had reached its limit, {size}",
            [("--memory SIZE", prices.MORE_MEMORY)],
        )
        found.append((finding, events["oom_kill"]))
    if events.get("pids_max"):
        limit = scene.options.pids_limit or 2048
        finding = Finding(
            "pids",
            f"a process or thread could not be made: the container had its {limit}",
            [("--pids-limit N", prices.MORE_PROCESSES)],
        )
        found.append((finding, events["pids_max"]))
    return found


def because_of_end(scene: Scene, code: int, *, oom: bool, explained: bool) -> Finding | None:
    """What the exit status says; None when it says nothing that is not told already."""
    if code > 128 and code - 128 < signal.NSIG:  # noqa: PLR2004 - 128 + signal, as a shell tells it
        return _signalled(scene, code - 128, oom=oom, explained=explained)
    if code == 126:  # noqa: PLR2004 - a shell's code
        return Finding(
            "program",
            "it ended with 126: a shell inside found a command that it could not execute",
            certain=False,
        )
    if code == 127:  # noqa: PLR2004 - a shell's code
        return Finding("program", "it ended with 127: a shell inside did not find a command", certain=False)
    return None


def _signalled(scene: Scene, number: int, *, oom: bool, explained: bool) -> Finding | None:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number == signal.SIGSYS:
        if explained:
            return None
        if scene.wall.seccomp_file:
            return Finding(
                "seccomp",
                f"SIGSYS: the filter of {scene.wall.seccomp_file} kills for the call that was made",
            )
        return Finding(
            "seccomp",
            "SIGSYS: the system call filter kills what calls the kernel by a foreign ABI (32-bit, x32)",
            [prices.relaxed("abi32")],
        )
    if number == signal.SIGKILL:
        if oom:
            return None
        return Finding(
            "signal", "SIGKILL: somebody killed it (casemate kill, stop or rm -f, or the host)", certain=False
        )
    if number == signal.SIGXFSZ:
        return Finding(
            "ulimit", "SIGXFSZ: a file grew beyond --ulimit fsize", [("--ulimit fsize=BYTES", "larger files")]
        )
    if number == signal.SIGXCPU:
        return Finding(
            "ulimit", "SIGXCPU: its time was used up (--ulimit cpu)", [("--ulimit cpu=SECONDS", "more time")]
        )
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
        return Finding("program", f"{name}: the program crashed; no rule of the container sends this signal")
    return Finding("signal", f"{name} ended it", certain=False)


def last_words(lines: list[bytes]) -> list[str]:
    """The lines of output that sound like a refusal, the last five, in plain characters."""
    found = []
    for line in lines[-_TAIL_LINES:]:
        text = line.decode("utf-8", "replace").strip()
        if any(phrase in text.lower() for phrase in _PHRASES):
            found.append("".join(c if c.isprintable() else "?" for c in text)[:_MAX_LINE])
    return found[-5:]


def output_of(store: Store, row: ContainerRow) -> list[bytes]:
    """The last lines of the container's log."""
    from casemate.engine.life.logs import read_log

    pieces = read_log(
        container_dir(store.paths, row.id),
        is_running=lambda: False,
        follow=False,
        tail=_TAIL_LINES,
        since_ns=None,
        until_ns=None,
    )
    return b"".join(piece.data for piece in pieces).splitlines()


def document_of_end(store: Store, row: ContainerRow, ended_with: int | None) -> dict[str, Any]:
    """State, exit code and times."""
    from casemate.engine.life.states import present_state, read_exit
    from casemate.engine.show.times import rfc3339

    present = present_state(store.paths, row)
    if ended_with is not None:
        present = read_exit(store.paths, row.id) or present
        present.status, present.exit_code = "exited", ended_with
    return {
        "State": present.status,
        "ExitCode": present.exit_code,
        "StartedAt": rfc3339(row.started_ns),
        "FinishedAt": rfc3339(present.finished_ns),
    }
