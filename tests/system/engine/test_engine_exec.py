"""Programs run beside the first one: what of ours is outside of the container stays outside, and what dies harms nobody."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from kept import guard_of, kill, lives, parent_of

from casemate.engine.options import ContainerOptions, ExecOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from casemate.engine.containers import Container
    from casemate.engine.engine import Engine

pytestmark = pytest.mark.system


@pytest.fixture
def box(engine: Engine) -> Container:
    container = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "1000"]))
    container.start()
    return container


def detached(container: Container, *argv: str) -> tuple[int, int, int]:
    """(program, keeper, guard) of a program run detached."""
    container.exec(list(argv), ExecOptions(detach=True))
    pid = max(
        pid for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()) if command(pid) == argv
    )
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
    _, keeper, guard = detached(box, "sleep", "999")
    seen = execute(box, "sh", "-c", "cat /proc/[0-9]*/comm").out.split()
    assert sorted(seen) == ["cat", "sleep", "sleep"] or sorted(seen) == ["cat", "sh", "sleep", "sleep"]
    for pid in (keeper, guard):
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            assert next(line for line in file if line.startswith("NSpid")).split()[1:] == [str(pid)]


@pytest.mark.parametrize("victim", ["keeper", "guard"])
def test_killing_one_keeper_of_a_detached_exec_harms_nobody(
    box: Container, execute: Callable[..., Any], wait_until: Callable[..., Any], victim: str
) -> None:
    pid, keeper, guard = detached(box, "sh", "-c", "sleep 0.3; echo lost; echo done >/tmp/done; sleep 999")
    kill(keeper if victim == "keeper" else guard)
    wait_until(lambda: execute(box, "cat", "/tmp/done").out == "done\n")
    assert lives(pid)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not lives(pid))


def test_keepers_of_a_detached_exec_use_no_processor_and_end_with_the_container(
    box: Container, wait_until: Callable[..., Any]
) -> None:
    program, keeper, guard = detached(box, "sh", "-c", "while :; do :; done")
    wait_until(lambda: processor_ticks(program) >= 20)
    assert processor_ticks(keeper) + processor_ticks(guard) <= 2
    box.stop(0.5)
    wait_until(lambda: not lives(keeper) and not lives(guard))


def test_a_detached_exec_of_nothing_says_so(box: Container) -> None:
    from casemate.errors import ProgramNotFound

    with pytest.raises(ProgramNotFound):
        box.exec(["no-such-program"], ExecOptions(detach=True))
