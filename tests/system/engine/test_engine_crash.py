"""kill -9 of any of our processes at any moment leaves nothing once the next command has run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from casemate.engine import recover
from casemate.engine.engine import Engine
from casemate.engine.options import ContainerOptions
from casemate.kernel.procfs import parent_pid, process_ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from casemate.store.paths import StorePaths

pytestmark = [pytest.mark.system, pytest.mark.slow]
SEED = int(os.environ.get("CASEMATE_FAULT_SEED", "7"))
ROUNDS = int(os.environ.get("CASEMATE_FAULT_ROUNDS", "12"))

HEAD = """
import sys
from casemate.engine.engine import Engine
from casemate.engine.options import Attach, ContainerOptions, ExecOptions
from casemate.store.paths import StorePaths
with Engine(StorePaths(sys.argv[1], sys.argv[2])) as engine:
    print("open", flush=True)
"""
RUN = (
    HEAD
    + """
    box = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "0.05"], auto_remove=True), to_start=True)
    box.start(Attach()).wait()
"""
)
DETACHED = (
    HEAD
    + """
    engine.containers.create("busybox", ContainerOptions(argv=["sleep", "0.05"], auto_remove=True), to_start=True).start()
"""
)
REMOVE = (
    HEAD
    + """
    engine.containers.get("victim").remove(force=True)
"""
)
EXEC = (
    HEAD
    + """
    engine.containers.get("host").exec(["sleep", "0.2"], ExecOptions(), Attach()).wait()
"""
)
LOAD = (
    HEAD
    + """
    engine.images.load(sys.argv[3])
"""
)


def _start(script: str, paths: StorePaths, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", script, paths.root, paths.run_root, *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _kill_after(process: subprocess.Popen[bytes], delay_s: float) -> None:
    time.sleep(delay_s)
    process.kill()
    process.communicate()


def _family(name: str) -> list[int]:
    """Our children and orphans that are called ``name``."""
    found = []
    for pid in process_ids():
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as file:
                if file.read().startswith(name) and parent_pid(pid) == os.getpid():
                    found.append(pid)
        except OSError:
            continue
    return found


def _assert_nothing_left(paths: StorePaths, wait_until: Callable[..., object], *, kept: int = 0) -> None:
    def is_clean() -> bool:
        with Engine(paths) as engine:
            # On a slow machine none may have lived long enough to make the directory.
            places = os.listdir(paths.containers) if os.path.isdir(paths.containers) else []
            return len(engine.store.containers.list()) == len(places) == kept

    wait_until(is_clean)
    with Engine(paths) as engine:
        assert len(engine.store.snapshots.roots()) == kept
        if os.geteuid() == 0:
            assert len(engine.store.ranges.holders()) == kept
        locks = f"{paths.run_root}/locks"
        assert len(os.listdir(locks) if os.path.isdir(locks) else []) == kept


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("script", [RUN, DETACHED], ids=["attached", "detached"])
def test_run_killed_at_any_moment_leaves_nothing(
    paths: StorePaths, wait_until: Callable[..., object], script: str
) -> None:
    rng = random.Random(SEED)  # noqa: S311 - moments, not secrets
    for _ in range(ROUNDS):
        _kill_after(_start(script, paths), rng.uniform(0, 0.2))
    _assert_nothing_left(paths, wait_until)


@pytest.mark.usefixtures("engine")
def test_removal_killed_at_any_moment_is_finished_by_the_next_command(
    paths: StorePaths, wait_until: Callable[..., object]
) -> None:
    rng = random.Random(SEED)  # noqa: S311 - moments, not secrets
    for _ in range(ROUNDS // 2):
        with Engine(paths) as other:
            for box in other.containers.list(all=True):
                box.remove(force=True)
            other.containers.create("busybox", ContainerOptions(name="victim", argv=["sleep", "100"])).start()
        _kill_after(_start(REMOVE, paths), rng.uniform(0, 0.1))
    with Engine(paths) as other:
        for box in other.containers.list(all=True):
            box.remove(force=True)
    _assert_nothing_left(paths, wait_until)


def test_exec_killed_at_any_moment_does_not_harm_the_container(
    engine: Engine, paths: StorePaths, wait_until: Callable[..., object], execute: Callable[..., object]
) -> None:
    rng = random.Random(SEED)  # noqa: S311 - moments, not secrets
    host = engine.containers.create("busybox", ContainerOptions(name="host", argv=["sleep", "100"]))
    host.start()
    for _ in range(ROUNDS // 2):
        _kill_after(_start(EXEC, paths), rng.uniform(0, 0.15))
    assert execute(host, "echo", "well").out == "well\n"
    wait_until(lambda: len(host.top()[1]) == 1)
    host.remove(force=True)
    _assert_nothing_left(paths, wait_until)


def test_load_killed_at_any_moment_leaves_a_store_that_loads(
    paths: StorePaths, busybox_archive: str, wait_until: Callable[..., object]
) -> None:
    rng = random.Random(SEED)  # noqa: S311 - moments, not secrets
    for _ in range(ROUNDS // 2):
        _kill_after(_start(LOAD, paths, busybox_archive), rng.uniform(0, 0.4))
    with Engine(paths) as engine:
        image = engine.images.load(busybox_archive)[0]
        assert (
            engine.containers.create("busybox", ContainerOptions(argv=["true"], auto_remove=True)).start()
            is None
        )
        wait_until(lambda: not engine.containers.list(all=True))
        engine.images.remove("busybox")
        engine.store.gc()
        assert engine.images.list() == []
        assert os.listdir(f"{paths.content}/blobs/sha256") == []
        assert engine.store.snapshots.layers() == []
        del image


@pytest.mark.parametrize("victims", [("enter-guard",), ("enter-keeper",)], ids=["guard", "keeper"])
def test_killed_keeper_loses_no_exit_code_and_no_container(engine: Engine, victims: tuple[str, ...]) -> None:
    box = engine.containers.create(
        "busybox", ContainerOptions(argv=["sh", "-c", "sleep 1; echo late; exit 6"])
    )
    box.start()
    deadline = time.monotonic() + 5  # a guard gives itself its name after the program runs
    everybody: list[int] = []
    while not everybody and time.monotonic() < deadline:
        everybody = [pid for pid in process_ids() if _comm(pid) in victims and _keeps(pid, box.id)]
    assert everybody
    for pid in everybody:
        os.kill(pid, signal.SIGKILL)
    assert box.state == "running"
    assert box.wait() == 6
    assert b"late\n" in b"".join(piece.data for piece in box.logs())


def test_program_without_any_keeper_is_still_found_and_stopped(engine: Engine, paths: StorePaths) -> None:
    box = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "100"]))
    box.start()
    keepers = [pid for pid in process_ids() if _comm(pid).startswith("enter-") and _keeps(pid, box.id)]
    for pid in keepers:
        os.kill(pid, signal.SIGSTOP)
    for pid in keepers:
        os.kill(pid, signal.SIGKILL)
    with Engine(paths) as other:
        found = other.containers.get(box.id)
        found.stop(0)
        assert found.state == "exited"
        found.remove()


def _comm(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _keeps(pid: int, container_id: str) -> bool:
    """Whether a process holds the lock file of this container."""
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    return any(link.endswith(f"/locks/{container_id}") for link in links)


def test_hundred_containers_leave_nothing(
    engine: Engine, paths: StorePaths, wait_until: Callable[..., object]
) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        session = engine.containers.create("busybox", ContainerOptions(argv=["true"], auto_remove=True))
        session.start()
    wait_until(lambda: not engine.store.containers.list(), 60)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    _assert_nothing_left(paths, wait_until)


def test_recover_is_idempotent_and_reports_what_it_did(engine: Engine, paths: StorePaths) -> None:
    process = _start(RUN.replace("0.05", "100"), paths)
    deadline = time.monotonic() + 20
    while not engine.store.containers.list(["running"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert len(engine.containers.list()) == 1, "the container must outlive the command that started it"
    assert engine.recover() == []
    engine.containers.list()[0].kill()
    while engine.containers.list():
        time.sleep(0.02)
    assert any("removed" in line for line in engine.recover() or ["removed already"])
    assert engine.recover() == []


def test_a_root_whose_row_a_power_cut_took_goes_before_its_ids_are_given_again(
    engine: Engine, paths: StorePaths
) -> None:
    """Rows of --rm containers are not synced: after a power cut their files may be all that is left of them."""
    box = engine.containers.create("busybox", ContainerOptions(argv=["true"], auto_remove=True))
    engine.store.containers.remove(box.id)
    os.unlink(f"{paths.run_root}/swept")  # the run directory of another boot
    with Engine(paths) as after:
        assert after.store.snapshots.roots() == []
        assert os.listdir(paths.containers) == []
        assert after.store.ranges.holders() == set()


def test_an_exit_record_that_a_power_cut_emptied_does_not_keep_its_container(
    engine: Engine, paths: StorePaths
) -> None:
    box = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "100"]))
    box.start()
    box.kill()
    assert box.wait() == 128 + signal.SIGKILL
    engine.store.containers.update(box.id, state="running", pid=1, boot_id="of another boot")
    with open(f"{paths.containers}/{box.id}/exit", "wb"):
        pass  # its size is what a power cut leaves of a file that was not synced
    with Engine(paths) as after:
        found = after.containers.get(box.id)
        assert (found.state, found.row.exit_code) == ("exited", 255)


COMMAND = """
import sys
sys.argv = ["casemate", "--root", sys.argv[1], "--run-root", sys.argv[2], *sys.argv[3:]]
from casemate.quickstart import casemate
sys.exit(casemate())
"""


def _command(paths: StorePaths, *words: str) -> list[str]:
    return [sys.executable, "-c", COMMAND, paths.root, paths.run_root, *words]


@pytest.mark.usefixtures("engine")
def test_commands_leave_nothing_though_they_end_before_the_files_are_deleted(
    paths: StorePaths, wait_until: Callable[..., object]
) -> None:
    for _ in range(20):
        argv = _command(
            paths, "run", "--rm", "--network", "none", "busybox", "sh", "-c", "mkdir -p /a/b; echo x >/a/b/c"
        )
        assert subprocess.run(argv, capture_output=True, check=True, timeout=30).stdout == b""
    _assert_nothing_left(paths, wait_until)
    wait_until(lambda: not os.listdir(f"{paths.overlay}/trash"))


@pytest.mark.usefixtures("engine")
def test_a_command_killed_at_any_moment_leaves_nothing(
    paths: StorePaths, wait_until: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(SEED)  # noqa: S311 - moments, not secrets
    for _ in range(ROUNDS):
        argv = _command(paths, "run", "--rm", "--network", "none", "busybox", "true")
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        _kill_after(process, rng.uniform(0.02, 0.15))
    _assert_nothing_left(paths, wait_until)
    monkeypatch.setattr(recover, "ABANDONED_S", -1.0)
    with Engine(paths):
        assert os.listdir(f"{paths.overlay}/trash") == []


@pytest.mark.needs_root
def test_ids_of_files_in_the_trash_are_not_given_to_anybody(engine: Engine) -> None:
    box = engine.containers.create("busybox", ContainerOptions(argv=["true"], auto_remove=True))
    base = engine.store.ranges.find(box.id)
    engine.store.snapshots.discard_root(box.id)
    assert engine.store.snapshots.discarded_owners() == {base}
    box.remove()
    with engine.store.database.write() as transaction:
        transaction.execute("UPDATE range_cursor SET last_slot=last_slot-1")
    other = engine.containers.create("busybox", ContainerOptions(argv=["true"]))
    assert engine.store.ranges.find(other.id) != base


def test_a_container_whose_maker_died_before_the_first_directory_can_be_removed(
    engine: Engine, paths: StorePaths
) -> None:
    box = engine.containers.create("busybox", ContainerOptions(argv=["true"]))
    shutil.rmtree(paths.containers)

    box.remove(force=True)

    assert engine.containers.list(all=True) == []
