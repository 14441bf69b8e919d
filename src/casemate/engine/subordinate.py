"""Work on files that an ordinary user's containers own by subordinate ids: done by a confined worker that is root of them.

The worker is the store's (``store/unpack``): an empty root, Landlock, no more capabilities than owning files takes.
"""

from __future__ import annotations

import os
import tempfile

from casemate.kernel.userns import rootless_map
from casemate.store.unpack.spawn import run_worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def has_subordinate_ids() -> bool:
    """Whether this is an ordinary user whose containers have more ids than one."""
    if os.geteuid() == 0:
        return False
    id_map = rootless_map()
    return len(id_map.uids) > 1 or len(id_map.gids) > 1


def run_as_owner(job: dict[str, Any], trees: Sequence[int], *, runner: str = "") -> dict[str, Any]:
    """The result of a job on borrowed directory descriptors, of which the first may be written.

    ``runner``: the module whose ``run`` does it, if not the store's. Raises: what the job raises.
    """
    empty = tempfile.mkdtemp(prefix="casemate-empty-")
    try:
        fd = os.open(empty, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            wanted = {**job, "runner": runner} if runner else job
            return run_worker(wanted, trees, id_map=rootless_map(), empty_fd=fd)
        finally:
            os.close(fd)
    finally:
        os.rmdir(empty)
