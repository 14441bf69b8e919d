"""One v1 group: its directories, limits, processes and end."""

from __future__ import annotations

import os
import time

from casemate.cgroups import freezing, members, tree
from casemate.cgroups.hierarchy import UNIFIED
from casemate.cgroups.settings import Setting, explain, find_text, refuse_absent, write_file, write_settings
from casemate.errors import TimedOut, Unsupported
from casemate.kernel.libc import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from casemate.cgroups.devices import DeviceRules
    from casemate.cgroups.hierarchy import Hierarchy
    from casemate.cgroups.names import CgroupPath

#: Made for every container; the others only when a limit asks for them (cpuset needs its parents
#: initialised).
BASE = frozenset({"memory", "pids", "devices", "cpuacct", "cpu", "freezer", "blkio", "name=systemd", UNIFIED})

_COLLECTED = (
    ("memory", "memory.oom_control"),
    ("memory", "memory.max_usage_in_bytes"),
    ("cpuacct", "cpuacct.usage"),
    ("pids", "pids.events"),
)


class V1Cgroup:
    """See ``manager.Cgroup``."""

    __slots__ = ("_bases", "_parsed", "path", "unenforced")

    def __init__(self, path: CgroupPath, bases: dict[Hierarchy, str], unenforced: list[str]) -> None:
        self._parsed = path
        self._bases = bases  # in the order of joining
        self.path = str(path)
        self.unenforced = unenforced

    @property
    def is_own(self) -> bool:
        """Whether its parent is the engine's own, which goes with its last child."""
        return self._parsed.is_own

    def make_base(self) -> None:
        """Make the directories that every container gets."""
        for hierarchy in self._bases:
            if BASE & hierarchy.controllers:
                self._make(hierarchy)

    def make_for(self, resources: Mapping[str, Any]) -> None:
        """Make the directories that these limits need beyond the base.

        Raises: Invalid.
        """
        from casemate.cgroups import settings_v1  # entering and removing a group needs none of it

        wanted, _ = settings_v1.settings(resources)
        self._make_missing({setting.controller for setting in wanted})

    def directories(self) -> list[str]:
        """The directories that exist, in the order of joining."""
        return [path for path in map(self._directory, self._bases) if tree.exists(path)]

    def apply(self, resources: Mapping[str, Any], *, strict: bool = False) -> list[str]:
        """See ``manager.Cgroup``."""
        from casemate.cgroups import settings_v1
        from casemate.cgroups.devices import fold_rules

        wanted, ignored = settings_v1.settings(resources)
        rules = fold_rules(resources)
        self._make_missing({setting.controller for setting in wanted})
        absent = write_settings(wanted, self._directory_of)
        if rules is not None and not self._apply_devices(rules):
            absent.append("devices")
        if strict:
            refuse_absent(absent)
        return list(dict.fromkeys([*absent, *ignored]))

    def _apply_devices(self, rules: DeviceRules) -> bool:
        from casemate.cgroups.devices import v1_lines

        directory = self._directory_of("devices")
        if directory is None:
            return False
        if _already_holds(directory, rules):  # else a running container would be without devices for a moment
            return True
        for file, text in v1_lines(rules):
            try:
                write_file(directory, file, text)
            except KernelError as error:
                raise explain(Setting("devices", "devices", (file, text)), error) from None
        return True

    def join_fds(self, *, born: bool = False) -> list[int]:
        """See ``manager.Cgroup``. A thread that moves itself by ``tasks`` needs no lock against forks (Linux 5.5)."""
        unified = self._directory_of(UNIFIED)
        files = [f"{directory}/tasks" for directory in self.directories() if directory != unified]
        if unified is not None and not born:
            files.insert(0, f"{unified}/cgroup.procs")
        return [fd for _, fd in tree.open_all(files, os.O_WRONLY, required=True)]

    def birth_fd(self) -> int | None:
        """See ``manager.Cgroup``: the directory in the v2 hierarchy of a hybrid machine."""
        unified = self._directory_of(UNIFIED)
        return None if unified is None else tree.open_directory(unified)

    def occupied(self) -> None:
        """See ``manager.Cgroup``: a directory needs nobody to hold it."""

    def dirs(self) -> list[tuple[int, str]]:
        """See ``manager.Cgroup``."""
        parents = [os.path.dirname(directory) for directory in self.directories()]
        opened = tree.open_all(parents, os.O_RDONLY | os.O_DIRECTORY, required=True)
        return [(fd, self._parsed.parts[-1]) for _, fd in opened]

    def collect(self) -> list[tuple[str, int]]:
        """See ``manager.Cgroup``."""
        known = [
            (d, file) for controller, file in _COLLECTED if (d := self._directory_of(controller)) is not None
        ]
        opened = tree.open_all(
            [f"{directory}/{file}" for directory, file in known], os.O_RDONLY, required=False
        )
        return [(os.path.basename(path), fd) for path, fd in opened]

    def pids(self) -> list[int]:
        """See ``manager.Cgroup``: whoever is in any of the directories, also who is just joining."""
        return members.pids_of(*self.directories())

    def signal_all(self, signal: int) -> int:
        """See ``manager.Cgroup``."""
        groups = {hierarchy.controllers: self._path_in(hierarchy) for hierarchy in self._bases}
        return members.signal_members(self.pids(), signal, lambda pid: members.is_member(pid, groups))

    def kill(self, timeout_s: float = 10.0) -> None:
        """See ``manager.Cgroup``: one write where v2 is at hand; else it is frozen, so that none forks."""
        members.kill_until_empty(self.path, timeout_s, self.pids, self._strike)

    def _strike(self, blow: int) -> None:
        """The first blow is the atomic one; what it did not reach is hunted one by one."""
        unified = self._directory_of(UNIFIED)
        if blow == 0 and unified is not None and os.path.exists(f"{unified}/cgroup.kill"):
            write_file(unified, "cgroup.kill", "1")
            self.thaw()  # a v1-frozen task dies only when it may run again
            return
        freezer = self._directory_of("freezer")
        try:
            if freezer is not None:
                freezing.freeze_v1(freezer, 0.5)
        except TimedOut:  # somebody hangs in the kernel; the others still die
            pass
        finally:
            self.signal_all(members.SIGKILL)
            self.thaw()

    def freeze(self, timeout_s: float = 10.0) -> None:
        """See ``manager.Cgroup``."""
        directory = self._directory_of("freezer")
        if directory is None:
            raise Unsupported("freeze cgroup", self.path, "the freezer hierarchy is not mounted")
        freezing.freeze_v1(directory, timeout_s)

    def thaw(self) -> None:
        """See ``manager.Cgroup``."""
        directory = self._directory_of("freezer")
        if directory is not None:
            freezing.thaw_v1(directory)

    def is_frozen(self) -> bool:
        """See ``manager.Cgroup``."""
        directory = self._directory_of("freezer")
        return directory is not None and freezing.is_frozen_v1(directory)

    def stats(self) -> dict[str, Any]:
        """See ``manager.Cgroup``."""
        from casemate.cgroups.stats.v1 import read_v1

        return read_v1(self._directory_of)

    def remove(self, timeout_s: float = 5.0) -> None:
        """See ``manager.Cgroup``."""
        deadline = time.monotonic() + timeout_s
        for hierarchy in self._bases:
            directory = self._directory(hierarchy)
            tree.remove(directory, deadline)
            if self.is_own:
                tree.prune(os.path.dirname(directory))

    def _directory(self, hierarchy: Hierarchy) -> str:
        return f"{self._bases[hierarchy]}/{'/'.join(self._parsed.parts)}"

    def _directory_of(self, controller: str) -> str | None:
        """The existing directory in the hierarchy that has this controller; v1's comes before the v2 side of a hybrid."""
        for hierarchy in self._bases:
            if controller in hierarchy.controllers:
                directory = self._directory(hierarchy)
                return directory if tree.exists(directory) else None
        for hierarchy in self._bases:
            directory = self._directory(hierarchy)
            if hierarchy.is_v2 and controller in (find_text(directory, "cgroup.controllers") or "").split():
                return directory
        return None

    def _path_in(self, hierarchy: Hierarchy) -> str:
        """The group's path as /proc/PID/cgroup shows it."""
        below = self._directory(hierarchy)[len(hierarchy.mountpoint) :]
        return hierarchy.root.rstrip("/") + below

    def _make(self, hierarchy: Hierarchy) -> None:
        paths = tree.make(self._bases[hierarchy], self._parsed.parts)
        if "cpuset" in hierarchy.controllers:
            for path in paths:
                _inherit_cpuset(path)

    def _make_missing(self, controllers: set[str]) -> None:
        """Make further directories; processes that are inside already are stopped, moved there and let go."""
        unknown = controllers.difference(*[h.controllers for h in self._bases])
        if unknown:
            self._hand_down(unknown)
        missing = [
            h for h in self._bases if controllers & h.controllers and not tree.exists(self._directory(h))
        ]
        if not missing:
            return
        inside = self.pids()
        for hierarchy in missing:
            self._make(hierarchy)
        if inside:
            self._move_into(missing)

    def _hand_down(self, controllers: set[str]) -> None:
        """Enable controllers of a hybrid machine's v2 side, as far as it has them."""
        from casemate.cgroups.delegation import hand_down

        for hierarchy, base in self._bases.items():
            if hierarchy.is_v2:
                for directory in [base, *tree.paths_of(base, self._parsed.parts)[:-1]]:
                    hand_down(directory, controllers)

    def _move_into(self, hierarchies: list[Hierarchy]) -> None:
        """While they are frozen no process can end, so that no pid comes to mean a stranger.

        Raises: TimedOut, Unsupported, when they cannot be frozen.
        """
        was_frozen = self.is_frozen()
        self.freeze()
        try:
            for pid in members.pids_of(self._directory_of("freezer") or ""):
                for hierarchy in hierarchies:
                    write_file(self._directory(hierarchy), "cgroup.procs", str(pid))
        finally:
            if not was_frozen:
                self.thaw()


def _already_holds(directory: str, rules: DeviceRules) -> bool:
    """Whether the group's list says just this. Exceptions from "all allowed" are not listed by the kernel."""
    from casemate.cgroups.devices import v1_lines

    held = (find_text(directory, "devices.list") or "").splitlines()
    if rules.allow_by_default:
        return not rules.exceptions and held == ["a *:* rwm"]
    return sorted(held) == sorted(text for file, text in v1_lines(rules) if file == "devices.allow")


def _inherit_cpuset(path: str) -> None:
    """A new v1 cpuset is empty and takes no process: it gets what its parent has."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not find_text(path, file):
            write_file(path, file, find_text(os.path.dirname(path), file) or "")
