"""The store's front door: everything durable that casemate knows, opened cheaply, each room on first use."""

from __future__ import annotations

from casemate.store.containers import Containers
from casemate.store.database import Database
from casemate.store.images import Images
from casemate.store.paths import StorePaths, default_paths
from casemate.store.ranges import UidRanges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from casemate.store.content import FileContentStore
    from casemate.store.gc import Collected
    from casemate.store.leases import Leases
    from casemate.store.overlay.snapshotter import OverlaySnapshotter


class Store:
    """One state directory. A context manager; threads may share it."""

    __slots__ = ("_content", "_leases", "_snapshots", "containers", "database", "images", "paths", "ranges")

    def __init__(self, paths: StorePaths, database: Database) -> None:
        self.paths = paths
        self.database = database
        self.images = Images(database)
        self.ranges = UidRanges(database)
        self.containers = Containers(database, self.ranges)
        self._content: FileContentStore | None = None
        self._leases: Leases | None = None
        self._snapshots: OverlaySnapshotter | None = None

    @classmethod
    def open(cls, paths: StorePaths | None = None) -> Store:
        """The store of ``paths`` (None: the environment's), created or migrated when need be.

        Raises: Denied, Unsupported (written by a newer casemate), Corrupt, Exhausted.
        """
        paths = paths or default_paths()
        paths.ensure()
        return cls(paths, Database(paths.database))

    @property
    def content(self) -> FileContentStore:
        """Blobs by digest."""
        if self._content is None:
            from casemate.store.content import FileContentStore

            self._content = FileContentStore(self.paths.content)
            self._content.ensure()
        return self._content

    @property
    def leases(self) -> Leases:
        """Claims of running operations."""
        if self._leases is None:
            from casemate.store.leases import Leases

            self._leases = Leases(self.database)
        return self._leases

    @property
    def snapshots(self) -> OverlaySnapshotter:
        """Unpacked layers and writable roots."""
        if self._snapshots is None:
            from casemate.store.overlay.snapshotter import OverlaySnapshotter

            self._snapshots = OverlaySnapshotter(self.paths.overlay)
        return self._snapshots

    def gc(self) -> Collected:
        """Remove what no image, container or living lease reaches, and what dead processes left half-made."""
        from casemate.store.gc import collect

        return collect(self)

    def close(self) -> None:
        """Close the metadata; idempotent."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
