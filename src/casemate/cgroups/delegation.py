"""Delegation in cgroup v2: which part of the tree an unprivileged caller may use, and controllers handed down in it.

Source: kernel Documentation/admin-guide/cgroup-v2.rst, "Delegation", "No Internal Process Constraint".
"""

from __future__ import annotations

import errno
import os

from casemate.cgroups import tree
from casemate.cgroups.settings import find_text, write_file
from casemate.kernel.libc import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from casemate.cgroups.hierarchy import Hierarchy

ASIDE = "casemate-self"
_ATTEMPTS = 20


def delegated_base(hierarchy: Hierarchy) -> str | None:
    """The highest group from the caller's own upward that it may write without a gap; None when none."""
    if hierarchy.own is None:
        return None
    directory = f"{hierarchy.mountpoint}/{hierarchy.own}".rstrip("/")
    found = None
    while _is_delegated(directory):
        found = directory
        if directory == hierarchy.mountpoint:
            break
        directory = os.path.dirname(directory)
    return found


def user_base(hierarchy: Hierarchy) -> str | None:
    """The group of the caller's own systemd, when it answers: a login session's group is root's, but that may be used.

    Who starts a process there must stand inside himself (``systemd.scopes.enter_user_scope``); reading, freezing and killing
    need no more than the files.
    Source: systemd.special(7), user@.service.
    """
    from casemate.cgroups.systemd.bus import socket_paths

    uid = os.geteuid()
    parts = (hierarchy.own or "").split("/")
    at = next(
        (i for i, part in enumerate(parts) if part.startswith("user@") and part.endswith(".service")), -1
    )
    group = "/".join(parts[: at + 1]) or f"user.slice/user-{uid}.slice/user@{uid}.service"
    directory = f"{hierarchy.mountpoint}/{group}"
    if not _is_delegated(directory) or not any(os.path.exists(path) for path, _ in socket_paths(user=True)):
        return None
    return directory


def stands_below(hierarchy: Hierarchy, directory: str) -> bool:
    """Whether the caller's own group is this one or lies below it."""
    place = f"{hierarchy.mountpoint}/{hierarchy.own}".rstrip("/")
    return hierarchy.own is not None and (place == directory or place.startswith(f"{directory}/"))


def _is_delegated(directory: str) -> bool:
    """Whether these are writable, which is what delegation means: cgroup-v2.rst, "Model of Delegation"."""
    paths = (directory, f"{directory}/cgroup.procs", f"{directory}/cgroup.subtree_control")
    return all(os.access(path, os.W_OK, effective_ids=True) for path in paths)


def hand_down(directory: str, controllers: Iterable[str]) -> None:
    """Enable controllers for the children of a group, as far as it has them.

    A controller that cannot be enabled is left out: the limit that needs it is then reported as not set.
    """
    offered = (find_text(directory, "cgroup.controllers") or "").split()
    enabled = (find_text(directory, "cgroup.subtree_control") or "").split()
    missing = [name for name in dict.fromkeys(controllers) if name in offered and name not in enabled]
    if not missing or _enable(directory, missing):
        return
    for name in missing:
        _enable(directory, [name])


def _enable(directory: str, controllers: list[str]) -> bool:
    text = " ".join(f"+{name}" for name in controllers)
    try:
        write_file(directory, "cgroup.subtree_control", text)
    except KernelError as error:
        if error.errno != errno.EBUSY or not _step_aside(directory):
            return False
    else:
        return True
    try:
        write_file(directory, "cgroup.subtree_control", text)
    except KernelError:
        return False
    return True


def _step_aside(directory: str) -> bool:
    """Move the processes of a delegated group into a child of it, so that it may hand controllers down.

    Only done where the caller itself stands: what runs there beside it was started in the same delegation (a
    shell, its helpers). The pid of one that ends meanwhile could at worst name another process of the same
    delegation: the kernel moves nothing that the caller may not move.
    """
    if os.getpid() not in _pids_here(directory):
        return False
    aside = tree.make(directory, (ASIDE,))[-1]
    for _ in range(_ATTEMPTS):
        here = _pids_here(directory)
        if not here:
            return True
        for pid in here:
            try:
                write_file(aside, "cgroup.procs", str(pid))
            except KernelError as error:
                if error.errno != errno.ESRCH:
                    return False
    return False


def _pids_here(directory: str) -> list[int]:
    return [int(word) for word in (find_text(directory, "cgroup.procs") or "").split()]
