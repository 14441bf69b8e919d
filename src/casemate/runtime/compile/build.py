"""The state of one compilation: the plan that grows, and what is known about the container's namespaces."""

from __future__ import annotations

import os

from casemate.kernel.const.openat2 import AT_EMPTY_PATH
from casemate.kernel.namespaces import FLAGS
from casemate.runtime.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.kernel.userns import IdMap
    from casemate.runtime.compile.listener import Agent
    from casemate.runtime.request import Stdio

O_PATH_CLOEXEC = os.O_PATH | os.O_CLOEXEC
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_IN_ROOT = 0x01, 0x02, 0x04, 0x10
_PLAIN_TOP_LEVEL = {"/proc": "proc", "/sys": "sys", "/dev": "dev"}
_OPEN_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MUST_EXIST, DIRECTORY, FILE = 0, 1, 2  # TARGET: what is made when it is missing


class Build:
    """One plan under construction.

    ``namespaces`` maps each kind of the spec to the path of an existing one, or "" for a new one. ``own_userns`` says that the
    child is in another user namespace than we are; ``privileged`` that the parent may mount before the child exists. ``root``,
    ``proc`` and ``dev`` are slots of the container's root, a fresh procfs of ours, and a fresh /dev (-1 until made). ``agent`` is
    whoever is asked for verdicts by the seccomp filter. ``sealed_last``: mounts, with their destination, that become read-only
    when everything is in its place.
    """

    __slots__ = (
        "agent",
        "dev",
        "hook_report",
        "id_map",
        "last",
        "maps_volumes",
        "namespaces",
        "notes",
        "null",
        "plan",
        "privileged",
        "proc",
        "process",
        "pts",
        "root",
        "sealed_last",
        "spec",
        "stdio",
        "volume_userns",
    )

    def __init__(self, *, title: str, spec: dict[str, Any], process: dict[str, Any], stdio: Stdio) -> None:
        self.plan = Plan(title=title)
        self.spec = spec
        self.process = process
        self.stdio = stdio
        self.namespaces: dict[str, str] = {}
        self.id_map: IdMap | None = None
        self.privileged = os.geteuid() == 0
        self.root = -1
        self.proc = -1
        self.dev = -1
        self.pts = -1
        self.maps_volumes = False
        self.volume_userns = -1
        self.null = -1
        self.hook_report = -1
        self.sealed_last: list[tuple[int, str]] = []
        self.notes: list[str] = []
        self.last: list[tuple[str, tuple[Any, ...], str]] = []
        self.agent: Agent | None = None

    @property
    def linux(self) -> dict[str, Any]:
        """The `linux` object of the spec."""
        found: dict[str, Any] = self.spec.get("linux") or {}
        return found

    @property
    def own_userns(self) -> bool:
        """Whether the child is in a user namespace of its own, new or joined."""
        return "user" in self.namespaces

    def is_new(self, kind: str) -> bool:
        """Whether the container gets a new namespace of this kind."""
        return self.namespaces.get(kind) == ""

    def before(self, name: str, *args: Any, meaning: str = "", hint: str = "") -> None:
        """Add an operation of the parent, before the child exists."""
        self.plan.add("before", name, *args, meaning=meaning, hint=hint)

    def late(self, name: str, *args: Any, meaning: str = "") -> None:
        """Add an operation of the parent that comes after all others that it does before the child exists."""
        self.last.append((name, args, meaning))

    def flush_late(self) -> None:
        """Move what `late` collected into the plan."""
        for name, args, meaning in self.last:
            self.before(name, *args, meaning=meaning)
        self.last.clear()

    def beside(self, name: str, *args: Any, meaning: str = "", hint: str = "") -> None:
        """Add an operation of the parent while the child waits or runs."""
        self.plan.add("beside", name, *args, meaning=meaning, hint=hint)

    def inside(self, name: str, *args: Any, meaning: str = "", hint: str = "") -> None:
        """Add an operation of the child."""
        self.plan.add("inside", name, *args, meaning=meaning, hint=hint)

    def slot(self) -> int:
        """A slot for a descriptor that the plan opens."""
        return self.plan.new_slot()

    def host_path(self, path: str, *, meaning: str, directory: bool = False) -> int:
        """Slot of a host path, opened here and now, once. Raises: OSError."""
        del meaning
        flags = O_PATH_CLOEXEC | (os.O_DIRECTORY if directory else 0)
        return self.plan.slot_of(os.open(path, flags), owned=True, label=path)

    def target(self, path: str, kind: int, *, meaning: str, mode: int = 0o755) -> int:
        """Slot of ``path`` inside the container's root: resolved there once, missing parts made (kind 1 dir, 2 file, 0 none)."""
        out = self.slot()
        self.inside("TARGET", out, self.root, path, kind, mode, meaning=meaning)
        return out

    def mount_target(self, path: str, kind: int, *, meaning: str) -> int:
        """Slot where a mount goes. /proc, /sys and /dev themselves must be real directories, not links."""
        name = _PLAIN_TOP_LEVEL.get(path)
        if name is None:
            return self.target(path, kind, meaning=meaning)
        out = self.slot()
        hint = f"{path} in the image must be a directory, not a link"
        self.inside("MKDIR", self.root, name, 0o755, meaning=meaning, hint=hint)
        resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS
        self.inside("OPENAT2", out, self.root, name, _OPEN_DIRECTORY, 0, resolve, meaning=meaning, hint=hint)
        return out

    def clone_host_mount(self, path: str, *, flags: int, meaning: str) -> int:
        """Slot of a detached copy of what stands at ``path`` on the host, whoever is able to make it.

        With privilege the parent clones the descriptor that we opened. Without, only the child can (inside its user namespace):
        it opens the path again and compares what it got with what we saw.
        """
        fd = os.open(path, O_PATH_CLOEXEC)
        tree = self.slot()
        if self.privileged:
            source = self.plan.slot_of(fd, owned=True, label=path)
            self.before("OPEN_TREE", tree, source, None, flags | AT_EMPTY_PATH, meaning=meaning)
            return tree
        about = os.fstat(fd)
        os.close(fd)
        again = self.slot()
        self.inside("OPENAT2", again, -1, path, O_PATH_CLOEXEC, 0, 0, meaning=meaning)
        self.inside("EXPECT_INODE", again, about.st_dev, about.st_ino, meaning=meaning)
        self.inside("OPEN_TREE", tree, again, None, flags | AT_EMPTY_PATH, meaning=meaning)
        return tree

    def add_where_mounted(self, name: str, *args: Any, meaning: str = "", hint: str = "") -> None:
        """Add an operation on a slot of ``clone_host_mount`` to the program that made it."""
        (self.before if self.privileged else self.inside)(name, *args, meaning=meaning, hint=hint)


def clone_flag(kind: str) -> int:
    """The CLONE_NEW* flag of a namespace kind of the spec."""
    return FLAGS[kind]
