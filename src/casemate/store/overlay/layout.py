"""The directories of the overlay snapshotter, and how something in them appears and disappears in one step.

``layers/<hex of chain id>/{fs,layer.json}`` and ``roots/<key>/{upper,work,root.json}`` are complete whenever
they exist: they are made in ``staging/<random>`` by a process that holds a lock on it, and renamed. What goes
is renamed into ``trash`` first.
"""

from __future__ import annotations

import errno
import fcntl
import os

from casemate.errors import Corrupt, Denied, Exhausted, Invalid
from casemate.oci.digest import hex_of
from casemate.oci.quick_json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

_KEY_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_KEY_LIMIT = 128
UNSYNCED = "unsynced"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Layout:
    """Paths below one directory, and the few operations on whole entries."""

    __slots__ = ("empty", "layers", "roots", "staging", "trash")

    def __init__(self, directory: str) -> None:
        self.layers = directory + "/layers"
        self.roots = directory + "/roots"
        self.staging = directory + "/staging"
        self.trash = directory + "/trash"
        self.empty = directory + "/empty"
        """An empty directory: the root directory of workers."""

    def ensure(self) -> None:
        """Create the directories; cheap when they exist."""
        if os.path.isdir(self.empty):
            return
        for path in (self.layers, self.roots, self.staging, self.trash, self.empty):
            os.makedirs(path, 0o700, exist_ok=True)
        os.chmod(self.empty, 0o555)  # noqa: S103 - workers of other ids enter it

    def layer(self, chain_id: str) -> str:
        """The directory of a layer. Raises: Invalid for a chain id that is not a digest."""
        return f"{self.layers}/{hex_of(chain_id)}"

    def root(self, key: str) -> str:
        """The directory of a root. Raises: Invalid for a key that is no plain name."""
        if not key or len(key) > _KEY_LIMIT or key[0] == "." or not _KEY_CHARACTERS.issuperset(key):
            raise Invalid("use root file system", ascii(key)[:80], "the key is not a plain name")
        return f"{self.roots}/{key}"

    def stage(self) -> Stage:
        """A new private directory, to be filled and published."""
        return Stage(self)

    def discard(self, path: str, owner: int | None = None) -> str | None:
        """Move an entry out of sight in one step; its path now, None when it is absent. ``empty_trash`` deletes it.

        ``owner``: the first uid of the range that its files carry; its name tells it to ``discarded_owners``.
        """
        target = f"{self.trash}/{'' if owner is None else f'{owner}.'}{os.urandom(16).hex()}"
        try:
            os.rename(path, target)
        except FileNotFoundError:
            return None
        return target

    def discarded_owners(self) -> set[int]:
        """First uids of the ranges that files in the trash still carry."""
        return {int(name.partition(".")[0]) for name in os.listdir(self.trash) if "." in name}

    def stale_stages(self) -> list[str]:
        """Staging directories whose maker has died."""
        guard = os.open(self.staging, _DIRECTORY)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)  # nobody is between making a stage and locking it
            return [name for name in os.listdir(self.staging) if _is_unlocked(f"{self.staging}/{name}")]
        finally:
            os.close(guard)


class Stage:
    """A locked staging directory; what is not published disappears with the ``with`` block."""

    __slots__ = ("_fd", "_layout", "path")

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.path = f"{layout.staging}/{os.urandom(16).hex()}"
        guard = os.open(layout.staging, _DIRECTORY)
        try:
            fcntl.flock(guard, fcntl.LOCK_SH)
            try:
                os.mkdir(self.path, 0o700)
            except OSError as error:
                raise explain(error, "create directory", self.path) from error
            self._fd = os.open(self.path, _DIRECTORY)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(guard)

    def publish(self, target: str) -> bool:
        """Rename to ``target``; False when it exists already."""
        try:
            os.rename(self.path, target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise explain(error, "create directory", target) from error
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._layout.discard(self.path)
        os.close(self._fd)


def _is_unlocked(path: str) -> bool:
    """Whether nobody holds the lock of a staging directory."""
    try:
        fd = os.open(path, _DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def read_json(path: str) -> dict[str, Any] | None:
    """The JSON object in a file of ours, None when it is absent. Raises: Corrupt."""
    try:
        with open(path, "rb", buffering=0) as file:
            found = loads(file.read(), what="snapshot")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Invalid as error:
        raise Corrupt("read snapshot", path, "the file is damaged, as after a power cut") from error
    if not isinstance(found, dict):
        raise Corrupt("read snapshot", path, "the file is damaged")
    return found


def write_json(path: str, value: dict[str, Any]) -> None:
    """Replace a file by the JSON of ``value`` in one step. Raises: Exhausted, Denied."""
    try:
        fd = os.open(
            path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(fd, dumps(value).encode())
        finally:
            os.close(fd)
        os.rename(path + ".new", path)
    except OSError as error:
        raise explain(error, "write snapshot", path) from error


def explain(error: OSError, doing: str, subject: str) -> Exception:
    """The category of a failed system call on our own directories."""
    from casemate.store.content import disk_is_full  # only on the failing path

    if disk_is_full(error):
        return Exhausted(doing, subject, "the disk is full", hint="free space: casemate system prune")
    return Denied(doing, subject, error.strerror)
