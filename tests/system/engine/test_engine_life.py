"""The life of a container: detached, attached again, stopped, waited for, paused, logged, removed."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from casemate.engine.engine import Engine
from casemate.engine.options import Attach, ContainerOptions, ExecOptions
from casemate.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from casemate.store.paths import StorePaths

pytestmark = pytest.mark.system
IS_ROOT = os.geteuid() == 0
CLOCK = "trap 'exit 7' TERM; while true; do echo tick; sleep 0.1; done"


def test_detached_container_outlives_its_engine(engine: Engine, paths: StorePaths) -> None:
    engine.containers.create("busybox", ContainerOptions(name="box", argv=["sleep", "100"])).start()
    with Engine(paths) as other:
        box = other.containers.get("box")
        assert box.state == "running"
        assert [found.name for found in other.containers.list()] == ["box"]
        assert box.summary()["Status"].startswith("Up ")


def test_stop_sends_the_stop_signal_first(engine: Engine) -> None:
    box = engine.containers.create("busybox", ContainerOptions(argv=["sh", "-c", CLOCK]))
    box.start()
    time.sleep(0.2)  # the shell must have set its trap
    box.stop(10)
    assert box.inspect()["State"]["ExitCode"] == 7
    box.stop(10)


def test_stop_kills_after_the_timeout(engine: Engine) -> None:
    box = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "100"]))
    box.start()
    box.stop(0.1)
    assert box.inspect()["State"] | {"Status": "exited", "ExitCode": 137} == box.inspect()["State"]


def test_container_can_be_started_again_and_keeps_its_files(engine: Engine) -> None:
    box = engine.containers.create(
        "busybox", ContainerOptions(argv=["sh", "-c", "test -e /mark && exit 5; touch /mark"])
    )
    box.start()
    assert box.wait() == 0
    box.start()
    assert box.wait() == 5


def test_waiters_of_an_auto_removed_container_get_its_code(engine: Engine, paths: StorePaths) -> None:
    box = engine.containers.create(
        "busybox", ContainerOptions(argv=["sh", "-c", "sleep 0.5; exit 9"], auto_remove=True)
    )
    box.start()
    codes: list[int] = []

    def wait() -> None:
        with Engine(paths, recover=False) as other:
            codes.append(other.containers.get(box.id).wait())

    waiters = [threading.Thread(target=wait) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    for waiter in waiters:
        waiter.join(20)
    assert codes == [9, 9, 9]


def test_detached_auto_remove_container_removes_itself(
    engine: Engine, wait_until: Callable[..., object]
) -> None:
    engine.containers.create("busybox", ContainerOptions(argv=["true"], auto_remove=True)).start()
    wait_until(lambda: not engine.store.containers.list())
    wait_until(lambda: not os.listdir(engine.store.paths.containers))


def test_log_keeps_streams_order_and_times(engine: Engine) -> None:
    box = engine.containers.create(
        "busybox", ContainerOptions(argv=["sh", "-c", "echo a; sleep 0.1; echo b >&2; sleep 0.1; echo c"])
    )
    before = time.time_ns()
    box.start()
    box.wait()
    pieces = list(box.logs())
    assert [(piece.stream, piece.data) for piece in pieces] == [(1, b"a\n"), (2, b"b\n"), (1, b"c\n")]
    assert all(before <= piece.time_ns <= time.time_ns() for piece in pieces)
    assert b"".join(piece.data for piece in box.logs(tail=2)) == b"b\nc\n"
    assert [piece.data for piece in box.logs(since_ns=pieces[2].time_ns)] == [b"c\n"]


def test_following_a_log_ends_with_the_program(engine: Engine) -> None:
    box = engine.containers.create(
        "busybox", ContainerOptions(argv=["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"])
    )
    box.start()
    assert b"".join(piece.data for piece in box.logs(follow=True)) == b"1\n2\n3\n"


def test_log_is_rotated_and_bounded(engine: Engine) -> None:
    options = ContainerOptions(argv=["sh", "-c", "yes | head -c 400000"], log_max_bytes=65536, log_files=2)
    box = engine.containers.create("busybox", options)
    box.start()
    assert box.wait() == 0
    directory = f"{engine.store.paths.containers}/{box.id}"
    logs = [name for name in os.listdir(directory) if name.startswith("log") and "index" not in name]
    assert sorted(logs) == ["log", "log.1"]
    assert sum(os.path.getsize(f"{directory}/{name}") for name in logs) < 4 * 65536
    assert sum(len(piece.data) for piece in box.logs()) > 65536


def test_attach_gets_what_is_written_from_now_on_and_can_write(engine: Engine) -> None:
    box = engine.containers.create(
        "busybox", ContainerOptions(argv=["sh", "-c", "read line; echo got $line"], interactive=True)
    )
    box.start()
    reader, writer = os.pipe()
    with box.attach(Attach(stdin=True, stdout_fd=writer, stderr_fd=None)) as session:
        os.close(writer)
        os.write(session.stdin_fd, b"hello\n")
        assert session.wait() == 0
    with open(reader, "rb") as file:
        assert file.read() == b"got hello\n"


def test_terminal_is_a_terminal_with_the_callers_size(engine: Engine) -> None:
    reader, writer = os.pipe()
    options = ContainerOptions(
        argv=["sh", "-c", "test -t 0 && stty size; echo $TERM"], tty=True, interactive=True, auto_remove=True
    )
    session = engine.containers.create("busybox", options).start(
        Attach(stdin=True, stdout_fd=writer, rows=40, columns=120)
    )
    os.close(writer)
    with session:
        session.resize(40, 120)
        assert session.wait() == 0
    with open(reader, "rb") as file:
        assert file.read() == b"40 120\r\nxterm\r\n"


def test_exec_needs_a_running_container(engine: Engine) -> None:
    box = engine.containers.create("busybox", ContainerOptions(argv=["true"]))
    with pytest.raises(Conflict, match="not running"):
        box.exec(["true"])
    with pytest.raises(Conflict, match="not running"):
        box.kill()


def test_exec_has_own_code_streams_user_and_environment(
    engine: Engine, execute: Callable[..., object]
) -> None:
    box = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "100"], env=["A=1"]))
    box.start()
    result = execute(box, "sh", "-c", "cat; echo $A $B >&2; exit 3", stdin=b"in", env=["B=2"], workdir="/tmp")
    assert (result.out, result.err, result.code) == ("in", "1 2\n", 3)


def test_detached_exec_goes_on(
    engine: Engine, execute: Callable[..., object], wait_until: Callable[..., object]
) -> None:
    box = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "100"]))
    box.start()
    box.exec(["sh", "-c", "sleep 0.1; touch /tmp/done"], ExecOptions(detach=True))
    wait_until(lambda: execute(box, "test", "-e", "/tmp/done").code == 0)


@pytest.mark.needs_root
def test_paused_container_does_nothing_until_unpaused(engine: Engine, execute: Callable[..., object]) -> None:
    box = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "100"]))
    box.start()
    box.pause()
    assert box.state == "paused"
    assert box.summary()["Status"].endswith("(Paused)")
    with pytest.raises(Conflict, match="paused"):
        box.exec(["true"])
    box.unpause()
    assert execute(box, "true").code == 0
    box.pause()
    box.remove(force=True)


def test_remove_refuses_a_running_container_unless_forced(engine: Engine) -> None:
    box = engine.containers.create("busybox", ContainerOptions(name="box", argv=["sleep", "100"]))
    box.start()
    with pytest.raises(Conflict, match="running"):
        box.remove()
    box.remove(force=True)
    with pytest.raises(NotFound):
        engine.containers.get("box")


def test_rename_and_top(engine: Engine) -> None:
    box = engine.containers.create("busybox", ContainerOptions(name="old", argv=["sleep", "100"]))
    box.start()
    box.rename("new")
    assert engine.containers.get("new").id == box.id
    titles, rows = box.top()
    assert [row[titles.index("CMD")] for row in rows] == ["sleep 100"]


def test_filters_are_dockers(engine: Engine) -> None:
    one = engine.containers.create("busybox", ContainerOptions(name="one", labels={"tier": "web"}))
    two = engine.containers.create("busybox", ContainerOptions(name="two", argv=["false"]))
    two.start()
    two.wait()
    names = lambda **filters: [box.name for box in engine.containers.list(all=True, filters=filters)]  # noqa: E731
    assert names(label=["tier=web"]) == ["one"]
    assert names(status=["exited"]) == ["two"]
    assert names(exited=["1"]) == ["two"]
    assert names(name=["o"]) == ["two", "one"]
    assert names(ancestor=["busybox"]) == ["two", "one"]
    assert names(since=[one.id]) == ["two"]
    assert engine.containers.list() == []


def test_listing_500_stopped_containers_is_one_query(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from casemate.store.containers import ContainerRow

    box = engine.containers.create("busybox", ContainerOptions(argv=["true"]))
    config = box.row.config
    for number in range(500):
        row = ContainerRow(
            id=f"{number:064x}", name=f"c{number}", state="exited", config=config, created_ns=number + 1
        )
        engine.store.containers.insert(row, durable=False)
    queries: list[str] = []
    read = type(engine.store.database).read

    def count(database: object, sql: str, *values: object) -> object:
        queries.append(sql)
        return read(database, sql, *values)

    monkeypatch.setattr(type(engine.store.database), "read", count)
    assert len([found.summary() for found in engine.containers.list(all=True)]) == 501
    assert len(queries) == 1
    monkeypatch.undo()
    with engine.store.database.write() as transaction:
        transaction.execute(
            "DELETE FROM containers WHERE name LIKE 'c%' AND config=? AND id<>?", config, box.id
        )


def test_a_writer_keeps_no_reader_waiting(engine: Engine, paths: StorePaths) -> None:
    box = engine.containers.create("busybox", ContainerOptions(name="box"))
    with engine.store.database.write():
        started = time.monotonic()
        with Engine(paths) as other:
            assert other.containers.get("box").inspect()["Id"] == box.id
            assert len(other.containers.list(all=True)) == 1
        assert time.monotonic() - started < 2
