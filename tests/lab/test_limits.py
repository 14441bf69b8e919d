"""Limits hold where systemd owns the one hierarchy of control groups: for root, and for a user with a delegated group."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    Command = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif("CASEMATE_LAB" not in os.environ, reason="./dev lab runs these in its guest"),
]

MIB = 1 << 20
KILLED = 128 + 9


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


@pytest.fixture
def started(casemate: Command) -> Iterator[Callable[..., str]]:
    """Start a sleeping container with these options; the directory of its control group."""

    def start(*options: str) -> str:
        made = casemate("run", "-d", "--name", "lab-limits", *options, "busybox", "sleep", "1000")
        assert made.returncode == 0, made.stderr
        pid = casemate("inspect", "--format", "{{.State.Pid}}", "lab-limits").stdout.strip()
        return "/sys/fs/cgroup" + read(f"/proc/{pid}/cgroup").partition("::")[2]

    yield start
    removed = casemate("rm", "-f", "lab-limits")
    assert removed.returncode == 0, removed.stderr


def test_a_container_runs_and_its_exit_code_comes_back(casemate: Command) -> None:
    found = casemate("run", "--rm", "busybox", "sh", "-c", "id -u; exit 7")

    assert (found.stdout, found.returncode) == ("0\n", 7), found.stderr


def test_the_limits_asked_for_are_set_without_a_word_of_warning(
    casemate: Command, started: Callable[..., str]
) -> None:
    group = started("-m", "64m", "--pids-limit", "9", "--cpus", "0.5")

    assert read(f"{group}/memory.max") == str(64 * MIB)
    assert read(f"{group}/pids.max") == "9"
    assert read(f"{group}/cpu.max") == "50000 100000"
    found = casemate("run", "--rm", "-m", "64m", "--pids-limit", "9", "busybox", "true")
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.rootless
def test_the_ordinary_users_container_lies_in_what_was_delegated(started: Callable[..., str]) -> None:
    group = started()
    uid = os.getuid()

    assert group.startswith(f"/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/"), group
    assert os.stat(group).st_uid == uid


def test_a_program_that_takes_too_much_memory_is_killed(casemate: Command) -> None:
    hog = ("dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1")

    assert casemate("run", "--rm", "-m", "32m", "busybox", *hog).returncode == KILLED


def test_a_program_that_starts_too_many_processes_is_told_so(casemate: Command) -> None:
    bomb = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait"
    found = casemate("run", "--rm", "--pids-limit", "6", "busybox", "sh", "-c", bomb)

    assert "can't fork" in found.stderr


def test_a_paused_container_stands_still_until_it_is_unpaused(
    casemate: Command, started: Callable[..., str]
) -> None:
    group = started()

    assert casemate("pause", "lab-limits").returncode == 0
    assert "frozen 1" in read(f"{group}/cgroup.events")
    assert casemate("unpause", "lab-limits").returncode == 0
    assert "frozen 0" in read(f"{group}/cgroup.events")


def test_nothing_is_left_of_a_removed_containers_group(
    casemate: Command, started: Callable[..., str]
) -> None:
    group = started("-m", "64m")

    assert casemate("rm", "-f", "lab-limits").returncode == 0
    deadline = time.monotonic() + 10
    while os.path.exists(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(group)
    assert casemate("run", "-d", "--name", "lab-limits", "busybox", "true").returncode == 0
