"""Programs run beside the first one: what of ours is outside of the container stays outside, and what dies harms nobody."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from kept import guard_of, kill, lives, parent_of

from casemate.engine.engine import Engine
from casemate.engine.options import ContainerOptions, ExecOptions
from casemate.errors import ProgramNotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casemate.engine.containers import Container
    from casemate.store.paths import StorePaths

pytestmark = pytest.mark.system


@pytest.fixture
def box(engine: Engine) -> Container:
    container = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "1000"]))
    container.start()
    return container


def detached(container: Container, script: str) -> tuple[int, int, int]:
    """(program, keeper, guard) of a shell script run detached."""
    wanted = ("sh", "-c", script, f"test-{os.getpid()}-{container.name}")
    container.exec(list(wanted), ExecOptions(detach=True))
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    pid = next(pid for pid in pids if command(pid) == wanted)
    keeper = parent_of(pid)
    return pid, keeper, guard_of(keeper)


def command(pid: int) -> tuple[str, ...]:
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
            return tuple(file.read().split("\0")[:-1])
    except OSError:
        return ()


def processor_ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_keepers_of_a_detached_exec_are_not_in_the_container(
    box: Container, execute: Callable[..., Any]
) -> None:
    _, keeper, guard = detached(box, "sleep 999; true")
    seen = execute(box, "sh", "-c", "cat /proc/[0-9]*/comm").out.split()
    assert set(seen) == {"cat", "sh", "sleep"}, "nothing of ours"
    for pid in (keeper, guard):
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            assert next(line for line in file if line.startswith("NSpid")).split()[1:] == [str(pid)]


@pytest.mark.parametrize("victim", ["keeper", "guard"])
def test_killing_one_keeper_of_a_detached_exec_harms_nobody(
    box: Container, execute: Callable[..., Any], wait_until: Callable[..., Any], victim: str
) -> None:
    pid, keeper, guard = detached(box, "sleep 0.3; echo lost; echo done >/tmp/done; sleep 999")
    kill(keeper if victim == "keeper" else guard)
    wait_until(lambda: execute(box, "cat", "/tmp/done").out == "done\n")
    assert lives(pid)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not lives(pid))


def test_keepers_of_a_detached_exec_use_no_processor_and_end_with_the_container(
    box: Container, wait_until: Callable[..., Any]
) -> None:
    program, keeper, guard = detached(box, "while :; do :; done")
    wait_until(lambda: processor_ticks(program) >= 20)
    assert processor_ticks(keeper) + processor_ticks(guard) <= 2
    box.stop(0.5)
    wait_until(lambda: not lives(keeper) and not lives(guard))


def test_a_detached_exec_of_nothing_says_so(box: Container) -> None:
    with pytest.raises(ProgramNotFound):
        box.exec(["no-such-program"], ExecOptions(detach=True))


def test_init_reaps_orphans_and_passes_signals_on(
    engine: Engine, run: Callable[..., Any], execute: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    script = "trap 'exit 9' TERM; (sleep 0.1 & exec sleep 0.05) & echo $$; while :; do sleep 0.1; done"
    box = engine.containers.create("busybox", ContainerOptions(argv=["sh", "-c", script], init=True))
    box.start()
    assert execute(box, "cat", "/proc/1/comm").out == "init\n"
    wait_until(lambda: "Z" not in execute(box, "sh", "-c", "cut -d' ' -f3 /proc/[0-9]*/stat").out)
    box.stop(20)
    assert box.inspect()["State"]["ExitCode"] == 9
    assert run("sh", "-c", "kill -9 $$", init=True).code == 137
    assert run("sh", "-c", "cat; exit 3", init=True, stdin=b"in\n").out == "in\n"
    with pytest.raises(ProgramNotFound):
        run("no-such-program", init=True)


def test_init_holds_nothing_and_is_confined_like_the_program(run: Callable[..., Any]) -> None:
    script = "cat /proc/1/status; echo; cat /proc/self/status"
    one, two = (
        {line.split(":")[0]: line.split(":")[1].strip() for line in part.splitlines() if ":" in line}
        for part in run("sh", "-c", script, init=True).out.split("\n\n")
    )
    for field in ("Uid", "Gid", "CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp", "Seccomp_filters"):
        assert one[field] == two[field], field


def test_few_open_files_do_not_keep_the_program_from_starting(run: Callable[..., Any]) -> None:
    assert run("sh", "-c", "ulimit -n; ulimit -Hn", ulimits={"nofile": [10, 20]}).out == "10\n20\n"


def test_a_privileged_exec_stays_visible(engine: Engine, box: Container, execute: Callable[..., Any]) -> None:
    assert engine.containers.get(box.id).inspect()["Casemate"]["Relaxations"] == []
    assert execute(box, "true", privileged=True).code == 0
    assert execute(box, "true", privileged=True).code == 0
    assert engine.containers.get(box.id).inspect()["Casemate"]["Relaxations"] == ["exec --privileged"]


def test_a_seccomp_profile_is_what_it_was_at_creation(engine: Engine, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}')
    given = ContainerOptions(argv=["mkdir", "/made"], security_opt=[f"seccomp={profile}"])
    box = engine.containers.create("busybox", given)
    profile.write_text('{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}')
    box.start()
    assert box.wait() == 0
    profile.unlink()
    again = engine.containers.get(box.id)
    again.start()
    assert again.wait() == 1, "it runs, and the directory is there already"


def test_without_keepers_the_end_is_recorded_as_unknown_and_everything_is_cleaned(
    engine: Engine, paths: StorePaths, wait_until: Callable[..., Any]
) -> None:
    box = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "1000"]))
    box.start()
    pid = box.inspect()["State"]["Pid"]
    keeper = parent_of(pid)
    both = (keeper, guard_of(keeper))
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for keeping in both:
            os.kill(keeping, number)
    wait_until(lambda: not any(lives(keeping) for keeping in both))
    with Engine(paths) as other:
        assert other.containers.get(box.id).state == "running", "nothing happened to the program"
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not lives(pid))
    with Engine(paths) as other:
        state = other.containers.get(box.id).inspect()["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 255)
    assert os.listdir(f"{paths.run_root}/attach") == []
