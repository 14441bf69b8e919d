"""Files of a root file system that is not mounted.

The layer directories themselves, read as overlayfs would show them.

The directories hold what an image's author wrote, so nothing in them is followed by the kernel: every
component is opened
relative to a descriptor with O_NOFOLLOW, symbolic links are resolved here inside the root, and only a regular
file is ever read
(opened O_NONBLOCK, so that a FIFO cannot hold us up).

Source: Documentation/filesystems/overlayfs.rst (whiteouts, opaque directories).
"""

from __future__ import annotations

import errno
import os
import stat

from casemate.errors import Invalid, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

MAX_LINKS = 40
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_WHITEOUT = ("trusted.overlay.whiteout", "user.overlay.whiteout")


class RootView:
    """Read-only view of stacked directories, topmost first.

    A context manager that owns one descriptor a directory; directories are given as paths or descriptors.
    """

    def __init__(self, directories: Sequence[str | int]) -> None:
        self._root: list[int] = []
        try:
            for place in directories:
                if isinstance(place, int):
                    self._root.append(os.dup(place))
                else:
                    self._root.append(os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the directories."""
        while self._root:
            os.close(self._root.pop())

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        """The regular file at ``path``, links resolved inside the root.

        Raises: NotFound; Invalid when it is not a regular file, is larger than ``limit_bytes`` or lies behind
        too many links.
        """
        with _Walk(self._root) as walk:
            return walk.read(path, limit_bytes)

    def kind(self, path: str) -> str:
        """What is at ``path``: "directory", "file", "other", or "" when nothing is."""
        with _Walk(self._root) as walk:
            try:
                parent, name = walk.resolve(path)
            except NotFound:
                return ""
            if not name:
                return "directory"
            found = _look(parent, name)
            if found is None:
                return ""
            mode = found[1].st_mode
            return "directory" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"

    def open_merged(self, path: str) -> list[int]:
        """Descriptors (the caller closes them) of the directories that make up ``path``.

        Empty when it is no directory.
        """
        with _Walk(self._root) as walk:
            try:
                parent, name = walk.resolve(path)
            except NotFound:
                return []
            if not name:
                return [os.dup(fd) for fd in parent]
            found = _look(parent, name)
            if found is None or not stat.S_ISDIR(found[1].st_mode):
                return []
            return _merged(parent, name)


def iter_merged(directory: Sequence[int]) -> Iterator[tuple[str, int, os.stat_result]]:
    """(name, descriptor of the layer's directory, status) of every entry of a merged directory."""
    seen: set[str] = set()
    for fd in directory:
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            names = os.listdir(readable)
        finally:
            os.close(readable)
        for name in names:
            if name in seen:
                continue
            seen.add(name)
            found = _look(directory, name)
            if found is not None:
                yield name, found[0], found[1]


def merge(directory: Sequence[int], name: str) -> list[int]:
    """Descriptors (the caller closes them) of the merged directory ``name`` in a merged directory."""
    return _merged(directory, name)


class _Walk:
    """One look-up.

    The merged directories passed through so far, each a list of descriptors, topmost first.
    """

    def __init__(self, root: list[int]) -> None:
        self._stack: list[list[int]] = [root]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while len(self._stack) > 1:
            self._leave()

    def _leave(self) -> None:
        if len(self._stack) > 1:
            for fd in self._stack.pop():
                os.close(fd)

    def resolve(self, path: str) -> tuple[list[int], str]:  # noqa: C901 - one walk
        """(directory, name) of what ``path`` ends at; the name is "" for the root.

        The final name is not a link.
        """
        rest = [part for part in reversed(path.split("/")) if part not in {"", "."}]
        links = 0
        while rest:
            name = rest.pop()
            if name == "..":
                self._leave()
                continue
            found = _look(self._stack[-1], name)
            if found is None:
                if rest:
                    raise NotFound("read", path, "no such file in the image")
                return self._stack[-1], name
            fd, status = found
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > MAX_LINKS:
                    raise Invalid("read", path, "too many levels of symbolic links in the image")
                target = os.readlink(name, dir_fd=fd)
                if target.startswith("/"):
                    while len(self._stack) > 1:
                        self._leave()
                rest.extend(part for part in reversed(target.split("/")) if part not in {"", "."})
            elif stat.S_ISDIR(status.st_mode):
                if not rest:
                    return self._stack[-1], name
                self._stack.append(_merged(self._stack[-1], name))
            elif rest:
                raise NotFound("read", path, "not a directory in the image")
            else:
                return self._stack[-1], name
        return self._stack[-1], ""

    def read(self, path: str, limit_bytes: int) -> bytes:
        parent, name = self.resolve(path)
        found = _look(parent, name) if name else None
        if found is None:
            raise NotFound("read", path, "no such file in the image")
        if not stat.S_ISREG(found[1].st_mode):
            raise Invalid("read", path, "not a regular file in the image")
        fd = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=found[0]
        )
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise Invalid("read", path, "not a regular file in the image")
            if status.st_size > limit_bytes:
                raise Invalid("read", path, f"larger than {limit_bytes} bytes in the image")
            return _read_all(fd, limit_bytes, path)
        finally:
            os.close(fd)


def _read_all(fd: int, limit_bytes: int, path: str) -> bytes:
    data = b""
    while len(data) <= limit_bytes:
        piece = os.read(fd, limit_bytes + 1 - len(data))
        if not piece:
            return data
        data += piece
    raise Invalid("read", path, f"larger than {limit_bytes} bytes in the image")


def _look(directory: Sequence[int], name: str) -> tuple[int, os.stat_result] | None:
    """(descriptor of the layer's directory, status) of the topmost ``name``.

    None when absent or whited out.
    """
    for fd in directory:
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                continue
            raise
        return None if _is_whiteout(fd, name, status) else (fd, status)
    return None


def _merged(directory: Sequence[int], name: str) -> list[int]:
    """Descriptors of the directories that make up ``name``: down to the first opaque one.

    Or the first that is none.
    """
    found: list[int] = []
    try:
        for fd in directory:
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                    continue
                raise
            if not stat.S_ISDIR(status.st_mode):
                break
            child = os.open(name, _DIRECTORY, dir_fd=fd)
            found.append(child)
            if _has_attribute(child, ".", _OPAQUE, value=b"y"):
                break
    except BaseException:
        for fd in found:
            os.close(fd)
        raise
    return found


def _is_whiteout(fd: int, name: str, status: os.stat_result) -> bool:
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev == 0
    if not stat.S_ISREG(status.st_mode) or status.st_size:
        return False
    return _has_attribute(fd, name, _WHITEOUT, value=None)


def _has_attribute(parent: int, name: str, attributes: Sequence[str], *, value: bytes | None) -> bool:
    """Whether one of the attributes is there, with this value. By descriptor: a worker has no /proc."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    except OSError:
        return False
    try:
        for attribute in attributes:
            try:
                found = os.getxattr(fd, attribute)
            except OSError:
                continue
            if value is None or found == value:
                return True
        return False
    finally:
        os.close(fd)
