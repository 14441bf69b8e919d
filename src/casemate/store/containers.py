"""Durable rows of containers: what must be known of one after every process of ours has died."""

from __future__ import annotations

from casemate.errors import AlreadyExists, Conflict, Internal, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence
    from typing import Any

    from casemate.store.database import Database
    from casemate.store.ranges import UidRanges
else:
    from casemate.store.database import sqlite3  # loaded there with care

COLUMNS = (
    "id",
    "name",
    "image_name",
    "image_digest",
    "config",
    "state",
    "pid",
    "start_time",
    "boot_id",
    "created_ns",
    "started_ns",
    "finished_ns",
    "exit_code",
    "auto_remove",
)
_SELECT = "SELECT " + ", ".join(COLUMNS) + " FROM containers"  # noqa: S608 - constants
_INSERT = f"INSERT INTO containers VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - constants
_FIXED = ("id",)
_ID_LENGTH = 64


class ContainerRow:
    """One container.

    ``config`` is the engine's own JSON text; times are nanoseconds since 1970, 0 for "not yet".
    """

    __slots__ = COLUMNS

    def __init__(  # noqa: PLR0913 - one parameter a column
        self,
        *,
        id: str,  # noqa: A002 - the column's name
        name: str,
        image_name: str = "",
        image_digest: str = "",
        config: str = "{}",
        state: str = "created",
        pid: int = 0,
        start_time: int = 0,
        boot_id: str = "",
        created_ns: int = 0,
        started_ns: int = 0,
        finished_ns: int = 0,
        exit_code: int = 0,
        auto_remove: bool = False,
    ) -> None:
        self.id = id
        self.name = name
        self.image_name = image_name
        self.image_digest = image_digest
        self.config = config
        self.state = state
        self.pid = pid
        self.start_time = start_time
        self.boot_id = boot_id
        self.created_ns = created_ns
        self.started_ns = started_ns
        self.finished_ns = finished_ns
        self.exit_code = exit_code
        self.auto_remove = bool(auto_remove)


class Containers:
    """The table of containers. Reading never waits for a writer."""

    __slots__ = ("_database", "_ranges")

    def __init__(self, database: Database, ranges: UidRanges) -> None:
        self._database = database
        self._ranges = ranges

    def insert(
        self,
        row: ContainerRow,
        *,
        durable: bool = True,
        with_range: bool = False,
        avoid: Collection[int] = (),
    ) -> int | None:
        """Add a container, in the same transaction with a uid range of its own; the first uid of that or None.

        ``avoid``: first uids of ranges that may not be given. ``durable=False``: a power cut may forget it.
        Raises: AlreadyExists when id or name is taken.
        """
        try:
            with self._database.write(durable=durable) as transaction:
                transaction.execute(_INSERT, *[getattr(row, column) for column in COLUMNS])
                return self._ranges.allocate_in(transaction, row.id, avoid=avoid) if with_range else None
        except sqlite3.IntegrityError as error:
            raise self._name_is_taken("create container", row.name) from error

    def _name_is_taken(self, doing: str, name: str) -> AlreadyExists:
        """The error that tells who has the name."""
        owner = self._database.read("SELECT id FROM containers WHERE name=?", name)
        why = f"the name is used by container {owner[0][0][:12]}" if owner else "the id exists"
        return AlreadyExists(doing, name, why, hint=f"casemate rm {name}, or choose another name")

    def find(self, reference: str) -> ContainerRow | None:
        """The container with this id, name or start of an id, in that order; None when there is none.

        Raises: Conflict when several ids begin like this.
        """
        if not reference or not reference.isascii():  # no name and no id has other characters
            return None
        rows = self._database.read(f"{_SELECT} WHERE id=?1 OR name=?1", reference)
        if not rows and len(reference) < _ID_LENGTH:
            rows = self._database.read(
                f"{_SELECT} WHERE id >= ? AND id < ? LIMIT 2", reference, reference + "g"
            )
            if len(rows) > 1:
                raise Conflict(
                    "find container", reference, "several ids begin like this", hint="give more digits"
                )
        best = next((row for row in rows if row[0] == reference), rows[0] if rows else None)
        return _row(best) if best else None

    def get(self, reference: str) -> ContainerRow:
        """As ``find``. Raises: NotFound, Conflict."""
        row = self.find(reference)
        if row is None:
            raise NotFound(
                "find container", reference, "no such container", hint="casemate ps --all lists them"
            )
        return row

    def list(self, states: Sequence[str] | None = None) -> Sequence[ContainerRow]:
        """All containers, or those in ``states``, newest first."""
        if states is None:
            rows = self._database.read(f"{_SELECT} ORDER BY created_ns DESC, id")
        else:
            marks = ", ".join("?" * len(states))
            rows = self._database.read(
                f"{_SELECT} WHERE state IN ({marks}) ORDER BY created_ns DESC, id", *states
            )
        return [_row(row) for row in rows]

    def update(self, container_id: str, *, durable: bool = True, **columns: object) -> None:
        """Change columns of one container in one step. Raises: NotFound, AlreadyExists for a taken name."""
        unknown = [name for name in columns if name not in COLUMNS or name in _FIXED]
        if unknown or not columns:
            raise Internal("update container", container_id, f"columns cannot be written: {unknown}")
        changes = ", ".join(f"{name}=?" for name in columns)
        try:
            with self._database.write(durable=durable) as transaction:
                cursor = transaction.execute(
                    f"UPDATE containers SET {changes} WHERE id=?",  # noqa: S608 - names come from COLUMNS
                    *columns.values(),
                    container_id,
                )
                if not cursor.rowcount:
                    raise NotFound("update container", container_id, "no such container")
        except sqlite3.IntegrityError as error:
            raise self._name_is_taken("rename container", str(columns.get("name", ""))) from error

    def remove(self, container_id: str, *, durable: bool = True) -> bool:
        """Forget a container and free its uid range.

        True when it existed. Its root is the caller's to remove first: files may still carry the range's ids.
        """
        with self._database.write(durable=durable) as transaction:
            transaction.execute("DELETE FROM ranges WHERE container=?", container_id)
            return bool(transaction.execute("DELETE FROM containers WHERE id=?", container_id).rowcount)


def _row(values: tuple[Any, ...]) -> ContainerRow:
    """A row from its columns."""
    return ContainerRow(**dict(zip(COLUMNS, values, strict=True)))
