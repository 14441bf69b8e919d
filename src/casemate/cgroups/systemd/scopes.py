"""The manager of groups that asks systemd for each: a transient scope, with the files of v1 or v2 below it.

A scope lives as long as a process is in it, so it starts with one of ours that waits (``Holder``) until the container's first
process has been born beside it. Everything but its beginning and end is done by the control files, as without systemd.
Source: systemd.scope(5); https://systemd.io/CONTROL_GROUP_INTERFACE "Delegation".
"""

from __future__ import annotations

import os
import time

from casemate.cgroups.devices import fold_rules
from casemate.cgroups.manager import open_manager
from casemate.cgroups.names import parse_path
from casemate.cgroups.systemd import properties
from casemate.cgroups.systemd.units import Units
from casemate.errors import Conflict, Invalid, Unavailable, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from casemate.cgroups.hierarchy import Hierarchy
    from casemate.cgroups.manager import Cgroup, CgroupManager
    from casemate.cgroups.systemd.properties import Property

_FORM = "with --systemd-cgroup it has the form slice:prefix:name"
_PARTS = 3
_PAUSE_S, _LEAST_S = 0.005, 0.2


def find_manager(hierarchies: Sequence[Hierarchy], *, rootless: bool) -> SystemdManager:
    """The manager for root's systemd, or for the caller's own: also for root of a user namespace, as under rootless podman."""
    inside = open_manager(rootless=rootless, hierarchies=hierarchies)
    return SystemdManager(inside, user=rootless or bool(inside.why))


class SystemdManager:
    """Scopes of the system's systemd, or of the caller's own when it is an ordinary user."""

    __slots__ = ("_inside", "_user", "kind", "unenforced", "why")

    def __init__(self, inside: CgroupManager, *, user: bool) -> None:
        self.kind = inside.kind
        self.unenforced = inside.unenforced
        self.why = inside.why
        self._inside = inside
        self._user = user

    def check(self, path: str, resources: Mapping[str, Any]) -> list[str]:
        """See ``manager.CgroupManager``.

        Raises: besides, Unavailable without systemd, Unsupported for an ordinary user under v1.
        """
        parse(path, user=self._user)
        with Units.connect(user=self._user) as units:
            units.version()  # a bus without systemd on it says so now
        if self._user and self.kind != "v2":
            raise Unsupported(
                "make cgroup by systemd",
                path,
                "a user's systemd hands out groups of cgroup v2 only",
                hint="leave --systemd-cgroup out",
            )
        return self._inside.check(path, resources)

    def create(
        self, path: str, *, resources: Mapping[str, Any] | None = None, adopt: bool = False
    ) -> SystemdCgroup:
        """See ``manager.CgroupManager``. The group holds one process of ours until ``occupied``.

        Raises: besides, Unavailable without systemd.
        """
        slice_name, unit = parse(path, user=self._user)
        holder = Holder()
        try:
            with Units.connect(user=self._user) as units:
                first = scope_properties(unit, slice_name, version=self.kind)
                first += properties.creation_properties(resources or {}, units.version())
                units.start_scope(unit, first, holder.pid)
            inner = self._inside.create(path, resources=resources, adopt=True)
        except BaseException:
            holder.release()
            raise
        del adopt
        group = SystemdCgroup(inner, unit, version=self.kind, user=self._user)
        group.hold(holder)
        return group

    def open(self, path: str) -> SystemdCgroup:
        """See ``manager.CgroupManager``."""
        _, unit = parse(path, user=self._user)
        return SystemdCgroup(self._inside.open(path), unit, version=self.kind, user=self._user)


def scope_properties(unit: str, slice_name: str, *, version: str = "v2") -> list[Property]:
    """What every scope of ours is."""
    return [
        ("Description", ("s", f"casemate {unit.removesuffix('.scope')}")),
        ("Slice", ("s", slice_name)),
        ("Delegate", ("b", True)),
        ("DefaultDependencies", ("b", False)),
        (
            "CollectMode",
            ("s", "inactive-or-failed"),
        ),  # else an OOM-killed container would leave its name taken
        ("MemoryAccounting", ("b", True)),
        ("CPUAccounting", ("b", True)),
        ("BlockIOAccounting" if version == "v1" else "IOAccounting", ("b", True)),
        ("TasksAccounting", ("b", True)),
    ]


def enter_user_scope() -> None:
    """Move this process into a scope of its user's systemd, from where it may be the parent of processes in others.

    The kernel lets nobody put a process into a group whose nearest common ancestor with its own he may not write: a login
    session's group belongs to root.
    Raises: Unavailable, Denied, Invalid.
    """
    pid = os.getpid()
    unit = f"casemate-{pid}.scope"
    with Units.connect(user=True) as units:
        units.start_scope(unit, scope_properties(unit, "app.slice"), pid)


def parse(path: str, *, user: bool) -> tuple[str, str]:
    """(slice, name of the scope). Raises: Invalid."""
    words = path.split(":")
    if len(words) != _PARTS or "/" in path:
        raise Invalid("use cgroup path", repr(path), _FORM)
    default = "user.slice" if user else "system.slice"
    parts = parse_path(path, default_slice=default).parts
    if not parts[-1].endswith(".scope"):
        raise Invalid(
            "use cgroup path", repr(path), "a container runs in a scope; a slice holds no processes"
        )
    return words[0] or default, parts[-1]


class Holder:
    """A child that only waits, and ends with us at the latest: it holds the other end of a pipe."""

    __slots__ = ("_write_fd", "pid")

    def __init__(self) -> None:
        reader, self._write_fd = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._write_fd)
                os.read(reader, 1)
            finally:
                os._exit(0)
        os.close(reader)

    def release(self) -> None:
        """Let it end; twice is fine."""
        if self._write_fd >= 0:
            os.close(self._write_fd)
            self._write_fd = -1
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:  # a caller that reaps everything was quicker
                return


class SystemdCgroup:
    """See ``manager.Cgroup``: the group of files inside, with a unit around it."""

    __slots__ = ("_group", "_holder", "_user", "_version", "path", "unenforced", "unit")

    def __init__(self, group: Cgroup, unit: str, *, version: str, user: bool) -> None:
        self._group = group
        self._user = user
        self._version = version
        self._holder: Holder | None = None
        self.unit = unit
        self.path = group.path
        self.unenforced = group.unenforced

    def hold(self, holder: Holder) -> None:
        """Keep this process of ours inside until ``occupied``."""
        self._holder = holder

    def apply(self, resources: Mapping[str, Any], *, strict: bool = False) -> list[str]:
        """See ``manager.Cgroup``: told to systemd, which would take back what it does not know; then written."""
        rules = (
            None if self._user else fold_rules(resources)
        )  # a user's systemd can load no device program either
        make = properties.v1_properties if self._version == "v1" else properties.v2_properties
        with Units.connect(user=self._user) as units:
            units.set_properties(self.unit, make(resources, version=units.version(), rules=rules))
        return self._group.apply(resources, strict=strict)

    def join_fds(self, *, born: bool = False) -> list[int]:
        """See ``manager.Cgroup``."""
        return self._group.join_fds(born=born)

    def birth_fd(self) -> int | None:
        """See ``manager.Cgroup``."""
        return self._group.birth_fd()

    def occupied(self) -> None:
        """See ``manager.Cgroup``: the process that held the place ends."""
        if self._holder is not None:
            self._holder.release()
            self._holder = None

    def dirs(self) -> list[tuple[int, str]]:
        """See ``manager.Cgroup``."""
        return self._group.dirs()

    def collect(self) -> list[tuple[str, int]]:
        """See ``manager.Cgroup``."""
        return self._group.collect()

    def pids(self) -> list[int]:
        """See ``manager.Cgroup``: without the one of ours."""
        own = self._holder.pid if self._holder is not None else 0
        return [pid for pid in self._group.pids() if pid != own]

    def signal_all(self, signal: int) -> int:
        """See ``manager.Cgroup``."""
        return self._group.signal_all(signal)

    def kill(self, timeout_s: float = 10.0) -> None:
        """See ``manager.Cgroup``."""
        self.occupied()
        self._group.kill(timeout_s)

    def freeze(self, timeout_s: float = 10.0) -> None:
        """See ``manager.Cgroup``."""
        self._group.freeze(timeout_s)

    def thaw(self) -> None:
        """See ``manager.Cgroup``."""
        self._group.thaw()

    def is_frozen(self) -> bool:
        """See ``manager.Cgroup``."""
        return self._group.is_frozen()

    def stats(self) -> dict[str, Any]:
        """See ``manager.Cgroup``."""
        return self._group.stats()

    def remove(self, timeout_s: float = 5.0) -> None:
        """See ``manager.Cgroup``. systemd ends the unit; what is left in hierarchies that it does not manage goes after it."""
        self.occupied()
        deadline = time.monotonic() + timeout_s
        while self._group.pids():  # asked to stop, systemd would kill them without a word
            if time.monotonic() >= deadline:
                raise Conflict("remove cgroup", self.path, "processes still run in it")
            time.sleep(_PAUSE_S)
        try:
            with Units.connect(user=self._user) as units:
                units.stop(self.unit)
        except Unavailable:  # it has gone meanwhile; its directories can be removed all the same
            pass
        self._group.remove(max(deadline - time.monotonic(), _LEAST_S))
