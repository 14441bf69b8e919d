"""A private directory to build in, removed afterwards; what a killed build left goes with the next one."""

from __future__ import annotations

import os

from casemate.engine.life.trees import remove_tree
from casemate.engine.names import new_id
from casemate.kernel.lock import try_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from casemate.store.paths import StorePaths


class workplace:  # noqa: N801 - used as a with-statement's verb
    """Make ``STORE/bootstrap/ID`` (0700, locked while in use); entering yields its path."""

    def __init__(self, paths: StorePaths) -> None:
        self._parent = os.path.join(paths.root, "bootstrap")
        self._path = os.path.join(self._parent, new_id()[:16])
        self._lock = -1

    def __enter__(self) -> str:
        os.makedirs(self._parent, 0o700, exist_ok=True)
        self._sweep()
        os.mkdir(self._path, 0o700)
        self._lock = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try_lock(self._lock)
        return self._path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove_tree(self._path)
        os.close(self._lock)

    def _sweep(self) -> None:
        """Remove directories that nobody holds any more."""
        for name in os.listdir(self._parent):
            path = os.path.join(self._parent, name)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if try_lock(fd):
                    remove_tree(path)
            finally:
                os.close(fd)
