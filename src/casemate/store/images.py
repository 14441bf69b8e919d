"""Image names, and the manifests they point to.

A name is written only by an explicit act of the user (pull, tag, load, build): nothing else in casemate calls
``put``.
"""

from __future__ import annotations

import time

from casemate.errors import AlreadyExists, Conflict, Invalid, NotFound
from casemate.oci.digest import require_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from casemate.store.database import Database, Transaction

MIN_PREFIX = 4
_COLUMNS = "m.digest, m.config_digest, m.platform, m.created_ns, m.size_bytes, m.chain_ids"


class ImageRecord:
    """What the store knows about one image of one platform.

    ``blobs`` are the layer blobs (manifest and config are implied); they and ``chain_ids`` stay as long as
    the record. ``name`` is set on records that were read by name, ``size_bytes`` is the unpacked size that
    people are shown.
    """

    __slots__ = (
        "blobs",
        "chain_ids",
        "config_digest",
        "created_ns",
        "manifest_digest",
        "name",
        "platform",
        "size_bytes",
        "updated_ns",
    )

    def __init__(  # noqa: PLR0913 - a plain value
        self,
        *,
        manifest_digest: str,
        config_digest: str,
        chain_ids: Sequence[str] = (),
        blobs: Sequence[str] = (),
        platform: str = "",
        created_ns: int = 0,
        size_bytes: int = 0,
        name: str = "",
        updated_ns: int = 0,
    ) -> None:
        self.manifest_digest = require_digest(manifest_digest)
        self.config_digest = require_digest(config_digest)
        self.chain_ids = tuple(require_digest(chain_id) for chain_id in chain_ids)
        self.blobs = tuple(require_digest(blob) for blob in blobs)
        self.platform = platform
        self.created_ns = created_ns
        self.size_bytes = size_bytes
        self.name = name
        self.updated_ns = updated_ns

    @property
    def chain_id(self) -> str | None:
        """The topmost layer's chain id, None for an image without layers."""
        return self.chain_ids[-1] if self.chain_ids else None


class Images:
    """The table of names and manifests."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, record: ImageRecord, *, replace: bool = True) -> None:
        """Make ``name`` mean ``record``.

        Raises: AlreadyExists when ``replace`` is False and it means another image.
        """
        if not name:
            raise Invalid("name image", record.manifest_digest, "the name is empty")
        with self._database.write() as transaction:
            row = transaction.execute("SELECT manifest FROM names WHERE name=?", name).fetchone()
            if row and row[0] != record.manifest_digest and not replace:
                raise AlreadyExists("name image", name, f"it already names {row[0]}")
            _put_manifest(transaction, record)
            transaction.execute(
                "INSERT INTO names VALUES (?, ?, ?) ON CONFLICT (name)"
                " DO UPDATE SET manifest=excluded.manifest, updated_ns=excluded.updated_ns",
                name,
                record.manifest_digest,
                time.time_ns(),
            )

    def get(self, name: str) -> ImageRecord:
        """The image that exactly this name means. Raises: NotFound."""
        record = self.find_exact(name)
        if record is None:
            raise NotFound("find image", name, "no such image here", hint=f"casemate pull {name}")
        return record

    def find_exact(self, name: str) -> ImageRecord | None:
        """The image of this name, or None."""
        if not name.isascii():  # no reference has other characters
            return None
        rows = self._database.read(
            f"SELECT {_COLUMNS}, n.name, n.updated_ns FROM names n JOIN manifests m ON m.digest=n.manifest"  # noqa: S608
            " WHERE n.name=?",
            name,
        )
        return self._records(rows)[0] if rows else None

    def find(self, reference: str) -> ImageRecord | None:
        """The image of this name or digest, or whose image id or digest begins like this; else None.

        Raises: Conflict when a start fits several images.
        """
        return self.find_exact(reference) or self._find_by_digest(reference)

    def _find_by_digest(self, reference: str) -> ImageRecord | None:
        """The image whose config or manifest digest begins like ``reference``, or None."""
        start = reference.removeprefix("sha256:")
        if len(start) < MIN_PREFIX or not set(start) <= set("0123456789abcdef"):
            return None
        low, high = f"sha256:{start}", f"sha256:{start}g"
        rows = self._database.read(
            f"SELECT {_COLUMNS}, coalesce(min(n.name), ''), coalesce(max(n.updated_ns), 0)"  # noqa: S608
            " FROM manifests m LEFT JOIN names n ON n.manifest=m.digest"
            " WHERE (m.config_digest >= ?1 AND m.config_digest < ?2) OR (m.digest >= ?1 AND m.digest < ?2)"
            " GROUP BY m.digest ORDER BY (m.digest >= ?1 AND m.digest < ?2), m.digest LIMIT 3",
            low,
            high,
        )
        if len({row[1] for row in rows}) > 1:
            raise Conflict("find image", reference, "several images begin like this", hint="give more digits")
        return self._records(rows[:1])[0] if rows else None

    def find_manifest(self, digest: str) -> ImageRecord | None:
        """The image with this manifest digest, also when no name means it any more."""
        rows = self._database.read(f"SELECT {_COLUMNS}, '', 0 FROM manifests m WHERE m.digest=?", digest)  # noqa: S608
        return self._records(rows)[0] if rows else None

    def list(self) -> Sequence[ImageRecord]:
        """One record for each name, in order of names."""
        rows = self._database.read(
            f"SELECT {_COLUMNS}, n.name, n.updated_ns FROM names n JOIN manifests m ON m.digest=n.manifest"  # noqa: S608
            " ORDER BY n.name"
        )
        return self._records(rows)

    def list_unnamed(self) -> Sequence[ImageRecord]:
        """Images that no name means any more but that are still held, or not yet collected."""
        rows = self._database.read(
            f"SELECT {_COLUMNS}, '', 0 FROM manifests m"  # noqa: S608
            " WHERE NOT EXISTS (SELECT 1 FROM names n WHERE n.manifest=m.digest) ORDER BY m.digest"
        )
        return self._records(rows)

    def names_of(self, manifest_digest: str) -> tuple[str, ...]:
        """All names of one manifest."""
        rows = self._database.read("SELECT name FROM names WHERE manifest=? ORDER BY name", manifest_digest)
        return tuple(row[0] for row in rows)

    def remove(self, name: str) -> bool:
        """Forget a name.

        True when it existed. Content goes at the next gc, unless something else needs it.
        """
        with self._database.write() as transaction:
            return bool(transaction.execute("DELETE FROM names WHERE name=?", name).rowcount)

    def _records(self, rows: Sequence[tuple[Any, ...]]) -> Sequence[ImageRecord]:
        """Records of rows of _COLUMNS, name, updated_ns."""
        return [
            ImageRecord(
                manifest_digest=row[0],
                config_digest=row[1],
                platform=row[2],
                created_ns=row[3],
                size_bytes=row[4],
                chain_ids=row[5].split(),
                blobs=self._blobs(row[0]),
                name=row[6],
                updated_ns=row[7],
            )
            for row in rows
        ]

    def _blobs(self, manifest_digest: str) -> tuple[str, ...]:
        """The layer blobs of a manifest."""
        rows = self._database.read(
            "SELECT r.key FROM manifest_refs r JOIN manifests m ON m.digest=r.manifest"
            " WHERE r.manifest=? AND r.kind='blob' AND r.key NOT IN (m.digest, m.config_digest)",
            manifest_digest,
        )
        return tuple(row[0] for row in rows)


def _put_manifest(transaction: Transaction, record: ImageRecord) -> None:
    """Write the manifest's row and everything it keeps alive."""
    digest = record.manifest_digest
    transaction.execute(
        "INSERT INTO manifests VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET"
        " config_digest=excluded.config_digest, platform=excluded.platform, created_ns=excluded.created_ns,"
        " size_bytes=excluded.size_bytes, chain_ids=excluded.chain_ids",
        digest,
        record.config_digest,
        record.platform,
        record.created_ns,
        record.size_bytes,
        " ".join(record.chain_ids),
    )
    transaction.execute("DELETE FROM manifest_refs WHERE manifest=?", digest)
    refs = {("blob", key) for key in (digest, record.config_digest, *record.blobs)}
    refs.update(("layer", chain_id) for chain_id in record.chain_ids)
    transaction.execute_many("INSERT INTO manifest_refs VALUES (?, ?, ?)", [(digest, *ref) for ref in refs])
