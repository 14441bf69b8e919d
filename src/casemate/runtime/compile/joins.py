"""Namespaces that exist already: checked to be of the kind that was said, joined by the parent; who is mapped there."""

from __future__ import annotations

import fcntl
import os

from casemate.errors import Invalid
from casemate.kernel.const.sched import NS_GET_NSTYPE
from casemate.kernel.namespaces import FILES, FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.kernel.userns import IdMap
    from casemate.runtime.compile.build import Build


def check_paths(kinds: dict[str, str]) -> None:
    """Raise Invalid for a path that is not a namespace of its kind."""
    for kind, path in kinds.items():
        if path:
            os.close(_open(kind, path))


def add_joins(build: Build) -> None:
    """Join existing namespaces in the parent, after everything that it mounts with its old privileges.

    An unprivileged parent needs the user namespace first, since that gives it the right to join the others; a privileged one
    enters it last, since it gives up rights.
    """
    paths = [(kind, path) for kind, path in build.namespaces.items() if path]
    paths.sort(key=lambda item: (item[0] == "user") == build.privileged)
    for kind, path in paths:
        slot = build.plan.slot_of(_open(kind, path), owned=True, label=path)
        hint = "joining needs CAP_SYS_ADMIN over the namespace; for an ordinary user its user namespace too"
        meaning = f"join the {kind} namespace {path}"
        build.before("SETNS", slot, FLAGS[kind], meaning=meaning, hint=hint)


def _open(kind: str, path: str) -> int:
    """Return a descriptor of the namespace. Raises: Invalid for anything else, FIFOs and devices included."""
    doing = f"join {kind} namespace"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise Invalid(doing, path, error.strerror) from error
    try:
        found = fcntl.ioctl(fd, NS_GET_NSTYPE)
    except OSError:
        found = 0
    if found == FLAGS[kind]:
        return fd
    os.close(fd)
    name = next((name for name, flag in FLAGS.items() if flag == found), "")
    raise Invalid(doing, path, f"it is a {name} namespace" if name else "it is not a namespace")


def is_our_own(kind: str, path: str) -> bool:
    """Whether the namespace at ``path`` is the one that we are in ourselves: what is set there is set for the host."""
    own, other = os.stat(f"/proc/self/ns/{FILES[kind]}"), os.stat(path)
    return (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)


def joined_map(build: Build, wanted: IdMap | None) -> IdMap | None:
    """Return the map of the user namespace that will be joined, None when no process that we see is in it.

    Raises: Invalid when the spec gives another one.
    """
    path = build.namespaces["user"]
    about = os.stat(path)
    found = None
    for name in os.listdir("/proc"):
        if name.isdigit() and _is_in(name, about):
            found = _read_map(name)
            break
    if wanted is not None and found is not None and wanted != found:
        why = "the user namespace that is joined has other mappings"
        raise Invalid("prepare container", "linux.uidMappings", why, hint="leave them out")
    return found or wanted


def _is_in(pid: str, about: os.stat_result) -> bool:
    try:
        other = os.stat(f"/proc/{pid}/ns/user")
    except OSError:
        return False
    return (other.st_dev, other.st_ino) == (about.st_dev, about.st_ino)


def _read_map(pid: str) -> IdMap | None:
    from casemate.kernel.userns import IdMap, IdRange

    maps = []
    try:
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{name}", encoding="ascii") as file:
                maps.append([IdRange(*map(int, line.split())) for line in file])
        return IdMap(*maps)
    except (OSError, ValueError):  # it has ended, or has no map yet
        return None
