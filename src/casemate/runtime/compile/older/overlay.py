"""Stack layers on kernels before 6.15, where overlayfs takes no layers from mounts that are attached nowhere.

The new mount interface is of little use there: until 6.5 a value of ``fsconfig`` for overlayfs has at most 255 bytes,
which three layers exceed; mount(2) takes a page. So id-mapped layers are attached below a tmpfs in a mount namespace
of the parent, the overlay is mounted beside them by mount(2), and a detached copy of it is what the container gets.
Remove with the support of these kernels.
"""

from __future__ import annotations

import os

from casemate.errors import Unsupported
from casemate.kernel.const.mount import FSCONFIG_CMD_CREATE, MS_PRIVATE, OPEN_TREE_CLONE
from casemate.kernel.const.openat2 import AT_EMPTY_PATH, AT_RECURSIVE
from casemate.kernel.const.sched import CLONE_NEWNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from casemate.core.snapshots import RootFs
    from casemate.runtime.compile.build import Build

    Add = Callable[..., None]

MS_NOSUID, MS_NODEV, MNT_DETACH = 2, 4, 2
DATA_BYTES = 4095
"""mount(2) copies one page of options and their final NUL."""
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MEANING = "stack the image's layers"


def stack(build: Build, rootfs: RootFs, layers: list[int], *, shifted: bool, sealed: bool) -> int:
    """Return the slot of a detached overlay of the layers; ``shifted``: their slots are id-mapped mounts.

    Raises: Unsupported for more layers than fit into mount(2)'s page.
    """
    add: Add = build.inside
    where = rootfs.lowers[0]
    below = -1
    if build.privileged:
        # The parent needs a mount namespace of its own: nothing of the host can be cloned after that.
        add = build.late
        _leave_the_host(build, add)
    if shifted:
        below = _attach(build, add, layers, where)
    data = options(rootfs, [str(n) for n in range(len(layers))] if shifted else list(rootfs.lowers))
    place, top, tree = below, build.slot(), build.slot()
    if not shifted:
        place = build.slot()
        add("OPENAT2", place, -1, where, _DIRECTORY, 0, 0, meaning=_MEANING)
    flags = MS_NODEV | (MS_NOSUID if sealed else 0)
    add("MOUNT", "overlay", place, "overlay", flags, data, meaning=_MEANING)
    add("OPENAT2", top, -1, where, _DIRECTORY, 0, 0, meaning=_MEANING)
    add("OPEN_TREE", tree, top, None, OPEN_TREE_CLONE | AT_EMPTY_PATH, meaning=_MEANING)
    add("UMOUNT", top, MNT_DETACH, meaning=_MEANING)
    if shifted:
        add("UMOUNT", below, MNT_DETACH, meaning=_MEANING)
    return tree


def options(rootfs: RootFs, lowers: list[str]) -> str:
    """Return the overlay's options for mount(2).

    Raises: Unsupported when they are longer than a page.
    """
    lower = ":".join(_escaped(path).replace(":", "\\:") for path in lowers)
    parts = ["userxattr"] if rootfs.userxattr else []
    parts.append(f"lowerdir={lower}")
    for key, path in (("upperdir", rootfs.upper), ("workdir", rootfs.work)):
        if path is not None:
            parts.append(f"{key}={_escaped(path)}")
    data = ",".join(parts)
    if len(os.fsencode(data)) > DATA_BYTES:
        raise Unsupported(
            "stack the image's layers",
            f"{len(lowers)} layers",
            f"their paths are longer than the {DATA_BYTES} bytes that this kernel takes",
            hint="use Linux 6.15 or newer, a store with a shorter path, or an image with fewer layers",
        )
    return data


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(",", "\\,")


def _leave_the_host(build: Build, add: Add) -> None:
    host = build.slot()
    add("UNSHARE", CLONE_NEWNS, meaning=_MEANING)
    add("OPENAT2", host, -1, "/", _DIRECTORY, 0, 0, meaning=_MEANING)
    add("MOUNT_SETATTR", host, AT_EMPTY_PATH | AT_RECURSIVE, 0, 0, MS_PRIVATE, -1, meaning=_MEANING)


def _attach(build: Build, add: Add, layers: list[int], where: str) -> int:
    """Attach the layers as 0, 1, ... below a tmpfs at ``where``; return the tmpfs's slot."""
    place, context, tmpfs = (build.slot() for _ in range(3))
    add("FSOPEN", context, "tmpfs", meaning=_MEANING)
    add("FSCONFIG", context, FSCONFIG_CMD_CREATE, None, None, -1, meaning=_MEANING)
    add("FSMOUNT", tmpfs, context, 0, meaning=_MEANING)
    add("OPENAT2", place, -1, where, _DIRECTORY, 0, 0, meaning=_MEANING)
    add("MOVE_MOUNT", tmpfs, place, meaning=_MEANING)
    for number, layer in enumerate(layers):
        target = build.slot()
        add("MKDIR", tmpfs, str(number), 0o755, meaning=_MEANING)
        add("OPENAT2", target, tmpfs, str(number), _DIRECTORY, 0, 0, meaning=_MEANING)
        add("MOVE_MOUNT", layer, target, meaning=_MEANING)
    return tmpfs
