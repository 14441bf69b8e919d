"""Device nodes of a container: the six that every program expects, those of the spec, and the usual links in /dev.

With full privilege they are made (mknod); in a user namespace that is impossible, so the host's nodes are mounted over empty
files, after their numbers were compared.
"""

from __future__ import annotations

import os
import stat

from casemate.errors import Invalid, NotFound
from casemate.kernel.const.mount import MS_PRIVATE, OPEN_TREE_CLONE
from casemate.kernel.const.openat2 import AT_EMPTY_PATH
from casemate.runtime.compile.build import DIRECTORY, FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.compile.build import Build

DEFAULT_DEVICES: tuple[dict[str, Any], ...] = tuple(
    {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor, "fileMode": 0o666}
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def add_devices(build: Build) -> None:
    """Compile the devices. A /dev that is bind-mounted from the host is left alone, as it is whole; so is what a mount covers."""
    if _dev_is_bound(build.spec):
        return
    wanted: dict[str, dict[str, Any]] = {item["path"]: item for item in DEFAULT_DEVICES}
    for item in build.linux.get("devices") or ():
        wanted[_path(item)] = item
    covered = {os.path.normpath(mount["destination"]) for mount in build.spec.get("mounts") or ()}
    makes = build.privileged and not build.own_userns and owns_initial_userns()
    for path, item in wanted.items():
        if path in covered:
            continue
        own_place = build.dev >= 0 or not path.startswith("/dev/")
        if item.get("type") == "p" or (makes and own_place):
            _make(build, path, item)
        else:
            _bind(build, path, item)
    if build.dev >= 0:
        _add_links(build, covered)


def _add_links(build: Build, covered: set[str]) -> None:
    links = [*_LINKS, ("ptmx", "pts/ptmx")] if build.pts >= 0 else _LINKS
    for name, link in links:
        if f"/dev/{name}" not in covered:
            build.inside("SYMLINK", link, build.dev, name, meaning=f"link /dev/{name}")


def _dev_is_bound(spec: dict[str, Any]) -> bool:
    for mount in spec.get("mounts") or ():
        if os.path.normpath(mount.get("destination") or "") == "/dev":
            options = mount.get("options") or ()
            return mount.get("type") in ("bind", "none") or "bind" in options or "rbind" in options
    return False


def owns_initial_userns() -> bool:
    """Whether we are in the initial user namespace, the only one where device nodes can be made."""
    with open("/proc/self/uid_map", encoding="utf-8") as file:
        return file.read().split() == ["0", "0", "4294967295"]


def _path(item: dict[str, Any]) -> str:
    path = item.get("path")
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise Invalid("read linux.devices", repr(path), "not an absolute path")
    if item.get("type") not in _TYPES:
        raise Invalid("read linux.devices", path, f"unknown device type {item.get('type')!r}")
    return os.path.normpath("/" + path.lstrip("/"))


def _make(build: Build, path: str, item: dict[str, Any]) -> None:
    """Make the node. One that is there already is right when type and numbers are; anything else is an error (enter, MKNOD)."""
    meaning, (directory, name) = f"make the device {path}", os.path.split(path)
    dev = build.dev
    if directory != "/dev" or dev < 0:
        dev = build.target(directory, DIRECTORY, meaning=meaning)
    kind = _TYPES[item["type"]]
    number = os.makedev(item.get("major", 0), item.get("minor", 0)) if kind != stat.S_IFIFO else 0
    mode = item.get("fileMode")
    mode = kind | (0o666 if mode is None else mode & 0o7777)
    hint = "another file is there"
    build.inside("MKNOD", dev, name, mode, number, meaning=meaning, hint=hint)
    uid, gid = item.get("uid") or 0, item.get("gid") or 0
    if uid or gid:
        slot = build.slot()
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        build.inside("OPENAT2", slot, dev, name, flags, 0, 0, meaning=f"open the device {path}")
        build.inside("FCHOWN", slot, uid, gid, meaning=f"give the device {path} to {uid}:{gid}")


def _bind(build: Build, path: str, item: dict[str, Any]) -> None:
    """Mount the host's node of the same numbers over a file of our own."""
    source = _host_node(path, item)
    meaning = f"mount the device {path}"
    tree = build.clone_host_mount(source, flags=OPEN_TREE_CLONE, meaning=meaning)
    build.add_where_mounted("MOUNT_SETATTR", tree, AT_EMPTY_PATH, 0, 0, MS_PRIVATE, -1, meaning=meaning)
    target = build.target(path, FILE, meaning=meaning)
    build.inside("MOVE_MOUNT", tree, target, meaning=meaning)


def _host_node(path: str, item: dict[str, Any]) -> str:
    """Return the host's path of a device after comparing type and numbers. Raises: NotFound, Invalid."""
    try:
        about = os.lstat(path)
    except OSError as error:
        raise NotFound(
            "mount device", path, error.strerror, hint="a user namespace can only use devices of the host"
        ) from error
    number = os.makedev(item.get("major", 0), item.get("minor", 0))
    if stat.S_IFMT(about.st_mode) != _TYPES[item["type"]] or about.st_rdev != number:
        raise Invalid(
            "mount device",
            path,
            f"the host's node is not {item['type']} {item.get('major')}:{item.get('minor')}",
        )
    return path


def null_mount(build: Build) -> int:
    """Return the slot of a detached mount of the host's null device: the source of masks, never the container's own file."""
    source = _host_node("/dev/null", DEFAULT_DEVICES[0])
    tree = build.clone_host_mount(source, flags=OPEN_TREE_CLONE, meaning="open the null device")
    build.add_where_mounted(
        "MOUNT_SETATTR", tree, AT_EMPTY_PATH, 0, 0, MS_PRIVATE, -1, meaning="open the null device"
    )
    return tree
