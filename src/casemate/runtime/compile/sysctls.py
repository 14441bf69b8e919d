"""`linux.sysctl`: only those that a namespace of the container owns, written through a procfs of our own.

The procfs is a mount that we have just made and that nothing can cover yet; the write stays on it (no crossing of mounts, no
links). A namespace that is joined by path counts unless it is our own: what is set there is set for the host.
"""

from __future__ import annotations

import os

from casemate.errors import Denied, Invalid
from casemate.kernel.const.magic import PROC_SUPER_MAGIC
from casemate.kernel.const.mount import FSCONFIG_CMD_CREATE
from casemate.runtime.compile.build import RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV
from casemate.runtime.compile.namespaces import has_own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.runtime.compile.build import Build

_IPC = frozenset(
    f"kernel.{name}"
    for name in (
        "msgmax",
        "msgmnb",
        "msgmni",
        "sem",
        "shmall",
        "shmmax",
        "shmmni",
        "shm_rmid_forced",
        "msg_next_id",
        "sem_next_id",
        "shm_next_id",
    )
)
_NAMES = {"sys/kernel/hostname": "HOSTNAME", "sys/kernel/domainname": "DOMAINNAME"}
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./")
_VALUE_CHARACTERS = _NAME_CHARACTERS | frozenset(" \t,:")
_RESOLVE = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS


def add_sysctls(build: Build) -> list[tuple[str, str, int]]:
    """Compile the settings; return (name, value, slot of the open file) of those that must be written when all is made.

    The limits on namespaces count what we make ourselves: every detached mount is one for a moment.
    Raises: Denied for one that is not the container's own, Invalid for a malformed one.
    """
    settings = build.linux.get("sysctl") or {}
    for name, value in settings.items():
        _check(build, name, value)
    if not settings:
        return []
    proc = fresh_proc(build)
    final = []
    for name, value in settings.items():
        path, meaning = "sys/" + _path(name), f"set {name} to {value}"
        if path in _NAMES:  # its file belongs to the host's root; the call asks only for the namespace
            build.inside(_NAMES[path], str(value), meaning=meaning)
            continue
        if path.startswith("sys/user/max_"):
            slot = build.slot()
            build.inside("OPENAT2", slot, proc, path, os.O_RDWR | os.O_CLOEXEC, 0, _RESOLVE, meaning=meaning)
            build.inside("EXPECT_FS", slot, PROC_SUPER_MAGIC, meaning=meaning)
            final.append((name, str(value), slot))
            continue
        build.inside(
            "WRITE_FILE", proc, path, str(value).encode(), _RESOLVE, PROC_SUPER_MAGIC, meaning=meaning
        )
    return final


def fresh_proc(build: Build) -> int:
    """Return the slot of a procfs that the container has not been able to touch."""
    if build.proc < 0:
        context, build.proc = build.slot(), build.slot()
        meaning = "open a procfs of our own"
        build.inside("FSOPEN", context, "proc", meaning=meaning)
        build.inside("FSCONFIG", context, FSCONFIG_CMD_CREATE, None, None, -1, meaning=meaning)
        build.inside("FSMOUNT", build.proc, context, 0, meaning=meaning)
    return build.proc


def _path(name: str) -> str:
    """Return the file below /proc/sys: dots separate, unless slashes do (then dots belong to names, as in sysctl(8))."""
    first_slash, first_dot = name.find("/"), name.find(".")
    if first_slash >= 0 and (first_dot < 0 or first_slash < first_dot):
        return name
    return "".join({".": "/", "/": "."}.get(character, character) for character in name)


def _check(build: Build, name: str, value: object) -> None:
    text = str(value)
    if not name or set(name) - _NAME_CHARACTERS or ".." in name or name.startswith("/"):
        raise Invalid("set sysctl", name, "not a name")
    if not text or set(text) - _VALUE_CHARACTERS:
        raise Invalid("set sysctl", name, f"{text!r} has characters that no setting needs")
    dotted = _path(name).replace("/", ".")
    owner = _owner(dotted)
    if owner is None:
        raise Denied("set sysctl", name, "it belongs to the whole host, not to a namespace")
    if not has_own(build, owner):
        raise Denied("set sysctl", name, f"the container has no {owner} namespace of its own")


def _owner(dotted: str) -> str | None:
    """Return the kind of namespace that a setting belongs to."""
    if dotted in _IPC or dotted.startswith("fs.mqueue."):
        return "ipc"
    if dotted.startswith("net."):
        return "network"
    if dotted in ("kernel.domainname", "kernel.hostname"):
        return "uts"
    if dotted.startswith("user.max_"):
        return "user"
    return None
