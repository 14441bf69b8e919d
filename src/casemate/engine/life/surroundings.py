"""What the host offers one container: its ids, its root, its limits.

The impure inputs of the specification.
"""

from __future__ import annotations

import os

from casemate.core.snapshots import RootFs
from casemate.engine.spec.build import Surroundings
from casemate.engine.spec.rootview import RootView
from casemate.errors import Invalid
from casemate.kernel.capabilities import all_mask, to_names
from casemate.kernel.namespaces import FILES
from casemate.store.ranges import RANGE_SIZE, STORE_BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.engine.options import ContainerOptions
    from casemate.kernel.userns import IdMap
    from casemate.store.store import Store

CAP_SYS_RESOURCE = 24


def look_around(store: Store, container_id: str, options: ContainerOptions) -> Surroundings:
    """Ids, capabilities, hard limits and namespaces that are there for this container."""
    is_rootless = os.geteuid() != 0
    return Surroundings(
        id_map=id_map_of(store, container_id, options.userns),
        is_rootless=is_rootless,
        all_capabilities=to_names(all_mask()),
        hard_limits=_hard_limits(),
        stored_base=None if is_rootless else STORE_BASE,
        namespaces=[kind for kind, file in FILES.items() if os.path.lexists(f"/proc/self/ns/{file}")],
    )


def id_map_of(store: Store, container_id: str, userns: str) -> IdMap | None:
    """The container's map of ids; None without a user namespace of its own. Raises: Invalid."""
    from casemate.kernel.userns import IdMap, IdRange, rootless_map

    if os.geteuid() != 0:
        if userns == "host":
            raise Invalid("use user namespace", "host", "an ordinary user always needs one")
        return _keep_id(rootless_map()) if userns == "keep-id" else rootless_map()
    if userns == "host":
        return None
    base = store.ranges.find(container_id) or store.ranges.allocate(container_id)
    whole = [IdRange(0, base, RANGE_SIZE)]
    return IdMap(whole, whole)


def _keep_id(id_map: IdMap) -> IdMap:
    """The rootless map turned so that the caller's own id is the same number inside.

    The ids before it move down by one.
    """
    from casemate.kernel.userns import IdMap, IdRange

    def turn(ranges: tuple[IdRange, ...], own: int) -> list[IdRange]:
        others: list[IdRange] = []
        position = 0
        for entry in ranges[1:]:
            left, outside = entry.count, entry.outside
            while left:
                room = own - position if position < own else left
                count = min(left, room)
                others.append(IdRange(position, outside, count))
                left, outside, position = left - count, outside + count, position + count
                position += position == own
        return [*others, IdRange(own, own, 1)]

    return IdMap(turn(tuple(id_map.uids), os.geteuid()), turn(tuple(id_map.gids), os.getegid()))


def rootfs_of(store: Store, container_id: str, options: ContainerOptions) -> RootFs:
    """The container's root: its snapshot, or the directory that it was given."""
    if options.rootfs:
        return RootFs("bind", [os.path.abspath(options.rootfs)])
    return store.snapshots.rootfs(container_id)


def root_view(rootfs: RootFs) -> RootView:
    """The files of a root, read without mounting it."""
    directories = [*rootfs.lowers] if rootfs.upper is None else [rootfs.upper, *rootfs.lowers]
    return RootView(directories)


def _hard_limits() -> dict[str, int]:
    """Type -> largest hard limit that we may give; empty when we may raise any."""
    from casemate.runtime.compile.namespaces import has_capability

    if has_capability(CAP_SYS_RESOURCE):
        return {}
    import resource

    found = {}
    for name, number in vars(resource).items():
        if name.startswith("RLIMIT_"):
            hard = resource.getrlimit(number)[1]
            if hard != resource.RLIM_INFINITY:
                found[name] = hard
    return found
