"""Collection: what no image, container or lease reaches is removed, beside running pulls.

Deciding and removing a name from sight happen in one write transaction, so that a lease is either seen or
comes too late and finds the content gone (see leases.py). Deleting what was put out of sight follows without
holding anybody up.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.store.database import Transaction
    from casemate.store.store import Store

_LIVE_MANIFESTS = (
    "SELECT manifest FROM names UNION SELECT image_digest FROM containers"
    " UNION SELECT key FROM lease_refs WHERE kind='manifest'"
)


class Collected:
    """What a collection removed: names for people, and the bytes of blobs."""

    __slots__ = ("blob_bytes", "removed")

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.blob_bytes = 0


def collect(store: Store) -> Collected:
    """Remove what nothing reaches; return what that was. Raises: Exhausted, Denied."""
    collected = Collected()
    with store.database.write() as transaction:
        store.leases.drop_dead(transaction)
        transaction.execute(f"DELETE FROM manifests WHERE digest NOT IN ({_LIVE_MANIFESTS})")  # noqa: S608 - constant
        live_roots = {row[0] for row in transaction.execute("SELECT id FROM containers").fetchall()}
        live_roots |= _leased(transaction, "root")
        live_layers = _referenced(transaction, "layer") | _leased(transaction, "layer")
        collected.removed = store.snapshots.retire(live_layers, live_roots)
        live_blobs = _referenced(transaction, "blob") | _leased(transaction, "blob")
        for blob in list(store.content.iter_blobs()):
            if blob.digest not in live_blobs:
                store.content.delete(blob.digest)
                collected.removed.append(f"blob {blob.digest}")
                collected.blob_bytes += blob.size_bytes
    collected.removed += [f"ingest {name}" for name in store.content.sweep()]
    store.snapshots.empty_trash()
    _release_ranges(store)
    store.snapshots.settle()
    return collected


def _release_ranges(store: Store) -> None:
    """Free the uid ranges of containers that are forgotten and whose files are gone."""
    for container_id in store.ranges.holders():
        if store.containers.find(container_id) is None and container_id not in store.snapshots.roots():
            store.ranges.release(container_id)


def _referenced(transaction: Transaction, kind: str) -> set[str]:
    """Keys that a manifest keeps."""
    rows = transaction.execute("SELECT DISTINCT key FROM manifest_refs WHERE kind=?", kind).fetchall()
    return {row[0] for row in rows}


def _leased(transaction: Transaction, kind: str) -> set[str]:
    """Keys that a lease keeps."""
    rows = transaction.execute("SELECT DISTINCT key FROM lease_refs WHERE kind=?", kind).fetchall()
    return {row[0] for row in rows}
