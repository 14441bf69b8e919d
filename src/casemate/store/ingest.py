"""One blob on its way in: hashed while it is written, verified and fsynced before it gets its name."""

from __future__ import annotations

import fcntl
import hashlib
import os

from casemate.core.content import BlobInfo
from casemate.errors import Corrupt, Denied, Exhausted, Internal
from casemate.oci.digest import from_hex, hex_of, short
from casemate.store.content import disk_is_full, sync_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from casemate.store.content import FileContentStore

_READ_BYTES = 1 << 20


class FileIngest:
    """core.content.Ingest: a locked partial file and the running hash of what it holds."""

    __slots__ = ("_digest", "_fd", "_hash", "_path", "_size_bytes", "_store", "offset")

    def __init__(
        self, store: FileContentStore, key: str, *, digest: str | None = None, size_bytes: int | None = None
    ) -> None:
        """Take the partial file of ``key``, or a private one while another process has it."""
        if digest is not None:
            hex_of(digest)
        self._store = store
        self._digest = digest
        self._size_bytes = size_bytes
        self._hash = hashlib.sha256()
        self.offset = 0
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        self._fd, self._path = _open_partial(store.ingest_dir, name)
        try:
            self._resume()
        except BaseException:
            os.close(self._fd)
            raise

    def _resume(self) -> None:
        """Hash again what an earlier attempt wrote.

        More than was expected is not a beginning of it: start over.
        """
        while chunk := os.read(self._fd, _READ_BYTES):
            self._hash.update(chunk)
            self.offset += len(chunk)
        if self._size_bytes is not None and self.offset > self._size_bytes:
            self.truncate()

    def write(self, data: bytes | memoryview) -> None:
        """Append.

        Raises: Exhausted on a full disk or past the expected size; the partial data is then removed.
        """
        if self._size_bytes is not None and self.offset + len(data) > self._size_bytes:
            self.abort()
            raise Exhausted(
                "store blob", self._subject, f"more than the expected {self._size_bytes} bytes arrived"
            )
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._fd, view)
                self._hash.update(view[:written])
                self.offset += written
                view = view[written:]
        except OSError as error:
            raise self._failed(error) from error

    def truncate(self) -> None:
        """Forget the partial bytes."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.offset = 0

    def commit(self) -> BlobInfo:
        """Verify, fsync and rename into place; idempotent for content that is already stored.

        Raises: Corrupt when size or digest differ (the partial data is removed), Exhausted on a full disk.
        """
        if self._fd < 0:
            raise Internal("store blob", self._subject, "the ingest has ended")
        digest = self._verify()
        target = self._store.path(digest)
        size_bytes = self.offset
        try:
            os.fsync(self._fd)
            os.rename(self._path, target)
            sync_directory(self._store.blobs_dir)
        except OSError as error:
            raise self._failed(error) from error
        self._close()
        return BlobInfo(digest, size_bytes)

    def _verify(self) -> str:
        """The digest of what was written. Raises: Corrupt."""
        digest = from_hex(self._hash.hexdigest())
        why = ""
        if self._size_bytes is not None and self.offset != self._size_bytes:
            why = f"{self.offset} of {self._size_bytes} bytes arrived"
        elif self._digest is not None and digest != self._digest:
            why = f"the content has the digest {digest}"
        if why:
            subject = self._subject
            self.abort()
            raise Corrupt(
                "store blob", subject, why, hint="fetch it again; if this repeats, the source is broken"
            )
        return digest

    def abort(self) -> None:
        """Remove the partial bytes; idempotent."""
        if self._fd >= 0:
            _unlink_own(self._fd, self._path)
            self._close()

    @property
    def _subject(self) -> str:
        """What errors call this blob."""
        return f"sha256:{short(self._digest)}" if self._digest else "of unknown digest"

    def _failed(self, error: OSError) -> Exception:
        """The error to raise for a failed system call.

        Partial data is removed when it would keep the disk full.
        """
        subject = self._subject
        if disk_is_full(error):
            self.abort()
            return Exhausted(
                "store blob", subject, "the disk is full", hint="free space: casemate system prune"
            )
        return Denied("store blob", subject, error.strerror)

    def _close(self) -> None:
        """Give the lock and the descriptor back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keep the partial bytes for the next attempt, unless nobody would find them in a private file."""
        if self._fd >= 0 and (self.offset == 0 or self._path.endswith(".private")):
            self.abort()
        self._close()


def _open_partial(directory: str, name: str) -> tuple[int, str]:
    """Locked descriptor and path of the partial file of ``name``, or of a private one when it is taken."""
    path = f"{directory}/{name}"
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            category = Exhausted if disk_is_full(error) else Denied
            raise category("store blob", path, error.strerror) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_linked(fd, path):  # else its writer has just committed or removed it between open and lock
                return fd, path
        except BlockingIOError:
            path = f"{directory}/{name}.{os.urandom(8).hex()}.private"
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _is_linked(fd: int, path: str) -> bool:
    """Whether ``path`` still names the open file."""
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)


def _unlink_own(fd: int, path: str) -> None:
    """Unlink the partial file if the name is still ours."""
    if _is_linked(fd, path):
        os.unlink(path)
