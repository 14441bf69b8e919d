"""The metadata database: SQLite in WAL mode, one connection a process, migrated by numbered SQL files.

Readers never wait for a writer (WAL); writers queue by ``BEGIN IMMEDIATE`` with a deadline. A transaction is
durable when ``write()`` returns (``synchronous=FULL``) unless the caller said that losing it in a power cut
is harmless; it is atomic and visible to everybody either way, also after ``kill -9``.
"""

from __future__ import annotations

import _thread
import os
import sys

from casemate.errors import CasemateError, Corrupt, Denied, Exhausted, Internal, Unavailable, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Any, Self
else:
    from casemate import quickstart

    if quickstart.ends_at_once and "functools" not in sys.modules:
        # All that _sqlite3 wants of functools is lru_cache, once, for its cache of statements: 2 ms of imports.
        # Only in a process of ours alone: nobody else can meet the stand-in while it is there.
        sys.modules["functools"] = quickstart.stand_in_for_functools()
        try:
            import _sqlite3 as sqlite3
        finally:
            del sys.modules["functools"]
    else:
        import _sqlite3 as sqlite3  # without the package's date adapters: 2 ms less

APPLICATION_ID = 0x63734D74  # "csMt"
BUSY_TIMEOUT_S = 20.0
CHECKPOINT_PAGES = 256
"""So long may the write-ahead log grow: short commands leave it behind, and the next one reads it whole (ADR 3)."""
_MIGRATIONS = os.path.join(os.path.dirname(__file__), "migrations")

SQLITE_PERM, SQLITE_BUSY, SQLITE_LOCKED, SQLITE_READONLY = 3, 5, 6, 8
SQLITE_IOERR, SQLITE_CORRUPT, SQLITE_FULL, SQLITE_CANTOPEN, SQLITE_NOTADB = 10, 11, 13, 14, 26


class Database:
    """One open metadata database; safe to share between threads, which take turns."""

    __slots__ = ("_connection", "_durable", "_lock", "path")

    def __init__(self, path: str) -> None:
        """Open ``path``, creating or migrating it.

        Raises: Unsupported for a database of a newer casemate, Corrupt for one that is damaged or is not
        ours, Denied when it cannot be opened, Unavailable when another process holds it too long.
        """
        self.path = path
        self._lock = _thread.RLock()
        self._durable = True
        try:
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise explain(error, path) from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise explain(error, path) from error
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        """Check that the file is ours and current; migrate it when it is older."""
        execute = self._connection.execute
        execute("PRAGMA foreign_keys=ON")
        version = execute("PRAGMA user_version").fetchone()[0]
        if version == 0 or version != schema_version():
            self._migrate()
        elif execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise Corrupt("open metadata", self.path, "this database was not written by casemate")
        execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        execute("PRAGMA synchronous=FULL")

    def _migrate(self) -> None:
        """Bring the schema up to date, one transaction for each numbered file."""
        execute = self._connection.execute
        execute("PRAGMA journal_mode=WAL")
        for number, sql_path in migrations():
            execute("BEGIN IMMEDIATE")
            try:
                version = execute("PRAGMA user_version").fetchone()[0]
                self._require_ours(version)
                if version < number:
                    self._apply(number, sql_path)
                execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    execute("ROLLBACK")
                raise

    def _require_ours(self, version: int) -> None:
        """Raise unless the file is empty or has our mark and a version that this program knows."""
        execute = self._connection.execute
        if version > schema_version():
            raise Unsupported(
                "open metadata",
                self.path,
                f"it has schema {version}; this casemate knows schema {schema_version()}",
                hint="use the newer casemate that wrote it, or another CASEMATE_ROOT",
            )
        mark = execute("PRAGMA application_id").fetchone()[0]
        is_empty = execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if mark != APPLICATION_ID and not (is_empty and version == 0):
            raise Corrupt("open metadata", self.path, "this database was not written by casemate")

    def _apply(self, number: int, sql_path: str) -> None:
        """Run one migration inside the open transaction."""
        with open(sql_path, encoding="utf-8") as file:
            script = file.read()
        for statement in iter_statements(script):
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        self._connection.execute(f"PRAGMA user_version={number}")

    def read(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of one query, from a consistent snapshot; never waits for a writer."""
        try:
            with self._lock:
                return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def write(self, *, durable: bool = True) -> Transaction:
        """A block that is one transaction: committed at its end, rolled back by any exception."""
        return Transaction(self, durable=durable)

    def check(self) -> list[str]:
        """What SQLite's own integrity check finds wrong; empty when all is well."""
        rows = self.read("PRAGMA integrity_check(20)") + self.read("PRAGMA foreign_key_check")
        return [str(row[0]) for row in rows if row[0] != "ok"]

    def close(self) -> None:
        """Close the connection; idempotent."""
        with self._lock:
            self._connection.close()

    def _begin(self, *, durable: bool) -> None:
        """Take the thread lock and the write lock; the lock is given back when this fails."""
        self._lock.acquire()
        try:
            self._refuse_nesting()
            if durable is not self._durable:
                self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._lock.release()
            raise

    def _refuse_nesting(self) -> None:
        """Raise when this thread already writes: the inner block would silently join the outer one."""
        if self._connection.in_transaction:
            raise Internal("write metadata", self.path, "a transaction is already open in this thread")

    def _end(self, *, commit: bool) -> None:
        """Finish the transaction and give the thread lock back."""
        try:
            if commit:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._lock.release()


class Transaction:
    """One write transaction; ``execute`` inside its ``with`` block only."""

    __slots__ = ("_database", "_wants_durability")

    def __init__(self, database: Database, *, durable: bool) -> None:
        self._database = database
        self._wants_durability = durable

    def __enter__(self) -> Self:
        try:
            self._database._begin(durable=self._wants_durability)  # noqa: SLF001 - the two classes are one mechanism
        except sqlite3.Error as error:
            raise explain(error, self._database.path) from error
        return self

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        """Run one statement.

        Raises sqlite3.IntegrityError for the caller to name; other failures end the block.
        """
        return self._database._connection.execute(sql, values)  # noqa: SLF001 - as above

    def execute_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run one statement for each row."""
        self._database._connection.executemany(sql, rows)  # noqa: SLF001 - as above

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._database._end(commit=kind is None)  # noqa: SLF001 - as above
        except sqlite3.Error as failure:
            if error is None:
                raise explain(failure, self._database.path) from failure
            error.add_note(f"rolling back the metadata failed as well: {failure}")
        if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
            raise explain(error, self._database.path) from error


def schema_version() -> int:
    """The schema this program writes: the number of its last migration."""
    return 1


def migrations() -> list[tuple[int, str]]:
    """Numbers and paths of the migration files, in order."""
    found = [
        (int(name.partition("_")[0]), os.path.join(_MIGRATIONS, name))
        for name in os.listdir(_MIGRATIONS)
        if name.endswith(".sql")
    ]
    return sorted(found)


def iter_statements(script: str) -> Iterable[str]:
    """The statements of an SQL file. executescript is not used because it commits the open transaction."""
    pending = ""
    for line in script.splitlines():
        pending += line.partition("--")[0] + "\n"
        if pending.strip() and sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def explain(error: sqlite3.Error, path: str) -> CasemateError:
    """The category and advice that belong to a failure of SQLite."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary in (SQLITE_CORRUPT, SQLITE_NOTADB):
        return Corrupt(
            "open metadata",
            path,
            f"the database is damaged: {error}",
            hint="restore a backup, or move the file aside: a pull finds blobs and layers again",
        )
    if primary == SQLITE_FULL:
        return Exhausted(
            "write metadata", path, "the disk is full", hint="free disk space, then: casemate system prune"
        )
    if primary in (SQLITE_BUSY, SQLITE_LOCKED):
        return Unavailable(
            "write metadata", path, f"another process kept it locked for {BUSY_TIMEOUT_S:.0f} s"
        )
    if primary in (SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN):
        return Denied(
            "open metadata", path, str(error), hint="check the owner and the mount of the state directory"
        )
    if primary == SQLITE_IOERR:
        return Exhausted("access metadata", path, str(error), hint="check the disk: it is full or failing")
    return Internal("access metadata", path, str(error))
