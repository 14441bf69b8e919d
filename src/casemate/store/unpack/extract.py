"""Entries of a layer become files below one directory.

The final component of every path is created exclusively and never followed; what is in its way is removed
first, as the later entry wins. Owners are set before modes and capabilities, because changing the owner
clears both; set-group-id bits and times of directories are set at the very end, because what is created
inside would inherit the one and change the other.
"""

from __future__ import annotations

import errno
import os
import stat

from casemate.errors import Exhausted, Invalid
from casemate.image import layer_tar, whiteout
from casemate.image.layer_tar import Entry, LayerReader, quoted_path
from casemate.kernel.libc import KernelError
from casemate.store.unpack.attributes import set_attributes
from casemate.store.unpack.directories import Directories, set_opaque
from casemate.store.unpack.tree import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from casemate.errors import CasemateError

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL_BITS = 0o7000
_ALLOCATION_BYTES = 4096


class Extractor:
    """Writes one layer.

    ``id_limit``: ids from there on cannot be stored; 1 means that everything belongs to one user.
    """

    __slots__ = (
        "_attributes",
        "_directories",
        "_id_limit",
        "_reader",
        "_root_fd",
        "inodes",
        "root_attributes",
        "size_bytes",
        "skipped",
    )

    def __init__(self, root_fd: int, reader: LayerReader, *, id_limit: int) -> None:
        self._root_fd = root_fd
        self._reader = reader
        self._id_limit = id_limit
        self._directories = Directories(root_fd)
        self._attributes: dict[bytes, Entry] = {}
        self.root_attributes: tuple[int, int, int] | None = None
        """Mode, uid and gid of the layer's root, None when the archive does not describe it."""
        self.size_bytes = 0
        self.inodes = 0
        self.skipped: dict[str, int] = {}
        """What the archive asked for and cannot have, by kind: devices, attributes, owners."""

    @property
    def implicit(self) -> list[bytes]:
        """Directories that no entry described, parents first."""
        return sorted(self._directories.implicit)

    def run(self) -> None:
        """Write every entry.

        Raises: Invalid, Exhausted, Corrupt; OSError for what the kernel alone could know.
        """
        makers: dict[str, Callable[[Entry, int, bytes], None]] = {
            layer_tar.FILE: self._make_file,
            layer_tar.DIRECTORY: self._make_directory,
            layer_tar.SYMLINK: self._make_symlink,
            layer_tar.HARDLINK: self._make_hardlink,
            layer_tar.FIFO: self._make_fifo,
            layer_tar.CHAR_DEVICE: self._pass_over_device,
            layer_tar.BLOCK_DEVICE: self._pass_over_device,
        }
        for entry in self._reader:
            parent, _, name = entry.path.rpartition(b"/")
            self.inodes += entry.kind != layer_tar.HARDLINK
            try:
                if not name:
                    self._describe_root(entry)
                elif name.startswith(whiteout.PREFIX):
                    self._hide(entry, self._directories.handle(parent), name)
                else:
                    makers[entry.kind](entry, self._directories.handle(parent), name)
            except OSError as error:
                raise explain(error, quoted_path(entry.path)) from error
        self._finish()

    def _make_file(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        mode = entry.mode
        try:
            fd = os.open(name, _CREATE, mode & 0o777, dir_fd=parent_fd)
        except FileExistsError:
            self._clear(entry, parent_fd, name)
            fd = os.open(name, _CREATE, mode & 0o777, dir_fd=parent_fd)
        try:
            self._write(entry, fd)
            if entry.uid or entry.gid:
                os.chown(fd, *self._owner(entry))
            if mode & _SPECIAL_BITS:
                os.chmod(fd, mode)
            if entry.xattrs:
                set_attributes(fd, entry, self.skipped)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _write(self, entry: Entry, fd: int) -> None:
        """The content of a file; holes stay holes."""
        stored = entry.stored_bytes
        self.size_bytes += -(-stored // _ALLOCATION_BYTES) * _ALLOCATION_BYTES
        if entry.sparse is None:
            if stored:
                for piece in self._reader.data():
                    _write_all(fd, piece)
            return
        segments = iter(entry.sparse.segments)
        room = 0
        for piece in self._reader.data():
            left = piece
            while left:
                if not room:
                    offset, room = next(segments)
                    os.lseek(fd, offset, os.SEEK_SET)
                _write_all(fd, left[:room])
                written = min(room, len(left))
                room -= written
                left = left[written:]
        os.ftruncate(fd, entry.sparse.real_size_bytes)

    def _make_directory(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        path = entry.path
        try:
            os.mkdir(name, entry.mode & 0o1777, dir_fd=parent_fd)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
                self._clear(entry, parent_fd, name)
                os.mkdir(name, entry.mode & 0o1777, dir_fd=parent_fd)
                set_opaque(parent_fd, name)  # what was here has hidden the lower layers' directory
        self.size_bytes += _ALLOCATION_BYTES
        self._attributes[path] = entry
        self._directories.implicit.discard(path)

    def _make_symlink(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        try:
            os.symlink(entry.link, name, dir_fd=parent_fd)
        except FileExistsError:
            self._clear(entry, parent_fd, name)
            os.symlink(entry.link, name, dir_fd=parent_fd)
        if entry.uid or entry.gid:
            uid, gid = self._owner(entry)
            os.chown(name, uid, gid, dir_fd=parent_fd, follow_symlinks=False)
        if entry.xattrs:
            self._skip("extended attributes of links", len(entry.xattrs))
        os.utime(name, dir_fd=parent_fd, follow_symlinks=False, ns=(entry.mtime_ns, entry.mtime_ns))

    def _make_hardlink(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        """A second name of a file of this layer; never of what a symbolic link points to."""
        source_parent, _, source = entry.link.rpartition(b"/")
        try:
            source_fd = self._directories.open(source_parent, os.O_PATH | os.O_DIRECTORY)
        except KernelError as error:
            raise self._bad_hardlink(entry) from error
        try:
            self._link(entry, (source_fd, source), (parent_fd, name))
        finally:
            os.close(source_fd)

    def _link(self, entry: Entry, source: tuple[int, bytes], target: tuple[int, bytes]) -> None:
        try:
            found = os.stat(source[1] or b".", dir_fd=source[0], follow_symlinks=False)
        except FileNotFoundError as error:
            raise self._bad_hardlink(entry) from error
        if stat.S_ISDIR(found.st_mode) or stat.S_ISCHR(found.st_mode):
            raise self._bad_hardlink(entry)
        try:
            _link(source, target)
        except FileExistsError:
            there = os.stat(target[1], dir_fd=target[0], follow_symlinks=False)
            if (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino):
                return
            self._clear(entry, *target, keep=found)
            _link(source, target)

    def _bad_hardlink(self, entry: Entry) -> Invalid:
        why = f"it is a hard link to {quoted_path(entry.link)}, which is no file of this layer"
        return Invalid("unpack layer", quoted_path(entry.path), why)

    def _make_fifo(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        try:
            os.mkfifo(name, entry.mode & 0o777, dir_fd=parent_fd)
        except FileExistsError:
            self._clear(entry, parent_fd, name)
            os.mkfifo(name, entry.mode & 0o777, dir_fd=parent_fd)
        if entry.uid or entry.gid:
            uid, gid = self._owner(entry)
            os.chown(name, uid, gid, dir_fd=parent_fd, follow_symlinks=False)
        os.utime(name, dir_fd=parent_fd, follow_symlinks=False, ns=(entry.mtime_ns, entry.mtime_ns))

    def _pass_over_device(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        """No device: a user namespace cannot make one, and a nodev mount would not let it be opened.

        Its name is hidden, so that the entry still replaces what lower layers have there.
        """
        self._skip("devices")
        if _exists(parent_fd, name):
            self._clear(entry, parent_fd, name)
        self._hide_name(parent_fd, name)

    def _hide(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        """Act on a whiteout. Raises: Invalid for one that is not a plain empty file."""
        meaning = whiteout.classify(name)
        if entry.kind != layer_tar.FILE or entry.size_bytes:
            if meaning == whiteout.IGNORED:
                self._skip("AUFS files")
                return
            raise Invalid("unpack layer", quoted_path(entry.path), "a whiteout must be an empty file")
        if meaning == whiteout.IGNORED:
            self._skip("AUFS files")
        elif meaning == whiteout.HIDES_BELOW:
            set_opaque(parent_fd, b".")
        else:
            hidden = whiteout.hidden_name(name)
            self._hide_name(parent_fd, hidden)

    def _hide_name(self, parent_fd: int, name: bytes) -> None:
        """Hide a name of the lower layers: what this layer itself has there stays (image-spec)."""
        try:
            os.mknod(
                name, stat.S_IFCHR, 0, dir_fd=parent_fd
            )  # 0:0, allowed in user namespaces since Linux 5.8
        except FileExistsError:
            if _is_directory(parent_fd, name):
                set_opaque(parent_fd, name)

    def _clear(self, entry: Entry, parent_fd: int, name: bytes, keep: os.stat_result | None = None) -> None:
        """Remove what is in the way of an entry.

        Raises: Invalid when that would remove a hard link's own target.
        """
        there = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if stat.S_ISDIR(there.st_mode):
            self._forget_below(entry.path)
        elif stat.S_ISLNK(there.st_mode):
            self._directories.forget()
            parent, _, name = entry.path.rpartition(b"/")
            parent_fd = self._directories.handle(parent)
        if keep is not None and stat.S_ISDIR(there.st_mode):
            raise Invalid("unpack layer", quoted_path(entry.path), "a hard link would replace a directory")
        remove_tree(parent_fd, name)

    def _forget_below(self, path: bytes) -> None:
        """A directory is about to go: forget the handles and the pending attributes of what is in it."""
        below = path + b"/"
        for known in [known for known in self._attributes if known == path or known.startswith(below)]:
            del self._attributes[known]
        gone = {known for known in self._directories.implicit if known == path or known.startswith(below)}
        self._directories.implicit -= gone

    def _describe_root(self, entry: Entry) -> None:
        """Take the attributes of the layer's root, which exists already."""
        if entry.kind != layer_tar.DIRECTORY:
            raise Invalid("unpack layer", "/", f"the root of the layer is a {entry.kind}")
        self._attributes[b""] = entry
        self.root_attributes = (entry.mode, *self._owner(entry))

    def _finish(self) -> None:
        """Set what had to wait: owners, modes, attributes and times of directories."""
        self._directories.forget()
        for path, entry in self._attributes.items():
            parent, _, name = path.rpartition(b"/")
            try:
                parent_fd = self._directories.handle(parent)
                fd = os.open(name or b".", _OPEN_DIRECTORY, dir_fd=parent_fd)
            except (NotADirectoryError, FileNotFoundError):
                continue  # a later entry has replaced it
            try:
                self._finish_directory(entry, fd)
            finally:
                os.close(fd)
        self._directories.forget()

    def _finish_directory(self, entry: Entry, fd: int) -> None:
        if entry.uid or entry.gid:
            os.chown(fd, *self._owner(entry))
        os.chmod(fd, entry.mode)
        if entry.xattrs:
            set_attributes(fd, entry, self.skipped)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _owner(self, entry: Entry) -> tuple[int, int]:
        """The owner as it can be stored. Raises: Invalid for an id beyond the range."""
        limit = self._id_limit
        if limit == 1:
            self._skip("owners")
            return 0, 0
        if entry.uid >= limit or entry.gid >= limit:
            raise Invalid(
                "unpack layer",
                quoted_path(entry.path),
                f"its owner {entry.uid}:{entry.gid} is beyond the {limit} ids that a container has",
                hint="an ordinary user needs a larger range in /etc/subuid and /etc/subgid",
            )
        return entry.uid, entry.gid

    def _skip(self, what: str, count: int = 1) -> None:
        self.skipped[what] = self.skipped.get(what, 0) + count


def explain(error: OSError, subject: str) -> CasemateError:
    """The named error for a system call that failed on an entry."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE):
        hint = "free disk space: casemate system prune" if error.errno == errno.ENOSPC else ""
        return Exhausted("unpack layer", subject, error.strerror, hint=hint)
    return Invalid("unpack layer", subject, f"this file system refuses it: {error.strerror}")


def _write_all(fd: int, data: memoryview) -> None:
    """Write everything; a full disk shows as OSError."""
    while data:
        data = data[os.write(fd, data) :]


def _link(source: tuple[int, bytes], target: tuple[int, bytes]) -> None:
    """A hard link, without following. Raises: Exhausted when the file has too many names; OSError."""
    try:
        os.link(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0], follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EMLINK:
            raise Exhausted(
                "unpack layer", quoted_path(target[1]), "the file has too many hard links"
            ) from error
        raise


def _exists(parent_fd: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_directory(parent_fd: int, name: bytes) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode)
