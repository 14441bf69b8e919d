"""A plan whose program is kept, and the ways to watch it: for the tests of ``enter``'s keepers."""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from casemate.runtime.exitrecord import INDEX_RECORD, ExitRecord, read_exit_record
from casemate.runtime.launch import Launched, launch
from casemate.runtime.plan import KEEP, Keeper, Plan

if TYPE_CHECKING:
    from collections.abc import Callable


class Kept:
    """One kept container of a test, its directory and its descriptors."""

    def __init__(self, directory: Path, script: str, **options: object) -> None:
        self.directory = directory
        self.plan = Plan()
        self.plan.keeper = Keeper(int(str(options.pop("mode", KEEP))))
        self.log_dir = Path(str(options.pop("log_dir", directory)))
        self._slot("exit_dir", os.open(directory, os.O_RDONLY | os.O_DIRECTORY))
        self._slot("log_dir", os.open(self.log_dir, os.O_RDONLY | os.O_DIRECTORY))
        for number, name in ((1, "out_r"), (2, "err_r")):
            reader, writer = os.pipe()
            self._slot(name, reader)
            self.plan.add("inside", "STDIO", self.plan.slot_of(writer, owned=True), number)
        for name, value in options.items():
            if name in Keeper.SLOTS:
                self._slot(name, int(str(value)))
            else:
                setattr(self.plan.keeper, name, value)
        self.plan.add("inside", "EXEC", ["/bin/sh", "-c", script], ["PATH=/usr/bin:/bin"])

    def _slot(self, name: str, fd: int) -> None:
        setattr(self.plan.keeper, name, self.plan.slot_of(fd, owned=True, label=name))

    def start(self) -> Launched:
        """Launch it; the descriptors are the keeper's alone then."""
        try:
            return launch(self.plan)
        finally:
            self.plan.close()

    def record(self, within_s: float = 20.0) -> ExitRecord:
        """The exit record, as soon as there is one."""
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return eventually(lambda: read_exit_record(fd), within_s)
        finally:
            os.close(fd)

    def log(self) -> bytes:
        """What was logged so far."""
        return (self.log_dir / "log").read_bytes()

    def index(self) -> list[tuple[int, int, int, int, int]]:
        """The records of the index."""
        return list(INDEX_RECORD.iter_unpack((self.log_dir / "log.index").read_bytes()))


def eventually(probe: Callable[[], Any], within_s: float = 20.0) -> Any:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        value = probe()
        if value:
            return value
        time.sleep(0.003)
    raise AssertionError("it did not happen in time")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def named(name: str) -> list[int]:
    """Processes of ours that live and are called ``name``, whoever their parent is."""
    found = []
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        if f"({name})" in text and text.rpartition(")")[2].split()[0] not in "ZX":
            found.append(pid)
    return found


def lives(pid: int) -> bool:
    """Whether the process exists and is more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def guard_of(keeper: int) -> int:
    """The first guard is the keeper's parent, a later one its child; 0 when the keeper has ended already."""

    def find() -> int:
        try:
            guards = [
                pid for pid in named("enter-guard") if pid == parent_of(keeper) or parent_of(pid) == keeper
            ]
        except FileNotFoundError:
            return -1
        return guards[0] if guards else 0 if lives(keeper) else -1

    return max(0, int(eventually(find)))


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid:
            os.kill(pid, signal.SIGKILL)


def gated(directory: Path, script: str, **options: object) -> tuple[Kept, int]:
    """A container that waits for ``release`` before it does anything."""
    gate_out, gate_in = os.pipe()
    kept = Kept(directory, f"read line; {script}", **options)
    kept.plan.add("inside", "STDIO", kept.plan.slot_of(gate_out, owned=True), 0)
    kept.plan.programs["inside"].insert(0, kept.plan.programs["inside"].pop())
    return kept, gate_in


def release(gate: int) -> None:
    os.write(gate, b"go\n")
    os.close(gate)


def attach(path: Path, fds: list[int]) -> tuple[socket.socket, bytes, list[int]]:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(str(path))
    client.sendmsg([b"A"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
    answer, got, _, _ = socket.recv_fds(client, 1, 4)
    return client, answer, got


def listener(path: Path) -> int:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(str(path))
    server.listen(4)
    return server.detach()
