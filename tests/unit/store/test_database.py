"""The metadata: opened clearly or not at all, atomic, and never in the way of a reader."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from casemate.errors import Corrupt, Denied, Exhausted, Internal, Unavailable, Unsupported
from casemate.store import database as module
from casemate.store.database import APPLICATION_ID, Database, explain, migrations, schema_version

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "casemate.db")


def closed(path: str) -> None:
    Database(path).close()


def change(path: str, sql: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_opening_twice_changes_nothing(path: str) -> None:
    closed(path)
    database = Database(path)
    assert database.read("PRAGMA user_version") == [(schema_version(),)]
    assert database.read("PRAGMA application_id") == [(APPLICATION_ID,)]
    assert database.read("PRAGMA journal_mode") == [("wal",)]
    assert database.read("PRAGMA synchronous") == [(2,)]
    assert database.check() == []
    database.close()


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [number for number, _ in migrations()] == list(range(1, schema_version() + 1))


def test_a_newer_database_is_refused_with_advice(path: str) -> None:
    closed(path)
    change(path, f"PRAGMA user_version={schema_version() + 1}")
    with pytest.raises(Unsupported, match="schema 2; this casemate knows schema 1") as caught:
        Database(path)
    assert "newer casemate" in caught.value.hint


def test_somebody_elses_database_is_refused_untouched(path: str) -> None:
    change(path, "CREATE TABLE theirs (x)")
    with pytest.raises(Corrupt, match="not written by casemate"):
        Database(path)
    change(path, f"PRAGMA user_version={schema_version()}")
    with pytest.raises(Corrupt, match="not written by casemate"):
        Database(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    connection.close()


def read_all_tables(path: str) -> None:
    database = Database(path)
    try:
        database.read("SELECT * FROM names JOIN manifests JOIN containers JOIN lease_refs")
    finally:
        database.close()


@pytest.mark.parametrize("damage", ["text", "header", "cut"])
def test_a_damaged_database_is_corrupt_with_advice(path: str, damage: str) -> None:
    closed(path)
    with open(path, "r+b") as file:
        if damage == "text":
            file.truncate(0)
            file.write(b"this is not a database at all" * 100)
        elif damage == "header":
            file.write(b"\0" * 16)
        else:
            file.truncate(5000)
    with pytest.raises(Corrupt) as caught:
        read_all_tables(path)
    assert "damaged" in caught.value.why
    assert caught.value.hint


def test_an_older_database_is_migrated_and_a_failed_migration_changes_nothing(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed(path)
    bad, good = tmp_path / "0002_bad.sql", tmp_path / "0002_good.sql"
    bad.write_text("CREATE TABLE extra (x INTEGER);\nCREATE TABLE extra (y INTEGER);\n")
    good.write_text(
        "CREATE TABLE extra (x INTEGER);  -- a comment; with a semicolon\nINSERT INTO extra\n VALUES (7);\n"
    )
    first = migrations()
    monkeypatch.setattr(module, "schema_version", lambda: 2)
    monkeypatch.setattr(module, "migrations", lambda: [*first, (2, str(bad))])
    with pytest.raises(Internal):
        Database(path)
    monkeypatch.setattr(module, "migrations", lambda: [*first, (2, str(good))])
    database = Database(path)
    assert database.read("SELECT x FROM extra") == [(7,)]
    database.close()


def test_many_processes_may_create_it_at_once(path: str) -> None:
    code = "import sys; from casemate.store.database import Database; print(Database(sys.argv[1]).check())"
    started = [
        subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(6)
    ]
    assert [process.communicate()[0] for process in started] == [b"[]\n"] * 6


def write_and_fail(database: Database) -> None:
    with database.write() as transaction:
        transaction.execute("INSERT INTO ranges VALUES (1, 'c')")
        raise ValueError("stop")


def test_a_failed_block_leaves_no_trace(path: str) -> None:
    database = Database(path)
    with pytest.raises(ValueError, match="stop"):
        write_and_fail(database)
    assert database.read("SELECT * FROM ranges") == []
    database.close()


def test_nesting_is_refused_instead_of_joined(path: str) -> None:
    database = Database(path)
    with database.write() as transaction:
        transaction.execute("INSERT INTO ranges VALUES (1, 'c')")
        with pytest.raises(Internal, match="already open"), database.write():
            pass
    assert database.read("SELECT slot FROM ranges") == [(1,)]
    database.close()


def test_a_reader_never_waits_for_a_writer(path: str) -> None:
    writer, reader = Database(path), Database(path)
    with writer.write() as transaction:
        transaction.execute("INSERT INTO ranges VALUES (1, 'c')")
        answers: list[object] = []
        thread = threading.Thread(target=lambda: answers.append(reader.read("SELECT * FROM ranges")))
        thread.start()
        thread.join(timeout=5)
        assert answers == [[]], "the reader was blocked, or saw what was not committed"
    assert reader.read("SELECT slot FROM ranges") == [(1,)]
    writer.close()
    reader.close()


def test_a_writer_that_waits_too_long_is_told_so(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.05)
    first, second = Database(path), Database(path)
    with first.write(), pytest.raises(Unavailable), second.write():
        pass
    with second.write():
        pass
    first.close()
    second.close()


def test_durability_is_chosen_for_each_transaction(path: str) -> None:
    database = Database(path)
    for durable, expected in ((False, 1), (True, 2), (False, 1)):
        with database.write(durable=durable) as transaction:
            assert transaction.execute("PRAGMA synchronous").fetchone()[0] == expected
    database.close()


def test_what_sqlite_says_becomes_a_category() -> None:
    for code, category in (
        (13, Exhausted),
        (11, Corrupt),
        (26, Corrupt),
        (5, Unavailable),
        (14, Denied),
        (1, Internal),
    ):
        error = sqlite3.OperationalError("words")
        error.sqlite_errorcode = code | 0x100
        assert type(explain(error, "/db")) is category


@pytest.mark.rootless
def test_a_directory_that_may_not_be_read_is_denied(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        with pytest.raises(Denied):
            Database(str(tmp_path / "casemate.db"))
    finally:
        tmp_path.chmod(0o700)


def test_a_process_that_ends_without_closing_leaves_everything_and_a_short_log(path: str) -> None:
    script = (
        "import os, sys\nfrom casemate.store.database import Database\n"
        "database = Database(sys.argv[1])\n"
        "with database.write(durable=False) as one: one.execute('CREATE TABLE t (x)')\n"
        "for number in range(2000):\n"
        "    with database.write(durable=False) as one: one.execute('INSERT INTO t VALUES (?)', number)\n"
        "os._exit(0)"
    )
    closed(path)
    subprocess.run([sys.executable, "-c", script, path], check=True)
    assert 0 < os.path.getsize(path + "-wal") < 2 << 20, "every later command reads the whole log"
    database = Database(path)
    assert database.read("SELECT count(*), sum(x) FROM t") == [(2000, 1999 * 1000)]
    assert database.check() == []
    database.close()
    assert not os.path.exists(path + "-wal")
