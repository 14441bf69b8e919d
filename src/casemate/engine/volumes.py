"""Volumes: directories of ours, owned on disk by the store's own id range and seen through id-mapped mounts.

A named volume lives until it is removed by name, an anonymous one as long as its container (with ``rm -v`` or
``--rm``).
"""

from __future__ import annotations

import os

from casemate.engine.life.trees import remove_tree
from casemate.errors import Invalid
from casemate.store.ranges import STORE_BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.engine.life.undo import Undo
    from casemate.store.store import Store

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
MAX_NAME = 128


def check_volume_name(name: str) -> str:
    """``name`` when it may name a volume. Raises: Invalid."""
    if not name or len(name) > MAX_NAME or not _NAME.issuperset(name) or name[0] in "_.-":
        raise Invalid("use volume", repr(name[:MAX_NAME]), "only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed")
    return name


def volume_path(store: Store, name: str) -> str:
    """Where the data of a volume is."""
    return f"{store.paths.volumes}/{name}/_data"


def prepare_mounts(store: Store, container_id: str, record: dict[str, Any], undo: Undo) -> None:
    """Turn each planned mount's source into a host path: check binds, make volumes. Raises: Invalid."""
    for mount in record["mounts"]:
        if mount["type"] == "bind":
            _check_bind(mount)
        elif mount["type"] == "volume":
            name = check_volume_name(mount["name"])
            mount["source"] = volume_path(store, name)
            if _make_volume(store, name):
                undo.push(remove_volume, store, name)
                if "nocopy" not in mount["options"]:
                    _fill(store, container_id, record, mount)


def _check_bind(mount: dict[str, Any]) -> None:
    source = mount["source"]
    if os.path.exists(source):
        return
    if not mount.get("create"):
        raise Invalid(
            "mount", source, "bind source path does not exist", hint=f"make it first: mkdir {source}"
        )
    try:
        os.makedirs(source, exist_ok=True)
    except OSError as error:
        raise Invalid("mount", source, f"the missing directory cannot be made: {error.strerror}") from None


def _make_volume(store: Store, name: str) -> bool:
    """Make the volume; True when it is new.

    Half-made ones of a killed process have no ``_data`` and are made again.
    """
    path = volume_path(store, name)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return False
    os.chmod(path, 0o755)  # noqa: S103 - its parent directory is private
    if os.geteuid() == 0:
        os.chown(path, STORE_BASE, STORE_BASE)
    return True


def _fill(store: Store, container_id: str, record: dict[str, Any], mount: dict[str, Any]) -> None:
    """Copy what the image has at the target into a new volume, as docker does."""
    if record["options"].get("rootfs"):
        return
    from casemate.engine.copyup import copy_up

    lowers = store.snapshots.rootfs(container_id).lowers  # the container is new: its own layer is empty
    copy_up(lowers, mount["target"], mount["source"])


def remove_volume(store: Store, name: str) -> None:
    """Remove a volume and its data; absent is success."""
    remove_tree(f"{store.paths.volumes}/{check_volume_name(name)}")


def remove_anonymous(store: Store, record: dict[str, Any]) -> None:
    """Remove the volumes that exist only for this container."""
    for mount in record["mounts"]:
        if mount.get("anonymous") and mount.get("name"):
            remove_volume(store, mount["name"])
