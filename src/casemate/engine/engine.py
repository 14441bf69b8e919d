"""The public Python API: ``with Engine() as engine: ...``.

    with Engine() as engine:
        box = engine.containers.create("debian:bookworm", ContainerOptions(argv=["id"], auto_remove=True))
        session = box.start(Attach())
        code = session.wait()

An engine has no daemon: it is this process, the store on disk, and one keeper per running container. It is
not thread-safe;
use one per thread. Opening it repairs what killed processes left behind (``recover``).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from casemate.core.transport import Progress
    from casemate.engine.containers import Containers
    from casemate.engine.images import Images
    from casemate.store.paths import StorePaths
    from casemate.store.store import Store


class Engine:
    """Containers and images of one store; a context manager.

    ``paths``: where the store is (default: the user's own). ``progress`` hears of transfers.
    ``recover=False`` leaves
    repair to somebody else (readers that must not write).
    """

    def __init__(
        self, paths: StorePaths | None = None, *, progress: Progress | None = None, recover: bool = True
    ) -> None:
        from casemate.store.paths import default_paths
        from casemate.store.store import Store

        self.progress = progress
        self.store: Store = Store.open(paths or default_paths())
        self._containers: Containers | None = None
        self._images: Images | None = None
        if recover:
            self.recover()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; containers go on."""
        self.store.close()

    @property
    def containers(self) -> Containers:
        """The containers of this store: create, get, list."""
        if self._containers is None:
            from casemate.engine.containers import Containers

            self._containers = Containers(self)
        return self._containers

    @property
    def images(self) -> Images:
        """The images of this store: pull, get, list, remove, tag, load, save, inspect, bootstrap."""
        if self._images is None:
            from casemate.engine.images import Images

            self._images = Images(self)
        return self._images

    def recover(self) -> list[str]:
        """Settle containers that ended unseen and remove what killed processes left; return what was done.

        Idempotent, cheap when there is nothing to do (one query), and safe beside any number of other
        engines.
        """
        from casemate.engine.recover import recover

        return recover(self.store)
