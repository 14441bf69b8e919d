"""What the worker can do, each on trees it was given as descriptors.

Root does some of it without a worker.
"""

from __future__ import annotations

import errno
import os

from casemate.errors import CasemateError, Corrupt
from casemate.kernel.const.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS
from casemate.kernel.libc import KernelError
from casemate.kernel.path import openat2
from casemate.store.unpack.tree import measure_tree, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def run(job: dict[str, Any], blob_fd: int, tree_fds: Sequence[int]) -> dict[str, Any]:
    """The result of one job as JSON. Raises: CasemateError, OSError."""
    name = job["job"]
    if name == "unpack":
        return unpack(blob_fd, tree_fds[0], id_limit=job["id_limit"], diff_id=job["diff_id"])
    if name == "inherit":
        inherit([os.fsencode(path) for path in job["paths"]], tree_fds[0], tree_fds[1:])
        return {}
    if name == "remove":
        remove_tree(tree_fds[0], job["name"])
        return {}
    usage = measure_tree(tree_fds[0])
    return {"size_bytes": usage.size_bytes, "inodes": usage.inodes}


def unpack(blob_fd: int, tree_fd: int, *, id_limit: int, diff_id: str) -> dict[str, Any]:
    """Write the layer in ``blob_fd`` below ``tree_fd``; its uncompressed digest must be ``diff_id``."""
    from casemate.image.layer_tar import LayerReader  # half a millisecond, and only for archives
    from casemate.store.unpack.extract import Extractor
    from casemate.store.unpack.pipeline import Pipeline

    with Pipeline(blob_fd) as pipeline:
        reader = LayerReader(pipeline.next_chunk)
        extractor = Extractor(tree_fd, reader, id_limit=id_limit)
        try:
            extractor.run()
        except CasemateError as error:
            if type(error) is not Corrupt:
                raise
            # A wrong digest explains a damaged archive better than the first field that makes no sense.
            _require_digest(pipeline.finish(), diff_id, str(error))
            raise
        _require_digest(pipeline.finish(), diff_id, "")
    return {
        "size_bytes": extractor.size_bytes,
        "inodes": extractor.inodes,
        "implicit": [os.fsdecode(path) for path in extractor.implicit],
        "root": extractor.root_attributes,
        "skipped": extractor.skipped,
    }


def _require_digest(found: str, wanted: str, detail: str) -> None:
    """Raises: Corrupt unless the archive is the one that the image's configuration names."""
    if found != wanted:
        why = f"its uncompressed digest is {found}, the image says {wanted}"
        raise Corrupt("unpack layer", "", f"{why} ({detail})" if detail else why, hint="pull the image again")


def inherit(paths: Sequence[bytes], layer_fd: int, lower_fds: Sequence[int]) -> None:
    """Give directories that no entry of the layer described the attributes they have in the layers below.

    ``paths`` come parents first, ``lower_fds`` topmost first.
    """
    for path in paths:
        found = _find_below(path, lower_fds)
        if found is None:
            continue
        try:
            fd = openat2(layer_fd, path, _OPEN_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        except KernelError:
            continue  # replaced by a later entry
        try:
            os.chown(fd, found.st_uid, found.st_gid)
            os.chmod(fd, found.st_mode & 0o7777)
            os.utime(fd, ns=(found.st_mtime_ns, found.st_mtime_ns))
        finally:
            os.close(fd)


def _find_below(path: bytes, lower_fds: Sequence[int]) -> os.stat_result | None:
    """The status of a directory in the topmost lower layer that has it; None when something else hides it."""
    for lower_fd in lower_fds:
        try:
            fd = openat2(lower_fd, path, os.O_PATH | os.O_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                continue
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)
    return None
