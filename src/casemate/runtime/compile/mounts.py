"""`mounts` of the spec: bind mounts, kernel file systems, tmpfs; each goes on a descriptor that was resolved inside the root.

Nothing here mounts on a string: the target is opened once, in the container's root, without magic links, and the finished
mount is moved onto that descriptor.
"""

from __future__ import annotations

import stat

from casemate.errors import Unsupported
from casemate.kernel.const.mount import (
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    MOUNT_ATTR_RDONLY,
)
from casemate.kernel.const.openat2 import AT_EMPTY_PATH, AT_RECURSIVE
from casemate.kernel.libc import KernelError
from casemate.runtime.compile import cgroup_mounts
from casemate.runtime.compile.build import DIRECTORY, MUST_EXIST
from casemate.runtime.compile.mount_options import destination_of, parse_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cgroups.manager import Cgroup
    from casemate.core.snapshots import RootFs
    from casemate.runtime.compile.build import Build
    from casemate.runtime.compile.mount_options import MountOptions

    LateMount = tuple[str, MountOptions]

COPY_CONTENT, COPY_OWNER, COPY_MODE = 1, 2, 4  # COPY_UP
_READ_ONLY_LATE = ("tmpfs", "proc")  # other mounts, devices or settings may still go into them


def add_mounts(build: Build, *, bundle_dir: str, rootfs: RootFs) -> list[LateMount]:
    """Compile the mounts of the spec in its order; return those of control groups, which are compiled last.

    They must wait until the child is in its groups, and nothing else should. Raises: Invalid, NotFound, Unsupported.
    """
    late: list[LateMount] = []
    for mount in build.spec.get("mounts") or ():
        destination = destination_of(mount)
        options = parse_options(mount.get("options") or (), destination=destination)
        kind = mount.get("type") or ("bind" if options.bind else "")
        if options.remount:
            _add_remount(build, destination, options)
        elif options.bind or kind in ("bind", "none", ""):
            from casemate.runtime.compile.bind_mounts import add_bind

            add_bind(build, mount, destination, options, bundle_dir=bundle_dir)
        elif kind in ("cgroup", "cgroup2"):
            late.append((destination, options))
        else:
            like = _copied_up(rootfs, destination, options) if kind == "tmpfs" else 0
            source = mount.get("source") or kind
            _add_filesystem(build, kind, destination, options, source=source, like=like)
        if late and options is not late[-1][1] and destination.startswith(late[-1][0] + "/"):
            raise Unsupported(
                "read mounts", destination, "nothing can be mounted inside the control groups' mount"
            )
    return late


def add_cgroup_mounts(build: Build, late: list[LateMount], *, cgroup: Cgroup | None) -> None:
    """Compile the mounts of control groups, after the child is in its own."""
    for destination, options in late:
        cgroup_mounts.add_cgroup_mount(build, destination, options, cgroup=cgroup)


def _add_filesystem(
    build: Build, kind: str, destination: str, options: MountOptions, *, source: str, like: int = 0
) -> None:
    """Compile a mount of a new file system instance: proc, sysfs, tmpfs, devpts, mqueue, or whatever the kernel offers.

    ``like``: what it takes over from the directory that it covers.
    """
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
    attributes = options.set | options.recursive_set
    if attributes & MOUNT_ATTR_RDONLY and kind in _READ_ONLY_LATE:
        attributes &= ~MOUNT_ATTR_RDONLY
        build.sealed_last.append((tree, destination))
    build.inside("FSMOUNT", tree, context, attributes, meaning=meaning, hint=hint)
    if options.propagation:
        build.inside("MOUNT_SETATTR", tree, AT_EMPTY_PATH, 0, 0, options.propagation, -1, meaning=meaning)
    if kind == "proc":
        build.proc = tree
    target = build.mount_target(destination, DIRECTORY, meaning=meaning)
    if like:
        hint = "the tmpfs is too small for what the image has there (options size and nr_inodes)"
        build.inside(
            "COPY_UP", target, tree, like, meaning=f"copy the image's {destination} into tmpfs", hint=hint
        )
    build.inside("MOVE_MOUNT", tree, target, meaning=meaning)
    if destination == "/dev" and kind == "tmpfs":
        build.dev = tree
    if destination == "/dev/pts" and kind == "devpts":
        build.pts = tree


def _add_remount(build: Build, destination: str, options: MountOptions) -> None:
    """Compile a change of a mount that an earlier entry made; what is not named stays as it is."""
    meaning = f"remount {destination}"
    if options.data or options.superblock or options.idmap or options.copy_up:
        why = "only the attributes of a mount can be changed, not its file system"
        raise Unsupported(meaning, "its options", why, hint="give them to the mount itself")
    target = build.mount_target(destination, MUST_EXIST, meaning=meaning)
    hint = "nothing is mounted there"
    for at, bits, cleared in (
        (AT_EMPTY_PATH, options.set, options.clear),
        (AT_EMPTY_PATH | AT_RECURSIVE, options.recursive_set, options.recursive_clear),
    ):
        if bits or cleared:
            build.inside("MOUNT_SETATTR", target, at, bits, cleared, 0, -1, meaning=meaning, hint=hint)
    if options.propagation:
        at = AT_EMPTY_PATH | (AT_RECURSIVE if options.propagation_recursive else 0)
        build.inside("MOUNT_SETATTR", target, at, 0, 0, options.propagation, -1, meaning=meaning, hint=hint)


def _copied_up(rootfs: RootFs, destination: str, options: MountOptions) -> int:
    """Return what a tmpfs takes over from the image's directory: its mode, unless given; with tmpcopyup content and owner too."""
    keys = {key for key, _ in options.data}
    if "mode" in keys and not options.copy_up:
        return 0
    from casemate.runtime.compile.masks import image_mode

    try:
        mode = image_mode(rootfs, destination)
    except KernelError:  # a directory that only the container's root may enter: there it is seen
        mode = None
    if mode is None or not stat.S_ISDIR(mode):
        return COPY_CONTENT if options.copy_up else 0
    like = 0 if "mode" in keys else COPY_MODE
    if options.copy_up:
        like |= COPY_CONTENT | (0 if keys & {"uid", "gid"} else COPY_OWNER)
    return like


def _filesystem_data(build: Build, kind: str, options: MountOptions) -> list[tuple[str, str | None]]:
    """Return the file system's own options; ids that the user namespace does not know cannot be asked for."""
    data = list(options.data)
    data += [(name, None) for name in options.superblock_of(kind)]
    if kind == "devpts" and build.id_map is not None:
        data = [(key, value) for key, value in data if not (key == "gid" and _unmapped_gid(build, value))]
    return data


def _unmapped_gid(build: Build, text: str | None) -> bool:
    return build.id_map is not None and (text is None or build.id_map.host_gid(int(text)) is None)
