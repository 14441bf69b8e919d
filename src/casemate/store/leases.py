"""Leases: what a running operation has fetched and nothing points to yet is kept while the operation lives.

The rule that makes collection safe beside a pull: *first add the key to the lease, then look whether the
content is here.* Deleting happens inside a write transaction that has checked the leases, so either the lease
is seen and the content stays, or the content is already gone and the look finds nothing.
"""

from __future__ import annotations

import os
import time

from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from casemate.store.database import Database, Transaction

KINDS = frozenset(("blob", "layer", "root", "manifest"))
DEFAULT_TTL_S = 86400


class Lease:
    """One operation's claim; ends with its ``with`` block, with its process, or when its time is over."""

    __slots__ = ("_database", "_id", "name")

    def __init__(self, database: Database, name: str, lease_id: int) -> None:
        self._database = database
        self._id = lease_id
        self.name = name

    def add(self, kind: str, *keys: str) -> None:
        """Keep these keys.

        ``blob`` or ``manifest`` with digests, ``layer`` with chain ids, ``root`` with container ids.
        """
        if kind not in KINDS:
            raise Invalid("hold lease", self.name, f"there is no kind {kind!r}")
        with self._database.write(durable=False) as transaction:
            transaction.execute_many(
                "INSERT OR IGNORE INTO lease_refs VALUES (?, ?, ?)", [(self._id, kind, key) for key in keys]
            )

    def release(self) -> None:
        """End the claim; idempotent."""
        with self._database.write(durable=False) as transaction:
            transaction.execute("DELETE FROM leases WHERE id=?", self._id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Leases:
    """The table of leases."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, name: str, *, ttl_s: float = DEFAULT_TTL_S) -> Lease:
        """A new lease owned by this process.

        A power cut may forget it, together with the process that needed it.
        """
        from casemate.kernel.process import boot_id, start_time

        pid = os.getpid()
        expires_ns = time.time_ns() + int(ttl_s * 1e9)
        with self._database.write(durable=False) as transaction:
            cursor = transaction.execute(
                "INSERT INTO leases (name, pid, start_time, pid_ns, boot_id, expires_ns)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                name,
                pid,
                start_time(pid) or 0,
                _own_pid_namespace(),
                boot_id(),
                expires_ns,
            )
            return Lease(self._database, name, int(cursor.lastrowid or 0))

    def drop_dead(self, transaction: Transaction) -> int:
        """Delete leases that are over or whose owner has died; return how many."""
        rows = transaction.execute(
            "SELECT id, pid, start_time, pid_ns, boot_id, expires_ns FROM leases"
        ).fetchall()
        dead = [(row[0],) for row in rows if not _is_alive(row[1:])]
        transaction.execute_many("DELETE FROM leases WHERE id=?", dead)
        return len(dead)


def _is_alive(owner: tuple[Any, ...]) -> bool:
    """Whether a lease's owner may still need it. Where its pid means nothing here, only the time decides."""
    from casemate.kernel.process import boot_id, start_time

    pid, started, pid_ns, boot, expires_ns = owner
    if boot != boot_id() or expires_ns <= time.time_ns():
        return False
    return bool(pid_ns != _own_pid_namespace() or start_time(pid) == started)


def _own_pid_namespace() -> int:
    """The inode that names this process's pid namespace; 0 where /proc hides it."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
