"""Where a failure happened: what the container was given and what it was refused."""

from __future__ import annotations

import os

from casemate.engine.options import options_from
from casemate.engine.spec.confine import confinement
from casemate.kernel.capabilities import BITS, all_mask, to_names
from casemate.oci.quick_json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.store.containers import ContainerRow


class Scene:
    """One container's options and wall; ``head`` is what its watcher was told (masks, mounts), or nothing."""

    __slots__ = ("head", "is_rootless", "options", "record", "wall")

    def __init__(self, row: ContainerRow, head: dict[str, Any] | None) -> None:
        self.record: dict[str, Any] = loads(row.config, what="container record")
        self.options = options_from(self.record["options"])
        self.wall = confinement(self.options, all_capabilities=to_names(all_mask()))
        self.head: dict[str, Any] = head or {}
        self.is_rootless = os.geteuid() != 0

    def mount_of(self, path: str) -> dict[str, Any] | None:
        """The mount of the specification that ``path`` is on; None: the root."""
        best: dict[str, Any] | None = None
        for mount in self.head.get("mounts", ()):
            if below(path, mount["destination"]) and (
                best is None or len(mount["destination"]) >= len(best["destination"])
            ):
                best = mount
        return best

    def listed(self, path: str, key: str) -> str:
        """The entry of ``masked`` or ``readonly`` that ``path`` is at or below; "" when there is none."""
        return next((entry for entry in self.head.get(key, ()) if below(path, entry)), "")

    def is_users(self, destination: str) -> bool:
        """Whether a mount was asked for with -v, --mount or --tmpfs."""
        return any(mount.get("target") == destination for mount in self.record.get("mounts", ()))


def below(path: str, top: str) -> bool:
    """Whether ``path`` is ``top`` or below it."""
    return path == top or path.startswith(f"{top.rstrip('/')}/")


def holds(entry: dict[str, Any], capability: str) -> bool:
    """Whether the program had the capability when it failed."""
    return bool(int(entry.get("caps", 0)) >> BITS[capability] & 1)
