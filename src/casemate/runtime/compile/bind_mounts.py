"""Bind mounts: a copy of what stands at a path of the host, with attributes, propagation and id map of its own."""

from __future__ import annotations

import os
import stat

from casemate.errors import Invalid, NotFound, Unsupported
from casemate.kernel.const.mount import MOUNT_ATTR_IDMAP, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE, OPEN_TREE_CLONE
from casemate.kernel.const.openat2 import AT_EMPTY_PATH, AT_RECURSIVE
from casemate.runtime.compile.build import DIRECTORY, FILE
from casemate.runtime.compile.namespaces import read_mappings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.compile.build import Build
    from casemate.runtime.compile.mount_options import MountOptions

_IDMAPPED = frozenset({"ext4", "xfs", "btrfs", "f2fs", "tmpfs", "erofs", "squashfs", "vfat", "exfat"})
_LOCKED = "for an ordinary user what restricts the host's mount stays, and so does how it keeps access times"


def add_bind(
    build: Build, mount: dict[str, Any], destination: str, options: MountOptions, *, bundle_dir: str
) -> None:
    """Compile one bind mount. Raises: Invalid, NotFound, Unsupported."""
    source = mount.get("source") or ""
    path = source if os.path.isabs(source) else os.path.join(bundle_dir, source)
    meaning = f"mount {source} at {destination}"
    if options.data:
        raise Invalid(meaning, options.data[0][0], "a bind mount takes no options of a file system")
    userns = _bind_userns(build, mount, options, path)
    try:
        is_directory = stat.S_ISDIR(os.stat(path).st_mode)
        flags = OPEN_TREE_CLONE | (AT_RECURSIVE if options.recursive else 0)
        tree = build.clone_host_mount(path, flags=flags, meaning=meaning)
    except OSError as error:
        raise NotFound(f"mount at {destination}", source, error.strerror) from error
    _set_propagation(build, tree, options, meaning)
    if userns >= 0:
        at = AT_EMPTY_PATH | (AT_RECURSIVE if options.idmap == "ridmap" else 0)
        hint = "its file system has no id-mapped mounts, or it is mapped already"
        what = f"map the ids of {source}"
        build.before("MOUNT_SETATTR", tree, at, MOUNT_ATTR_IDMAP, 0, 0, userns, meaning=what, hint=hint)
    hint = "" if build.privileged else _LOCKED
    for at, bits, cleared in (
        (AT_EMPTY_PATH, options.set, options.clear),
        (AT_EMPTY_PATH | AT_RECURSIVE, options.recursive_set, options.recursive_clear),
    ):
        if bits or cleared:
            build.add_where_mounted(
                "MOUNT_SETATTR", tree, at, bits, cleared, 0, -1, meaning=meaning, hint=hint
            )
    target = build.mount_target(destination, DIRECTORY if is_directory else FILE, meaning=meaning)
    build.inside("MOVE_MOUNT", tree, target, meaning=meaning)
    if destination == "/dev":
        build.dev = -1


def _set_propagation(build: Build, tree: int, options: MountOptions, meaning: str) -> None:
    """Compile the propagation. The copy is a peer of the host's mount: shared means to stay one, everything else to leave it.

    What lies below leaves it too, also without the letter r; below a shared mount it stays a peer, as with other runtimes.
    """
    wanted = options.propagation or MS_PRIVATE
    everything = AT_EMPTY_PATH | AT_RECURSIVE
    if wanted == MS_UNBINDABLE and not options.propagation_recursive:
        build.add_where_mounted("MOUNT_SETATTR", tree, everything, 0, 0, MS_PRIVATE, -1, meaning=meaning)
    at = everything if options.propagation_recursive or wanted in (MS_PRIVATE, MS_SLAVE) else AT_EMPTY_PATH
    build.add_where_mounted("MOUNT_SETATTR", tree, at, 0, 0, wanted, -1, meaning=meaning)


def _bind_userns(build: Build, mount: dict[str, Any], options: MountOptions, path: str) -> int:
    """Return the slot of the user namespace whose map the mount shall have, -1 for none.

    Volumes of containers that have a uid range of their own are mapped by themselves where the file system can: what root inside
    writes belongs to root on the host's disk, as a user of other engines expects.
    """
    uids, gids = mount.get("uidMappings"), mount.get("gidMappings")
    asked = bool(uids or gids) or options.idmap in ("idmap", "ridmap")
    if not asked and not (build.maps_volumes and options.idmap != "noidmap" and _has_idmapped_mounts(path)):
        return -1
    own = read_mappings(uids, gids, doing=f"map the ids of mount {path}")
    if not build.privileged:
        why = "only who owns the file system may map its ids: that is root"
        raise Unsupported(f"mount {path}", options.idmap or "uidMappings", why)
    if own is not None:
        return _new_userns(build, own.uid_text(), own.gid_text(), path)
    if build.id_map is None:
        raise Invalid(f"mount {path}", "idmap", "the container has no user namespace whose map could be used")
    if build.volume_userns < 0:
        build.volume_userns = _new_userns(build, build.id_map.uid_text(), build.id_map.gid_text(), "volumes")
    return build.volume_userns


def _new_userns(build: Build, uid_text: bytes, gid_text: bytes, what: str) -> int:
    slot = build.slot()
    build.before("USERNS", slot, uid_text, gid_text, meaning=f"make the id map of {what}")
    return slot


def _has_idmapped_mounts(path: str) -> bool:
    """Whether the file system at ``path`` is one that takes id maps on this kernel (tmpfs: since 6.3)."""
    about = os.stat(path)
    device = f"{os.major(about.st_dev)}:{os.minor(about.st_dev)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            if fields.split(" ", 3)[2] == device:
                return rest.split(" ", 1)[0] in _IDMAPPED
    return False
