"""Who owns what on disk: root gives layers to a uid range that is nobody's, a user uses its map."""

from __future__ import annotations

import os

from casemate.kernel.userns import IdMap, IdRange, rootless_map
from casemate.store.ranges import POOL_BASE, RANGE_SIZE, SLOT_COUNT, STORE_BASE


class Identity:
    """The id map of workers, and the host uid behind the image's uid 0 (None: the user itself)."""

    __slots__ = ("id_limit", "id_map", "is_root", "stored_uid_base")

    def __init__(self, *, is_root: bool, id_map: IdMap) -> None:
        self.is_root = is_root
        self.id_map = id_map
        self.stored_uid_base = STORE_BASE if is_root else None
        self.id_limit = min(_reach(id_map.uids), _reach(id_map.gids))


def own_identity() -> Identity:
    """The identity this process can act with: root's only where the whole uid pool is root's to use."""
    if _owns_pool():
        whole = [IdRange(0, STORE_BASE, RANGE_SIZE)]
        return Identity(is_root=True, id_map=IdMap(whole, whole))
    return Identity(is_root=False, id_map=rootless_map())


def _owns_pool() -> bool:
    """Whether this process is root of a user namespace that maps the uid pool."""
    if os.geteuid() != 0:
        return False
    with open("/proc/self/uid_map", encoding="ascii") as file:
        lines = [line.split() for line in file]
    end = POOL_BASE + (SLOT_COUNT + 1) * RANGE_SIZE
    return any(int(first) <= POOL_BASE and end <= int(first) + int(count) for first, _, count in lines)


def _reach(ranges: tuple[IdRange, ...]) -> int:
    """How many ids from 0 on are mapped without a gap."""
    reach = 0
    for found in sorted(ranges, key=lambda r: r.inside):
        if found.inside != reach:
            break
        reach += found.count
    return reach
