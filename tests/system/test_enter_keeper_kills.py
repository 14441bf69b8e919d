"""What survives when a keeper, its guard, or both in turn are killed: everything."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from kept import Kept, eventually, gated, guard_of, kill, parent_of, release

from casemate.errors import Internal
from casemate.runtime.launch import launch

pytestmark = pytest.mark.system

LINES = 600_000
BOTH = pytest.mark.parametrize("victim", ["keeper", "guard", "both in turn"])


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


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_keeper_killed_during_setup_leaves_nothing(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "exec sleep 100")
    kept.plan.add("beside", "ASK", 1)
    pids = []

    def kill_keeper(code: int, pid: int) -> None:
        if code != 1:
            return
        pids.append(pid)
        os.kill(parent_of(pid), signal.SIGKILL)

    with pytest.raises(Internal):
        launch(kept.plan, on_ask=kill_keeper)
    kept.plan.close()
    eventually(lambda: _has_ended(pids[0]))
    assert not (tmp_path / "exit").exists()


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
