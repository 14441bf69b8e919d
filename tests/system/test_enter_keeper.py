"""Keeping containers: logs, attached clients, exit records, and what survives when a keeper is killed."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from casemate.errors import Internal
from casemate.runtime.exitrecord import INDEX_RECORD, LOST_BEFORE, ExitRecord, read_exit_record
from casemate.runtime.launch import Launched, launch
from casemate.runtime.plan import KEEP, WAIT, Keeper, Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.system

LINES = 600_000
PTY_SCRIPT = "tty; stty size; read line; echo got:$line"
BOTH = pytest.mark.parametrize("victim", ["keeper", "guard", "both in turn"])


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


def guard_of(keeper: int) -> int:
    """The first guard is the keeper's parent, a later one its child."""

    def find() -> int:
        try:
            guards = [
                pid for pid in named("enter-guard") if pid == parent_of(keeper) or parent_of(pid) == keeper
            ]
        except FileNotFoundError:
            return -1 if not Path(f"/proc/{keeper}").exists() else 0
        return guards[0] if guards else 0

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


def test_output_is_logged_with_time_and_stream(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "echo one; sleep 0.05; echo two >&2; sleep 0.05; printf three; exit 4")
    before = time.time_ns()
    with kept.start() as launched:
        assert launched.wait_exit(20) == 4 << 8
    assert kept.log() == b"one\ntwo\nthree"
    records = kept.index()
    assert [(offset, length, stream) for _, offset, length, stream, _ in records] == [
        (0, 4, 1),
        (4, 4, 2),
        (8, 5, 1),
    ]
    assert before < records[0][0] < records[1][0] < records[2][0] < time.time_ns()
    record = kept.record()
    assert (record.exit_code, record.signal, record.dropped_bytes, record.lost) == (4, 0, 0, False)
    assert before < record.time_ns < time.time_ns()


def test_a_detached_container_outlives_its_launcher(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "sleep 0.2; echo late; kill -SEGV $$")
    kept.start().detach()
    assert kept.record().exit_code == 128 + signal.SIGSEGV
    assert kept.log() == b"late\n"


def test_logs_rotate_and_no_byte_is_lost(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "seq 1 20000", log_max_bytes=40000, log_files=10)
    kept.start().detach()
    kept.record()
    names = ["log"] + [f"log.{number}" for number in range(1, 10)]
    parts = [tmp_path / name for name in reversed(names) if (tmp_path / name).exists()]
    assert len(parts) > 2
    assert b"".join(part.read_bytes() for part in parts) == b"".join(b"%d\n" % n for n in range(1, 20001))
    assert all(part.stat().st_size <= 40000 for part in parts)
    for part in parts:
        index = tmp_path / part.name.replace("log", "log.index", 1)
        assert (
            sum(length for _, _, length, _, _ in INDEX_RECORD.iter_unpack(index.read_bytes()))
            == part.stat().st_size
        )


def test_only_the_wanted_number_of_logs_is_kept(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "seq 1 20000", log_max_bytes=10000, log_files=2)
    kept.start().detach()
    kept.record()
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith("log")) == [
        "log",
        "log.1",
        "log.index",
        "log.index.1",
    ]
    assert ((tmp_path / "log.1").read_bytes() + kept.log()).endswith(b"19999\n20000\n")


@pytest.mark.parametrize("seed", range(4))
@BOTH
def test_killing_keepers_loses_no_byte_and_no_status(tmp_path: Path, victim: str, seed: int) -> None:
    kept, gate = gated(tmp_path, f"seq 1 {LINES}; exit 42")
    with kept.start() as launched:
        keeper = launched.keeper_pid
        guard = guard_of(keeper)
        release(gate)
        eventually(lambda: len(kept.log()) > seed * 900_000)
        if victim != "guard":
            kill(keeper)
        if victim == "guard":
            kill(guard)
        if victim == "both in turn":
            guard_of(guard)  # the guard has become the keeper and has a guard of its own
            kill(guard)
        assert launched.wait_exit(30) == 42 << 8
    assert kept.log() == b"".join(b"%d\n" % n for n in range(1, LINES + 1))
    assert sum(record[2] for record in kept.index()) == len(kept.log())
    record = kept.record()
    assert (record.exit_code, record.lost) == (42, False)


@BOTH
def test_killing_keepers_does_not_kill_the_container(tmp_path: Path, victim: str) -> None:
    kept, gate = gated(tmp_path, "echo still here; exit 9")
    with kept.start() as launched:
        keeper, guard = launched.keeper_pid, guard_of(launched.keeper_pid)
        if victim != "guard":
            kill(keeper)
        if victim != "keeper":
            assert victim == "guard" or guard_of(guard), (
                "the guard has become the keeper and has a guard of its own"
            )
            kill(guard)
        release(gate)
        status = launched.wait_exit(20)
    record = kept.record()
    assert kept.log() == b"still here\n"
    assert (status, record.exit_code) == (9 << 8, 9), (
        "Linux 6.15 tells it even to a keeper that is not the parent"
    )


def test_a_keeper_killed_during_setup_leaves_nothing(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "exec sleep 100")
    kept.plan.add("beside", "ASK", 1)
    pids = []

    def kill_keeper(_: int, pid: int) -> None:
        pids.append(pid)
        os.kill(parent_of(pid), signal.SIGKILL)

    with pytest.raises(Internal):
        launch(kept.plan, on_ask=kill_keeper)
    kept.plan.close()
    eventually(
        lambda: (
            not Path(f"/proc/{pids[0]}").exists()
            or Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        )
    )
    assert not (tmp_path / "exit").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip("an ordinary user cannot mount here")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_blocks_nobody_and_is_told(tmp_path: Path, small_disk: Path) -> None:
    kept = Kept(tmp_path, "seq 1 50000; exit 3", log_dir=small_disk)
    kept.start().detach()
    record = kept.record()
    written = len(b"".join(b"%d\n" % n for n in range(1, 50001)))
    assert record.exit_code == 3
    assert record.dropped_bytes > 0
    assert record.dropped_bytes + len(kept.log()) == written
    assert b"".join(b"%d\n" % n for n in range(1, 50001)).startswith(kept.log())


def test_the_exit_record_has_its_place_on_a_full_disk(small_disk: Path) -> None:
    kept = Kept(small_disk, "seq 1 50000; exit 3")
    kept.start().detach()
    record = kept.record()
    assert (record.exit_code, record.dropped_bytes > 0) == (3, True)


def test_logging_goes_on_when_there_is_room_again(tmp_path: Path, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 60 * 1024)
    kept = Kept(tmp_path, f"seq 1 9000; rm {ballast}; sleep 0.1; echo after", log_dir=small_disk)
    kept.start().detach()
    assert kept.record().dropped_bytes > 0
    assert kept.log().endswith(b"after\n")
    assert kept.index()[-1][4] & LOST_BEFORE


@pytest.mark.parametrize("kind", ["pipe", "file", "appended file"])
def test_the_launcher_gets_the_output_too(tmp_path: Path, kind: str) -> None:
    reader, writer = os.pipe()
    out = tmp_path / "out"
    out.write_bytes(b"kept:")
    if kind != "pipe":
        os.close(writer)
        writer = os.open(out, os.O_WRONLY | (os.O_APPEND if kind == "appended file" else 0))
        os.lseek(writer, 5, os.SEEK_SET)
    kept = Kept(tmp_path, "seq 1 2000; echo err >&2; exit 5", client_out=writer, client_err=writer)
    with kept.start() as launched:
        data = b""
        while kind == "pipe" and (part := os.read(reader, 65536)):
            data += part
        assert launched.wait_exit(20) == 5 << 8
    os.close(reader)
    expected = b"".join(b"%d\n" % n for n in range(1, 2001))
    seen = data if kind == "pipe" else out.read_bytes().removeprefix(b"kept:")
    assert seen.replace(b"err\n", b"") == expected
    assert b"err\n" in seen
    assert sorted(kept.log().split()) == sorted(seen.split())


def test_a_slow_launcher_slows_the_container_but_a_gone_one_does_not(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    kept = Kept(tmp_path, "seq 1 100000; exit 6", client_out=writer)
    launched = kept.start()
    eventually(lambda: len(kept.log()) >= 60000)
    stuck = len(kept.log())
    assert not select.select([launched.fileno()], [], [], 0.2)[0]
    assert len(kept.log()) < 400000, f"the container waits for its reader ({stuck} bytes logged)"
    launched.detach()
    assert kept.record().exit_code == 6
    assert kept.log().endswith(b"\n100000\n")
    os.close(reader)


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


def test_clients_attach_get_output_and_write_input(tmp_path: Path) -> None:
    stdin_r, stdin_w = os.pipe()
    kept = Kept(
        tmp_path,
        "read line; echo got:$line; read line; exit 7",
        listen=listener(tmp_path / "socket"),
        stdin_w=stdin_w,
    )
    kept.plan.add("inside", "STDIO", kept.plan.slot_of(stdin_r, owned=True), 0)
    kept.plan.programs["inside"].insert(0, kept.plan.programs["inside"].pop())
    with kept.start() as launched:
        clients = []
        for _ in range(3):
            reader, writer = os.pipe()
            client, answer, fds = attach(tmp_path / "socket", [writer])
            os.close(writer)
            assert answer == b"O"
            clients.append((client, reader, fds[0]))
        os.write(clients[1][2], b"hello\n")
        for _, reader, _ in clients:
            assert os.read(reader, 100) == b"got:hello\n"
        os.write(clients[2][2], b"end\n")
        assert launched.wait_exit(20) == 7 << 8
        for client, reader, stdin in clients:
            assert client.recv(1) == b"", "the end of the connection is the end of the container"
            client.close()
            os.close(reader)
            os.close(stdin)
    assert kept.log() == b"got:hello\n"


def test_broken_slow_and_rude_clients_harm_nobody(tmp_path: Path) -> None:
    kept, gate = gated(tmp_path, "seq 1 60000; exit 8", listen=listener(tmp_path / "socket"))
    kept.start().detach()
    slow_r, slow_w = os.pipe()
    slow, answer, _ = attach(tmp_path / "socket", [slow_w])
    assert answer == b"N", "there is no input to write to"
    broken_r, broken_w = os.pipe()
    broken, _, _ = attach(tmp_path / "socket", [broken_w])
    os.close(broken_r)
    rude = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    rude.connect(str(tmp_path / "socket"))
    rude.send(b"not a request")
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    silent.connect(str(tmp_path / "socket"))
    release(gate)
    assert kept.record().exit_code == 8
    assert kept.log().endswith(b"\n60000\n")
    for fd in (slow_r, slow_w, broken_w):
        os.close(fd)
    for client in (slow, broken, rude, silent):
        client.close()


def test_after_runs_collects_and_the_last_program_follows(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    (tmp_path / "value").write_text("42\n")
    kept = Kept(
        tmp_path,
        "exit 0",
        exit_argv=["/bin/sh", "-c", f"env | sort > {tmp_path}/env; echo done > {tmp_path}/last"],
    )
    directory = kept.plan.slot_of(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY), owned=True)
    value = kept.plan.slot_of(os.open(tmp_path / "value", os.O_RDONLY), owned=True)
    kept.plan.add("after", "COLLECT", value, "memory.peak")
    kept.plan.add("after", "UNLINKAT", directory, "gone", 0x200)
    kept.plan.add("after", "UNLINKAT", directory, "never there", 0)
    kept.start().detach()
    eventually(lambda: (tmp_path / "last").exists() and (tmp_path / "last").read_text())
    assert not (tmp_path / "gone").exists()
    assert kept.record().collected == {"memory.peak": b"42\n"}
    assert {line.split("=")[0] for line in (tmp_path / "env").read_text().splitlines()} <= {
        "PATH",
        "PWD",
        "_",
        "SHLVL",
        "OLDPWD",
    }


def test_a_terminal_is_kept_and_attached(tmp_path: Path) -> None:
    kept = Kept(tmp_path, PTY_SCRIPT, listen=listener(tmp_path / "socket"))
    plan = kept.plan
    devpts = plan.slot_of(os.open("/dev/pts", os.O_RDONLY | os.O_DIRECTORY), owned=True)
    master, peer = plan.new_slot(), plan.new_slot()
    last = plan.programs["inside"].pop()
    plan.add("inside", "PTMX", master, devpts)
    plan.add("inside", "PTY_PEER", peer, master)
    plan.add("inside", "WINSIZE", master, 33, 77)
    plan.add("inside", "KEEP_FD", master, 0)
    plan.add("inside", "SETSID")
    plan.add("inside", "CTTY", peer)
    for number in range(3):
        plan.add("inside", "STDIO", peer, number)
    plan.programs["inside"].append(last)
    with kept.start() as launched:
        reader, writer = os.pipe()
        client, answer, fds = attach(tmp_path / "socket", [writer])
        os.close(writer)
        assert answer == b"O"
        os.write(fds[0], b"hi\n")
        assert launched.wait_exit(20) == 0
    client.close()
    os.close(reader)
    os.close(fds[0])
    lines = kept.log().replace(b"\r", b"").splitlines()
    assert any(line.startswith(b"/dev/pts/") for line in lines)
    assert b"33 77" in lines
    assert lines[-1] == b"got:hi"


def test_keepers_hold_the_lock_and_little_memory(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    kept, gate = gated(tmp_path, "true", lock=lock)
    launched = kept.start()
    launched.detach()
    again = os.open(tmp_path / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    guard = guard_of(launched.keeper_pid)
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in (launched.keeper_pid, guard)]
    assert int(rollups[0].split("Pss:")[1].split()[0]) < 200, "KiB, of both: they share it"
    release(gate)
    kept.record()
    fcntl.flock(again, fcntl.LOCK_EX)  # both are gone, or the test's own time limit says that they are not
    os.close(again)


def test_waiting_in_the_foreground_keeps_logs_too(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "echo here; exit 11", mode=WAIT)
    with kept.start() as launched:
        assert launched.wait_exit(20) == 11 << 8
    assert kept.log() == b"here\n"
    assert kept.record().exit_code == 11


def test_a_record_of_an_earlier_run_is_not_taken_for_this_one(tmp_path: Path) -> None:
    for code in (1, 2):
        kept = Kept(tmp_path, f"echo run {code}; exit {code}")
        with kept.start() as launched:
            assert launched.wait_exit(20) == code << 8
        assert kept.record().exit_code == code
    assert kept.log() == b"run 1\nrun 2\n", "a restart appends"
    assert [offset for _, offset, _, _, _ in kept.index()] == [0, 6]


def test_a_storm_of_kills_keeps_log_and_launcher_exact(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    kept, gate = gated(tmp_path, f"seq 1 {LINES}; exit 43", client_out=writer)
    seen = bytearray()
    with kept.start() as launched:
        keeper, guard = launched.keeper_pid, guard_of(launched.keeper_pid)
        release(gate)
        for turn in range(8):
            while len(seen) < turn * 400_000 and (data := os.read(reader, 65536)):
                seen += data
            kill(keeper)
            keeper, guard = guard, guard_of(guard)
        while data := os.read(reader, 65536):
            seen += data
        assert launched.wait_exit(30) == 43 << 8
    os.close(reader)
    expected = b"".join(b"%d\n" % n for n in range(1, LINES + 1))
    assert kept.log() == expected
    assert seen == expected
    assert kept.record().exit_code == 43


def test_the_pid_file_names_the_container(tmp_path: Path) -> None:
    pidfile = os.open(tmp_path / "pid", os.O_WRONLY | os.O_CREAT, 0o600)
    kept = Kept(tmp_path, "exit 0", pidfile=pidfile)
    with kept.start() as launched:
        assert (tmp_path / "pid").read_text() == str(launched.pid)
        assert launched.wait_exit(20) == 0
