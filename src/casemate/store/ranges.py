"""Unique uid ranges: no host uid is ever shared, nor reused while files may still carry it."""

from __future__ import annotations

from casemate.errors import Exhausted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from casemate.store.database import Database, Transaction

POOL_BASE = 0x40000000
RANGE_SIZE = 0x10000
SLOT_COUNT = 0x3FFF
"""Slots 1 to 0x3FFF: the pool ends below 0x80000000, which programs with a signed uid would misread."""
STORE_BASE = POOL_BASE
"""Slot 0: owns unpacked layers, so that a set-user-id file in a layer never belongs to a user of the host."""


class UidRanges:
    """Allocation of host uid (and gid) ranges of 65,536 ids to containers."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    def allocate(self, container_id: str, *, durable: bool = True) -> int:
        """The first host uid of the container's own range; the same one when asked again.

        Slots are handed out in turn, so that a freed one is the last to come back: a file left behind in a
        volume meets no new owner for as long as possible. Raises: Exhausted when all ranges are in use.
        """
        with self._database.write(durable=durable) as transaction:
            return self.allocate_in(transaction, container_id)

    def allocate_in(self, transaction: Transaction, container_id: str, *, avoid: Collection[int] = ()) -> int:
        """As ``allocate``, as part of a transaction that writes the container's row too.

        ``avoid``: first uids of ranges that files on their way to deletion still carry.
        """
        row = transaction.execute("SELECT slot FROM ranges WHERE container=?", container_id).fetchone()
        if row:
            return POOL_BASE + int(row[0]) * RANGE_SIZE
        unfit = {(base - POOL_BASE) // RANGE_SIZE for base in avoid}
        return POOL_BASE + self._take(transaction, container_id, unfit) * RANGE_SIZE

    @staticmethod
    def _take(transaction: Transaction, container_id: str, unfit: set[int]) -> int:
        """Give the next free slot after the last one given to ``container_id``."""
        last = int(transaction.execute("SELECT last_slot FROM range_cursor").fetchone()[0])
        slot = last % SLOT_COUNT + 1
        if slot in unfit or transaction.execute("SELECT 1 FROM ranges WHERE slot=?", slot).fetchone():
            taken = {int(row[0]) for row in transaction.execute("SELECT slot FROM ranges").fetchall()} | unfit
            order = (((last + step) % SLOT_COUNT) + 1 for step in range(SLOT_COUNT))
            free = next((candidate for candidate in order if candidate not in taken), None)
            if free is None:
                raise Exhausted(
                    "allocate uid range",
                    container_id,
                    f"all {SLOT_COUNT} ranges are in use",
                    hint="remove stopped containers: casemate container prune",
                )
            slot = free
        transaction.execute("INSERT INTO ranges VALUES (?, ?)", slot, container_id)
        transaction.execute("UPDATE range_cursor SET last_slot=?", slot)
        return slot

    def find(self, container_id: str) -> int | None:
        """The first host uid of the container's range, or None."""
        rows = self._database.read("SELECT slot FROM ranges WHERE container=?", container_id)
        return POOL_BASE + int(rows[0][0]) * RANGE_SIZE if rows else None

    def release(self, container_id: str, *, durable: bool = True) -> None:
        """Give the range back; absent is success.

        Call it only after the container's upper directory is gone.
        """
        with self._database.write(durable=durable) as transaction:
            transaction.execute("DELETE FROM ranges WHERE container=?", container_id)

    def holders(self) -> set[str]:
        """The containers that hold a range."""
        return {row[0] for row in self._database.read("SELECT container FROM ranges")}
