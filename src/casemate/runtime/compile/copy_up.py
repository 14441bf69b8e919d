"""tmpcopyup: a tmpfs that begins with what the image has at its place (podman's default for --tmpfs).

Python makes the tmpfs, attached nowhere, and fills it before the child exists. Both sides are walked by descriptors, entry by
entry and without following a link, so that whoever changes the image's files meanwhile can change what is copied, and nothing
else: no file outside the image is read and none outside the tmpfs is written.
"""

from __future__ import annotations

import os
import stat

from casemate.errors import Exhausted, Unsupported
from casemate.kernel.libc import KernelError
from casemate.kernel.path import open_in_root, reopen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.core.snapshots import RootFs
    from casemate.kernel.fd import Fd
    from casemate.runtime.compile.build import Build
    from casemate.runtime.compile.mount_options import MountOptions

LIMIT_BYTES = 256 << 20  # it is our own memory until the container runs
LIMIT_ENTRIES = 65536
_BLOCK = 1 << 20
_DEPTH = 128
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def filled_tmpfs(build: Build, rootfs: RootFs, destination: str, options: MountOptions) -> int | None:
    """Return the slot of the filled mount; None when the image has nothing there, so that an ordinary tmpfs will do.

    Raises: Unsupported without privilege and for an image in layers, Exhausted when it does not fit.
    """
    if rootfs.kind != "bind" or not build.privileged:
        why = "it needs root and a root file system that is one directory"
        raise Unsupported(
            f"mount tmpfs at {destination}", "tmpcopyup", why, hint="give it the option notmpcopyup"
        )
    if _below_another(build, destination):
        build.notes.append(f"tmpfs at {destination} starts empty: it is inside another mount")
        return None
    root = os.open(rootfs.lowers[0], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        source = open_in_root(root, destination, os.O_RDONLY | os.O_DIRECTORY)
    except KernelError:
        return None
    finally:
        os.close(root)
    with source:
        return _made(build, source, destination, options)


def _below_another(build: Build, destination: str) -> bool:
    for mount in build.spec.get("mounts") or ():
        other = os.path.normpath("/" + str(mount.get("destination")))
        if destination.startswith(f"/{other.lstrip('/')}/"):
            return True
    return False


def _made(build: Build, source: Fd, destination: str, options: MountOptions) -> int:
    from casemate.kernel.mount_api import new_mount

    data: dict[str, str | int | None] = {"source": "tmpfs", **dict(options.data)}
    tree = new_mount("tmpfs", data, attributes=options.set & ~_READ_ONLY)
    done = False
    try:
        top = os.open(".", _DIRECTORY, dir_fd=tree.fileno())
        try:
            _Copy(destination).directory(source.fileno(), top, 0)
            about = os.fstat(source.fileno())
            if not {"uid", "gid"} & data.keys():
                os.fchown(top, about.st_uid, about.st_gid)
            if "mode" not in data:
                os.fchmod(top, stat.S_IMODE(about.st_mode))
        finally:
            os.close(top)
        done = True
    finally:
        if not done:
            tree.close()
    return build.plan.slot_of(tree.detach(), owned=True, label=f"tmpfs for {destination}")


_READ_ONLY = 1  # MOUNT_ATTR_RDONLY: set when it is full


class _Copy:
    """One copy with its budget. Devices, FIFOs and sockets are left out: an image cannot bring any."""

    __slots__ = ("bytes", "destination", "entries")

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self.bytes = LIMIT_BYTES
        self.entries = LIMIT_ENTRIES

    def directory(self, source: int, target: int, depth: int) -> None:
        """Copy what is in one directory into another, both by descriptor."""
        self._check(depth < _DEPTH, "it is nested too deeply")
        with os.scandir(source) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            self.entries -= 1
            self._check(self.entries >= 0, f"it has more than {LIMIT_ENTRIES} files")
            self._entry(source, target, name, depth)

    def _entry(self, source: int, target: int, name: str, depth: int) -> None:
        pinned = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        try:
            about = os.fstat(pinned)
            if stat.S_ISLNK(about.st_mode):
                os.symlink(os.readlink("", dir_fd=pinned), name, dir_fd=target)
                os.chown(name, about.st_uid, about.st_gid, dir_fd=target, follow_symlinks=False)
            elif stat.S_ISDIR(about.st_mode):
                os.mkdir(name, 0o700, dir_fd=target)
                self._into(pinned, os.open(name, _DIRECTORY, dir_fd=target), about, depth)
            elif stat.S_ISREG(about.st_mode):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._into(pinned, os.open(name, flags, 0o600, dir_fd=target), about, -1)
        finally:
            os.close(pinned)

    def _into(self, pinned: int, made: int, about: os.stat_result, depth: int) -> None:
        """Fill the new directory or (depth -1) file, then give it owner, mode and times."""
        try:
            with reopen(pinned, os.O_RDONLY | (os.O_DIRECTORY if depth >= 0 else 0)) as opened:
                if depth >= 0:
                    self.directory(opened.fileno(), made, depth + 1)
                else:
                    self._content(opened.fileno(), made)
            os.fchown(made, about.st_uid, about.st_gid)
            os.fchmod(made, stat.S_IMODE(about.st_mode))
            os.utime(made, ns=(about.st_atime_ns, about.st_mtime_ns))
        finally:
            os.close(made)

    def _content(self, source: int, target: int) -> None:
        while count := os.sendfile(target, source, None, _BLOCK):
            self.bytes -= count
            self._check(self.bytes >= 0, f"it has more than {LIMIT_BYTES >> 20} MiB")

    def _check(self, fits: bool, why: str) -> None:  # noqa: FBT001 - reads as the sentence it is
        if not fits:
            raise Exhausted("copy the image's files into tmpfs", self.destination, why)
