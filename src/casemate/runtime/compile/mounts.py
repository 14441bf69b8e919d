"""`mounts` of the spec: bind mounts, kernel file systems, tmpfs; each goes on a descriptor that was resolved inside the root.

Nothing here mounts on a string: the target is opened once, in the container's root, without magic links, and the finished
mount is moved onto that descriptor.
"""

from __future__ import annotations

import os
import stat

from casemate.errors import Internal, Invalid, NotFound, Unsupported
from casemate.kernel.const.mount import (
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    MOUNT_ATTR_IDMAP,
    MS_PRIVATE,
    OPEN_TREE_CLONE,
)
from casemate.kernel.const.openat2 import AT_EMPTY_PATH, AT_RECURSIVE
from casemate.runtime.compile import cgroup_mounts
from casemate.runtime.compile.build import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS
from casemate.runtime.compile.mount_options import parse_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.cgroups.manager import Cgroup
    from casemate.core.snapshots import RootFs
    from casemate.runtime.compile.build import Build
    from casemate.runtime.compile.mount_options import MountOptions

    LateMount = tuple[str, MountOptions]

DIRECTORY, FILE = 1, 2
_IDMAPPED = frozenset({"ext4", "xfs", "btrfs", "f2fs", "tmpfs", "erofs", "squashfs", "vfat", "exfat"})
_OPEN_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What lxcfs and the like may put below /proc; anything else there would hide or fake what we protect.
_ALLOWED_BELOW_PROC = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    )
)
_PLAIN_TOP_LEVEL = {"/proc": "proc", "/sys": "sys", "/dev": "dev"}


def add_mounts(build: Build, *, bundle_dir: str, rootfs: RootFs) -> list[LateMount]:
    """Compile the mounts of the spec in its order; return those of control groups, which are compiled last.

    They must wait until the child is in its groups, and nothing else should. Raises: Invalid, NotFound, Unsupported.
    """
    late: list[LateMount] = []
    for mount in build.spec.get("mounts") or ():
        destination = _destination(mount)
        options = parse_options(mount.get("options") or (), destination=destination)
        kind = mount.get("type") or ("bind" if options.bind else "")
        if options.bind or kind in ("bind", "none", ""):
            _add_bind(build, mount, destination, options, bundle_dir=bundle_dir)
        elif kind in ("cgroup", "cgroup2"):
            late.append((destination, options))
        elif not (kind == "tmpfs" and options.copy_up and _add_filled(build, rootfs, destination, options)):
            _add_filesystem(build, kind, destination, options, source=mount.get("source") or kind)
        if late and options is not late[-1][1] and destination.startswith(late[-1][0] + "/"):
            raise Unsupported(
                "read mounts", destination, "nothing can be mounted inside the control groups' mount"
            )
    return late


def add_cgroup_mounts(build: Build, late: list[LateMount], *, cgroup: Cgroup | None) -> None:
    """Compile the mounts of control groups, after the child is in its own."""
    for destination, options in late:
        cgroup_mounts.add_cgroup_mount(build, destination, options, cgroup=cgroup)


def _destination(mount: dict[str, Any]) -> str:
    destination = mount.get("destination")
    if not isinstance(destination, str) or not destination or "\0" in destination:
        raise Invalid("read mounts", repr(destination), "the destination is not a path")
    path = os.path.normpath("/" + destination)
    path = "/" + path.lstrip("/")
    if path == "/":
        raise Invalid("read mounts", destination, "nothing can be mounted on the container's root")
    if path.startswith("/proc/") and path not in _ALLOWED_BELOW_PROC:
        raise Invalid("read mounts", destination, "inside /proc only a few harmless files can be covered")
    return path


def open_target(build: Build, path: str, kind: int, *, meaning: str) -> int:
    """Return the slot where a mount goes. /proc, /sys and /dev themselves must be real directories, not links."""
    name = _PLAIN_TOP_LEVEL.get(path)
    if name is None:
        return build.target(path, kind, meaning=meaning)
    out = build.slot()
    hint = f"{path} in the image must be a directory, not a link"
    build.inside("MKDIR", build.root, name, 0o755, meaning=meaning, hint=hint)
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS
    build.inside("OPENAT2", out, build.root, name, _OPEN_DIRECTORY, 0, resolve, meaning=meaning, hint=hint)
    return out


def _add_bind(
    build: Build, mount: dict[str, Any], destination: str, options: MountOptions, *, bundle_dir: str
) -> None:
    source = mount.get("source") or ""
    path = source if os.path.isabs(source) else os.path.join(bundle_dir, source)
    meaning = f"mount {source} at {destination}"
    try:
        is_directory = stat.S_ISDIR(os.stat(path).st_mode)
        flags = OPEN_TREE_CLONE | (AT_RECURSIVE if options.recursive else 0)
        tree = build.clone_host_mount(path, flags=flags, meaning=meaning)
    except OSError as error:
        raise NotFound(f"mount at {destination}", source, error.strerror) from error
    propagation = options.propagation or MS_PRIVATE
    recursive = AT_RECURSIVE if options.propagation_recursive or not options.propagation else 0
    at = AT_EMPTY_PATH | recursive
    build.add_where_mounted("MOUNT_SETATTR", tree, at, 0, 0, propagation, -1, meaning=meaning)
    set_bits, clear_bits = options.set, options.clear
    userns = _bind_userns(build, mount, options, path)
    if userns >= 0:
        at = AT_EMPTY_PATH | (AT_RECURSIVE if options.idmap == "ridmap" else 0)
        build.before(
            "MOUNT_SETATTR",
            tree,
            at,
            MOUNT_ATTR_IDMAP,
            0,
            0,
            userns,
            meaning=f"map the ids of {source}",
            hint="its file system has no id-mapped mounts",
        )
    if set_bits or clear_bits & ~set_bits:
        build.add_where_mounted(
            "MOUNT_SETATTR", tree, AT_EMPTY_PATH, set_bits, clear_bits, 0, -1, meaning=meaning
        )
    if options.recursive_set or options.recursive_clear:
        at = AT_EMPTY_PATH | AT_RECURSIVE
        build.add_where_mounted(
            "MOUNT_SETATTR", tree, at, options.recursive_set, options.recursive_clear, 0, -1, meaning=meaning
        )
    target = open_target(build, destination, DIRECTORY if is_directory else FILE, meaning=meaning)
    build.inside("MOVE_MOUNT", tree, target, meaning=meaning)
    if destination == "/dev":
        build.dev = -1


def _bind_userns(build: Build, mount: dict[str, Any], options: MountOptions, path: str) -> int:
    """Return the slot of the user namespace whose map the mount shall have, -1 for none.

    Volumes of containers that have a uid range of their own are mapped by themselves where the file system can: what root inside
    writes belongs to root on the host's disk, as a user of other engines expects.
    """
    uids, gids = mount.get("uidMappings"), mount.get("gidMappings")
    asked = bool(uids or gids) or options.idmap in ("idmap", "ridmap")
    if not asked and not (build.maps_volumes and options.idmap != "noidmap" and _has_idmapped_mounts(path)):
        return -1
    if not build.privileged:
        raise Unsupported(f"mount {path}", "idmap", "only root can map the ids of a mount")
    if uids and gids:
        return _new_userns(build, _mapping_text(uids), _mapping_text(gids), path)
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


def _mapping_text(items: list[dict[str, Any]]) -> bytes:
    lines = [f"{int(item['containerID'])} {int(item['hostID'])} {int(item['size'])}\n" for item in items]
    return "".join(lines).encode()


def _add_filesystem(build: Build, kind: str, destination: str, options: MountOptions, *, source: str) -> None:
    """Compile a mount of a new file system instance: proc, sysfs, tmpfs, devpts, mqueue, or whatever the kernel offers."""
    meaning = f"mount {kind} at {destination}"
    if options.idmap:
        raise Unsupported(meaning, options.idmap, "only bind mounts can be id-mapped")
    context, tree = build.slot(), build.slot()
    hint = (
        "is /proc or /sys of the host partly covered?"
        if kind in ("proc", "sysfs") and build.own_userns
        else ""
    )
    build.inside("FSOPEN", context, kind, meaning=meaning)
    if kind != "mqueue":
        build.inside("FSCONFIG", context, FSCONFIG_SET_STRING, "source", source, -1, meaning=meaning)
    for key, value in _filesystem_data(build, kind, options):
        command = FSCONFIG_SET_FLAG if value is None else FSCONFIG_SET_STRING
        build.inside("FSCONFIG", context, command, key, value, -1, meaning=f"{meaning} with {key}")
    build.inside("FSCONFIG", context, FSCONFIG_CMD_CREATE, None, None, -1, meaning=meaning, hint=hint)
    build.inside("FSMOUNT", tree, context, options.set | options.recursive_set, meaning=meaning, hint=hint)
    if options.propagation:
        build.inside("MOUNT_SETATTR", tree, AT_EMPTY_PATH, 0, 0, options.propagation, -1, meaning=meaning)
    if kind == "proc":
        build.proc = tree
    target = open_target(build, destination, DIRECTORY, meaning=meaning)
    build.inside("MOVE_MOUNT", tree, target, meaning=meaning)
    if destination == "/dev" and kind == "tmpfs":
        build.dev = tree
    if destination == "/dev/pts" and kind == "devpts":
        build.pts = tree


def _add_filled(build: Build, rootfs: RootFs, destination: str, options: MountOptions) -> bool:
    """Compile a tmpfs with the image's files in it; return False when there are none."""
    from casemate.runtime.compile.copy_up import filled_tmpfs

    meaning = f"mount tmpfs at {destination}"
    try:
        tree = filled_tmpfs(build, rootfs, destination, options)
    except OSError as error:
        raise Internal(meaning, "tmpcopyup", error.strerror) from error
    if tree is None:
        return False
    set_bits = options.set | options.recursive_set
    propagation = options.propagation or MS_PRIVATE
    build.before("MOUNT_SETATTR", tree, AT_EMPTY_PATH, set_bits, 0, propagation, -1, meaning=meaning)
    build.inside(
        "MOVE_MOUNT", tree, open_target(build, destination, DIRECTORY, meaning=meaning), meaning=meaning
    )
    return True


def _filesystem_data(build: Build, kind: str, options: MountOptions) -> list[tuple[str, str | None]]:
    """Return the file system's own options; ids that the user namespace does not know cannot be asked for."""
    data = list(options.data)
    if kind == "devpts" and build.id_map is not None:
        data = [(key, value) for key, value in data if not (key == "gid" and _unmapped_gid(build, value))]
    return data


def _unmapped_gid(build: Build, text: str | None) -> bool:
    return build.id_map is not None and (text is None or build.id_map.host_gid(int(text)) is None)
