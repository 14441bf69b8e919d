"""What is mounted into a container.

Checked against docker's rules when it is created, written as OCI mounts when it starts.
"""

from __future__ import annotations

import os

from casemate.engine.names import new_id
from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from casemate.engine.options import MountOption, TmpfsOption

RESERVED = ("/proc", "/sys", "/dev/pts")
_NODES = frozenset(
    f"/dev/{name}"
    for name in (
        *("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"),
        *("fd", "stdin", "stdout", "stderr", "mqueue"),
    )
)
"""What every program relies on to be the kernel's: a volume there would be made instead of it."""
_FLAGS = ("nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "relatime")
_PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_IDLE = ("z", "Z", "idmap", "nocopy", "noidmap", "rw", "U")
RANGE_SIZE = 0x10000


def container_path(path: str) -> str:
    """``path`` inside the container, shortened.

    Raises: Invalid unless it is absolute, below the root, without NUL.
    """
    if not path.startswith("/"):
        raise Invalid("mount", repr(path), "the path in the container must be absolute")
    clean = "/" + os.path.normpath(path).lstrip("/")
    if clean == "/":
        raise Invalid("mount", repr(path), "the destination cannot be '/'")
    if "\0" in path:
        raise Invalid("mount", repr(path), "a NUL byte")
    if clean in RESERVED or clean.startswith("/proc/"):
        raise Invalid("mount", repr(path), "this path belongs to the kernel's own file systems")
    return clean


def plan_mounts(
    mounts: Sequence[MountOption], tmpfs: Sequence[TmpfsOption], image_volumes: Iterable[str]
) -> list[dict[str, Any]]:
    """Records {type, source, target, ro, options, create, anonymous}, in the order asked for.

    Image VOLUMEs nobody covered come last.
    Raises: Invalid: relative bind source, two mounts on one target, unknown option.
    """
    planned = [_planned(mount) for mount in mounts]
    for entry in tmpfs:
        target = container_path(entry.target)
        planned.append({"type": "tmpfs", "target": target, "options": list(entry.options)})
    seen: set[str] = set()
    for mount_record in planned:
        if mount_record["target"] in seen:
            raise Invalid("mount", mount_record["target"], "duplicate mount point")
        seen.add(mount_record["target"])
    for path in image_volumes:
        target = container_path(path)
        if target == "/dev" or target in _NODES or target.startswith("/sys/"):
            raise Invalid("mount", repr(path), "an image's volume cannot cover the kernel's own file systems")
        if target not in seen:
            seen.add(target)
            volume = {"type": "volume", "name": new_id(), "source": "", "target": target}
            planned.append({**volume, "anonymous": True, "options": []})
    return planned


def _planned(mount: MountOption) -> dict[str, Any]:
    target = container_path(mount.target)
    for option in mount.options:
        if mount.kind != "tmpfs" and option not in (*_FLAGS, *_PROPAGATION, *_IDLE, "bind", "rbind"):
            raise Invalid("mount", target, f"unknown option {option!r}")
    record: dict[str, Any] = {"type": mount.kind, "target": target, "options": list(mount.options)}
    if mount.read_only:
        record["ro"] = True
    if mount.kind == "bind":
        if not mount.source.startswith("/"):
            raise Invalid("mount", repr(mount.source), "the source path must be absolute")
        record["source"] = os.path.normpath(mount.source)
        if mount.create_source:
            record["create"] = True
    elif mount.kind == "volume":
        record["name"] = mount.source or new_id()
        record["source"] = ""
        if not mount.source:
            record["anonymous"] = True
    elif mount.kind != "tmpfs":
        raise Invalid("mount", target, f"unknown type {mount.kind!r}", hint="bind, volume or tmpfs")
    return record


def oci_mount(record: dict[str, Any], *, base: int | None, stored_base: int | None) -> dict[str, Any]:
    """One OCI mount of a planned record whose ``source`` is a host path by now.

    ``base``: first host id of the container (None: no id mapping, rootless or --userns=host). Through an
    idmapped mount the
    container's id N is id N of a bind's file system, and id ``stored_base`` + N of a volume of ours.
    """
    options = list(record.get("options", ()))
    if record["type"] == "tmpfs":
        return {
            "destination": record["target"],
            "type": "tmpfs",
            "source": "tmpfs",
            "options": _tmpfs_options(options, read_only=bool(record.get("ro"))),
        }
    words = ["bind" if "bind" in options else "rbind"]
    words.append(next((word for word in options if word in _PROPAGATION), "rprivate"))
    words += [] if "suid" in options else ["nosuid"]
    words += [] if "dev" in options else ["nodev"]
    words += [word for word in options if word in {"noexec", "noatime", "relatime"}]
    words += ["ro"] if record.get("ro") else []
    mount: dict[str, Any] = {
        "destination": record["target"],
        "type": "bind",
        "source": record["source"],
        "options": words,
    }
    if base is not None and "noidmap" not in options:
        inside = (stored_base or 0) if record["type"] == "volume" else 0
        mapping = [{"containerID": inside, "hostID": base, "size": RANGE_SIZE}]
        mount["uidMappings"] = mapping
        mount["gidMappings"] = mapping
    return mount


def _tmpfs_options(options: Sequence[str], *, read_only: bool) -> list[str]:
    """Docker's: noexec, nosuid, nodev unless their opposites are given.

    Everything else goes to the kernel.
    """
    words = []
    for flag, opposite in (("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")):
        if opposite not in options:
            words.append(flag)
    words += [
        word for word in options if word not in {"suid", "dev", "exec", "nosuid", "nodev", "noexec", "rw"}
    ]
    if read_only:
        words.append("ro")
    return words
