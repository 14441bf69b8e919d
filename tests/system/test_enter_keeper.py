"""Keeping containers: logs, exit records, what happens at the end."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casemate.runtime.exitrecord import INDEX_RECORD, LOST_BEFORE
from casemate.runtime.plan import WAIT

if TYPE_CHECKING:
    from collections.abc import Iterator

from kept import Kept, eventually, gated, release

pytestmark = pytest.mark.system


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.needs_root
def test_a_full_disk_blocks_nobody_and_is_told(tmp_path: Path, small_disk: Path) -> None:
    kept = Kept(tmp_path, "seq 1 50000; exit 3", log_dir=small_disk)
    kept.start().detach()
    record = kept.record()
    written = len(b"".join(b"%d\n" % n for n in range(1, 50001)))
    assert record.exit_code == 3
    assert record.dropped_bytes > 0
    assert record.dropped_bytes + len(kept.log()) == written
    assert b"".join(b"%d\n" % n for n in range(1, 50001)).startswith(kept.log())


@pytest.mark.needs_root
def test_the_exit_record_has_its_place_on_a_full_disk(small_disk: Path) -> None:
    kept = Kept(small_disk, "seq 1 50000; exit 3")
    kept.start().detach()
    record = kept.record()
    assert (record.exit_code, record.dropped_bytes > 0) == (3, True)


@pytest.mark.needs_root
def test_logging_goes_on_when_there_is_room_again(tmp_path: Path, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 60 * 1024)
    kept = Kept(tmp_path, f"seq 1 9000; rm {ballast}; sleep 0.1; echo after", log_dir=small_disk)
    kept.start().detach()
    assert kept.record().dropped_bytes > 0
    assert kept.log().endswith(b"after\n")
    assert kept.index()[-1][4] & LOST_BEFORE


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


def test_keepers_hold_the_lock_until_the_record_is_written(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    kept, gate = gated(tmp_path, "true", lock=lock)
    launched = kept.start()
    launched.detach()
    again = os.open(tmp_path / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    release(gate)
    kept.record()
    fcntl.flock(again, fcntl.LOCK_EX)  # both are gone, or the test's own time limit says that they are not
    os.close(again)


@pytest.mark.needs_root  # they are not dumpable: only root may look at their memory
def test_keepers_need_little_memory(tmp_path: Path) -> None:
    kept, gate = gated(tmp_path, "true")
    with kept.start() as launched:
        rollup = Path(f"/proc/{launched.keeper_pid}/smaps_rollup").read_text()
        release(gate)
        assert launched.wait_exit(20) == 0
    assert int(rollup.split("Pss:")[1].split()[0]) < 200, "KiB, of keeper and guard: they share it"


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


def test_the_pid_file_names_the_container(tmp_path: Path) -> None:
    pidfile = os.open(tmp_path / "pid", os.O_WRONLY | os.O_CREAT, 0o600)
    kept = Kept(tmp_path, "exit 0", pidfile=pidfile)
    with kept.start() as launched:
        assert (tmp_path / "pid").read_text() == str(launched.pid)
        assert launched.wait_exit(20) == 0
