"""Watching changes nothing: not a result, not a life, not the death of the watcher."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from explanations import explained, only, reasons

from casemate.errors import Denied

if TYPE_CHECKING:
    from collections.abc import Callable

    from casemate.engine.engine import Engine

pytestmark = pytest.mark.system


MIXED = """
    hostname x; echo "host $?"; { sleep 20 & kill -STOP $!; kill -CONT $!; kill $!; wait $!; } 2>/dev/null; echo "sleep $?"
    (exit 3); echo "sub $?"; echo a | cat | wc -c; trap 'echo usr1' USR1; kill -USR1 $$; cat /nowhere; echo "cat $?"
    exec sh -c 'mount -t tmpfs none /tmp; echo "mount $?"; exit 42'
"""


def test_a_watched_program_prints_and_returns_what_it_does_unwatched(run: Callable[..., Any]) -> None:
    plain = run("sh", "-c", MIXED)
    for options in ({}, {"init": True}):
        watched = run("sh", "-c", MIXED, explain=True, **options)
        assert (watched.code, watched.out, watched.err) == (plain.code, plain.out, plain.err)
    assert (plain.code, "sleep 143" in plain.out, "usr1" in plain.out) == (42, True, True)


@pytest.fixture(scope="session")
def threads(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    made = tmp_path_factory.mktemp("threads") / "threads"
    source = Path(__file__).parents[2] / "support/threads.c"
    subprocess.run(
        ["cc", "-O1", "-static", "-pthread", "-Wall", "-Wextra", "-Werror", "-o", made, source], check=True
    )
    return made.read_bytes()


def test_threads_stops_crashes_and_programs_of_threads_go_their_way(
    engine: Engine, run: Callable[..., Any], make_image: Callable[..., str], threads: bytes
) -> None:
    image = make_image("threads", {"bin/threads": threads})
    plain = run("/bin/threads", image=image)
    for options in ({}, {"init": True}):
        watched = run("/bin/threads", image=image, explain=True, **options)
        assert (watched.code, watched.out) == (plain.code, plain.out)
    assert (plain.code, plain.out.split()) == (
        9, "alarms 1 births 60 stopped 1 went on 4 crash 11 0 crash 0 11".split(),  # noqa: SIM905 - as it prints
    )  # fmt: skip
    refused = only(explained(engine, "/bin/threads", image=image), "seccomp")
    assert refused["Count"] == 8 * 200, "no refusal is missed"


def crashing_program() -> bytes:
    """A whole ELF program: one instruction that does not exist."""
    machine, code = {"x86_64": (62, b"\x0f\x0b"), "aarch64": (183, bytes(4))}[os.uname().machine]
    base, size = 0x400000, 64 + 56
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, base + size, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size + len(code), size + len(code), 4096)
    return head + load + code


@pytest.mark.parametrize("init", [False, True])
def test_a_first_process_that_crashes_ends_as_it_does_unwatched(
    run: Callable[..., Any],
    make_image: Callable[..., str],
    init: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    image = make_image("crash", {"bin/crash": crashing_program()})
    for explain in (False, True):
        assert run("crash", image=image, explain=explain, init=init).code == 128 + signal.SIGILL


def watchers() -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if name.isdigit() and b"casemate.runtime.witness.program" in file.read():
                    found.append(int(name))
        except OSError:
            continue
    return found


def tracer_of(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("TracerPid:"))


def test_killing_the_watcher_lets_the_container_run_on(
    engine: Engine, wait_until: Callable[..., Any]
) -> None:
    from casemate.engine.options import ContainerOptions

    script = "for i in 1 2 3 4 5 6 7 8; do hostname x; sleep 0.1; done; exit 5"
    container = engine.containers.create("busybox", ContainerOptions(argv=["sh", "-c", script], explain=True))
    container.start()
    pid = container.inspect()["State"]["Pid"]
    wait_until(lambda: reasons(container.why()))
    watcher = tracer_of(pid)
    assert watcher in watchers()
    os.kill(watcher, signal.SIGKILL)
    wait_until(lambda: container.state != "running" or tracer_of(pid) == 0)
    assert container.wait() == 5
    document = container.why()
    assert only(document, "seccomp")["Count"] < 8
    assert any("was killed before the container ended" in note for note in document["Notes"])


def test_a_running_container_can_be_watched_for_a_while(engine: Engine) -> None:
    from casemate.engine.options import ContainerOptions

    script = "sleep 1000 & while :; do hostname x; sleep 0.05; done"
    container = engine.containers.create("busybox", ContainerOptions(argv=["sh", "-c", script]))
    container.start()
    pid = container.inspect()["State"]["Pid"]
    assert reasons(container.why()) == []
    began = time.monotonic()
    document = container.why(watch_s=0.6)
    assert time.monotonic() - began < 4
    assert document["State"] == "running"
    assert only(document, "seccomp")["Count"] >= 3
    assert tracer_of(pid) == 0
    container.stop(0)


def test_who_is_traced_by_somebody_else_is_not_watched_and_that_is_said(engine: Engine) -> None:
    from casemate.engine.options import ContainerOptions

    container = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "1000"]))
    container.start()
    pid = container.inspect()["State"]["Pid"]
    script = "import sys; from casemate.runtime.witness import ptrace; ptrace.seize(int(sys.argv[1])); print(1); sys.stdin.read()"
    argv = [sys.executable, "-u", "-c", script, str(pid)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as debugger:
        assert debugger.stdout is not None
        assert debugger.stdin is not None
        assert debugger.stdout.readline() == b"1\n"
        with pytest.raises(Denied, match="traces it already, or ptrace is forbidden") as caught:
            container.why(watch_s=1)
        debugger.stdin.close()
    assert "ptrace_scope" in str(caught.value.hint)
    assert container.state == "running"
    container.stop(0)


def test_a_watched_container_stops_pauses_and_takes_more_programs(
    engine: Engine, execute: Callable[..., Any]
) -> None:
    from casemate.engine.options import ContainerOptions

    container = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "1000"], explain=True))
    container.start()
    assert execute(container, "echo", "inside").out == "inside\n"
    if os.geteuid() == 0:
        container.pause()
        container.unpause()
    container.kill("TERM")  # the first process of a pid namespace ignores it
    container.stop(0)
    assert container.state == "exited"
    found = only(container.why(), "signal")
    assert found["What"].startswith("SIGKILL: somebody killed it")
    assert watchers() == []


def test_the_ledger_stays_small_whatever_a_program_does(engine: Engine) -> None:
    script = "i=0; while [ $i -lt 400 ]; do echo > /home/$i; i=$((i+1)); done"
    document = explained(engine, "sh", "-c", script, read_only=True)
    assert len(document["Findings"]) <= 200
    assert any("more refusals of other kinds" in note for note in document["Notes"])


def test_what_a_program_calls_its_files_cannot_drive_a_terminal(engine: Engine) -> None:
    document = explained(engine, "sh", "-c", "echo > \"/home/$(printf 'a\\033[2J\\nb')\"", read_only=True)
    text = json.dumps(document, ensure_ascii=False)
    assert "\\\\x1b[2J" in text
    assert "\x1b" not in text


def test_a_container_that_removes_itself_is_explained_to_who_stayed(
    engine: Engine, run: Callable[..., Any]
) -> None:
    from casemate.engine.options import Attach, ContainerOptions

    options = ContainerOptions(argv=["hostname", "x"], explain=True, auto_remove=True)
    session = engine.containers.create("busybox", options).start(Attach(stdout_fd=None, stderr_fd=None))
    assert session is not None
    with session:
        assert session.wait() == 1
    assert session.explanation is not None
    assert only(session.explanation, "seccomp")["Program"] == "hostname"
    assert engine.containers.list(all=True) == []
    assert run("true", explain=True).code == 0


def test_the_next_run_can_be_watched_alone(engine: Engine) -> None:
    from casemate.engine.options import ContainerOptions

    container = engine.containers.create("busybox", ContainerOptions(argv=["hostname", "x"]))
    container.start()
    container.wait()
    assert not container.why()["Watched"]
    container.start(explain=True)
    container.wait()
    assert only(container.why(), "seccomp")
    container.start()
    container.wait()
    assert not container.why()["Watched"]
