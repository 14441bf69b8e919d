"""Blobs in files named by their digest.

``blobs/sha256/<hex>`` holds only verified, fsynced files that were renamed into place; ``ingest/<hash of
key>`` holds the partial file of one ingest, whose writer holds its lock. No file name ever comes from
outside: a digest passes ``oci.digest`` first, a key is hashed (SECURITY C19).
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from casemate.core.content import BlobInfo
from casemate.errors import Corrupt, Denied, Exhausted, NotFound
from casemate.oci.digest import digest_of, from_hex, hex_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from casemate.store.ingest import FileIngest

_HEX_LENGTH = 64
ABANDONED_AFTER_S = 7 * 86400
"""A partial file nobody has touched for so long is not going to be resumed."""


class FileContentStore:
    """core.content.ContentStore over one directory of one file system."""

    __slots__ = ("blobs_dir", "ingest_dir")

    def __init__(self, directory: str) -> None:
        self.blobs_dir = directory + "/blobs/sha256"
        self.ingest_dir = directory + "/ingest"

    def ensure(self) -> None:
        """Create the directories, durably."""
        for path in (self.blobs_dir, self.ingest_dir):
            os.makedirs(path, 0o700, exist_ok=True)
            sync_directory(os.path.dirname(path))

    def path(self, digest: str) -> str:
        """The file that holds, or would hold, this blob.

        Raises: Invalid for a digest that is not canonical.
        """
        return f"{self.blobs_dir}/{hex_of(digest)}"

    def find(self, digest: str) -> BlobInfo | None:
        """The blob's size, or None when it is absent."""
        try:
            return BlobInfo(digest, os.stat(self.path(digest)).st_size)
        except FileNotFoundError:
            return None

    def open(self, digest: str) -> BinaryIO:
        """The blob, unbuffered and seekable. Raises: NotFound."""
        try:
            return open(self.path(digest), "rb", buffering=0)
        except FileNotFoundError as error:
            raise NotFound(
                "open blob", digest, "it is not in the store", hint="pull the image again"
            ) from error
        except OSError as error:
            raise Denied("open blob", digest, error.strerror) from error

    def read(self, digest: str, *, limit_bytes: int) -> bytes:
        """A small blob whole, verified. Raises: NotFound, Corrupt, Exhausted past ``limit_bytes``."""
        with self.open(digest) as file:
            data = file.read(limit_bytes + 1)
            while len(data) <= limit_bytes and (more := file.read(limit_bytes + 1 - len(data))):
                data += more
        if len(data) > limit_bytes:
            raise Exhausted("read blob", digest, f"it is larger than {limit_bytes} bytes")
        if digest_of(data) != digest:
            raise Corrupt(
                "read blob", digest, "its content has changed on disk", hint="casemate system check --repair"
            )
        return data

    def ingest(self, key: str, *, digest: str | None = None, size_bytes: int | None = None) -> FileIngest:
        """Begin or resume writing a blob; see core.content.Ingest.

        When another ingest of the same key is under way this one writes a file of its own: both succeed.
        """
        from casemate.store.ingest import FileIngest

        return FileIngest(self, key, digest=digest, size_bytes=size_bytes)

    def put(self, data: bytes) -> BlobInfo:
        """Store small ``data``; idempotent."""
        digest = digest_of(data)
        if (found := self.find(digest)) and found.size_bytes == len(data):
            return found
        with self.ingest(f"put:{digest}", digest=digest, size_bytes=len(data)) as ingest:
            ingest.truncate()
            ingest.write(data)
            return ingest.commit()

    def delete(self, digest: str) -> None:
        """Remove a blob; absent is success."""
        try:
            os.unlink(self.path(digest))
        except FileNotFoundError:
            return

    def iter_blobs(self) -> Iterator[BlobInfo]:
        """Every stored blob, in no order."""
        with os.scandir(self.blobs_dir) as entries:
            for entry in entries:
                if len(entry.name) == _HEX_LENGTH:
                    yield BlobInfo(from_hex(entry.name), entry.stat(follow_symlinks=False).st_size)

    def verify(self, digest: str) -> bool:
        """Read the whole blob; whether it still is what its name says. Raises: NotFound."""
        import hashlib

        running = hashlib.sha256()
        with self.open(digest) as file:
            while chunk := file.read(1 << 20):
                running.update(chunk)
        return running.hexdigest() == hex_of(digest)

    def sweep(self, *, older_than_s: float = ABANDONED_AFTER_S) -> list[str]:
        """Remove partial files without a writer that are old or cannot be resumed; return their names."""
        removed = []
        for name in os.listdir(self.ingest_dir):
            is_resumable = len(name) == _HEX_LENGTH
            path = f"{self.ingest_dir}/{name}"
            try:
                age_s = time.time() - os.stat(path).st_mtime
            except FileNotFoundError:
                continue
            if (age_s >= older_than_s or not is_resumable) and unlink_unlocked(path):
                removed.append(name)
        return removed


def unlink_unlocked(path: str) -> bool:
    """Unlink a partial file unless a living process holds its lock; whether it is gone by our hand."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    except (BlockingIOError, FileNotFoundError):
        return False
    finally:
        os.close(fd)
    return True


def sync_directory(path: str) -> None:
    """Make names created in or removed from a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def disk_is_full(error: OSError) -> bool:
    """Whether the failure means that no space, quota or file size is left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
