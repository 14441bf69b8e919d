"""Control groups v2: one tree, controllers handed down level by level, device rules as a BPF program.

A privileged caller starts at the top of the mounted tree. An unprivileged one starts at the highest group
that it was delegated on the way to its own: with systemd that is the user's manager, or a scope made with
``Delegate=yes``.
Source: kernel Documentation/admin-guide/cgroup-v2.rst, "Delegation", "No Internal Process Constraint".
"""

from __future__ import annotations

import errno
import os
import time

from casemate.cgroups import freezing, members, settings_v2, tree
from casemate.cgroups.delegation import delegated_base, hand_down, stands_below, user_base
from casemate.cgroups.devices import fold_rules
from casemate.cgroups.hierarchy import UNIFIED
from casemate.cgroups.names import parse_path
from casemate.cgroups.settings import find_number, find_text, refuse_absent, write_file, write_settings
from casemate.errors import AlreadyExists, Denied, Invalid, NotFound, TimedOut
from casemate.kernel.libc import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from casemate.cgroups.devices import DeviceRules
    from casemate.cgroups.hierarchy import Hierarchy
    from casemate.cgroups.names import CgroupPath

#: Handed down to every container as far as the machine has them; cpuset, hugetlb, rdma and others when asked
#: for.
BASE = ("cpu", "io", "memory", "pids")
LIMITING = ("cpu", "memory", "pids")

_COLLECTED = ("memory.events", "memory.peak", "cpu.stat", "pids.events")


class V2Manager:
    """Groups below ``base``, a directory of the unified tree that the caller may write."""

    __slots__ = ("_base", "_hierarchy", "_rootless", "kind", "offered", "unenforced", "why")

    def __init__(self, hierarchy: Hierarchy, base: str, *, rootless: bool) -> None:
        self.kind = "v2"
        self._hierarchy = hierarchy
        self._base = base
        self._rootless = rootless
        self.offered = frozenset((find_text(base, "cgroup.controllers") or "").split())
        self.unenforced = [name for name in LIMITING if name not in self.offered]
        self.why = "their controllers are not delegated to this user" if rootless else ""
        if rootless:
            self.unenforced.append("devices")  # needs CAP_BPF in the first user namespace

    @classmethod
    def find(cls, hierarchy: Hierarchy, *, rootless: bool) -> V2Manager | None:
        """The manager of this tree; None when the caller was delegated nothing in it.

        Root of a user namespace, as under a rootless podman, may not write the top either and is treated alike.
        """
        top = hierarchy.mountpoint
        if not rootless and os.access(top, os.W_OK | os.X_OK, effective_ids=True):
            return cls(hierarchy, top, rootless=False)
        base = delegated_base(hierarchy) or user_base(hierarchy)
        return None if base is None else cls(hierarchy, base, rootless=True)

    def check(self, path: str, resources: Mapping[str, Any]) -> list[str]:
        """See ``manager.CgroupManager``."""
        parse_path(path)
        wanted, _ = settings_v2.settings(resources)
        known = {*self.offered, "cgroup"}
        return [s.name for s in wanted if s.controller not in known and not s.optional]

    def create(
        self, path: str, *, resources: Mapping[str, Any] | None = None, adopt: bool = False
    ) -> V2Cgroup:
        """See ``manager.CgroupManager``."""
        group = self._group(path)
        wanted = settings_v2.settings(resources)[0] if resources else []
        was_there = tree.exists(group.directory)
        try:
            group.make([*BASE, *settings_v2.controllers(wanted)])
            if not adopt and group.pids():
                raise AlreadyExists("make cgroup", path, "processes run in it")  # noqa: TRY301 - undone below
        except BaseException:
            if not was_there:
                tree.prune(group.directory)
            raise
        return group

    def open(self, path: str) -> V2Cgroup:
        """See ``manager.CgroupManager``."""
        group = self._group(path)
        if not tree.exists(group.directory):
            raise NotFound("open cgroup", path, "it does not exist")
        return group

    def _group(self, path: str) -> V2Cgroup:
        parsed = parse_path(path, default_slice="user.slice" if self._rootless else "system.slice")
        return V2Cgroup(parsed, self._hierarchy, self._base, list(self.unenforced))


class V2Cgroup:
    """See ``manager.Cgroup``."""

    __slots__ = ("_base", "_hierarchy", "_parsed", "directory", "path", "unenforced")

    def __init__(self, path: CgroupPath, hierarchy: Hierarchy, base: str, unenforced: list[str]) -> None:
        self._parsed = path
        self._hierarchy = hierarchy
        self._base = base
        self.path = str(path)
        self.directory = f"{base}/{'/'.join(path.parts)}"
        self.unenforced = unenforced

    def make(self, controllers: list[str]) -> None:
        """Make the directory and hand these controllers down to it, as far as they exist."""
        paths = tree.make(self._base, self._parsed.parts)
        for directory in [self._base, *paths[:-1]]:
            hand_down(directory, controllers)
        here = (find_text(self.directory, "cgroup.controllers") or "").split()
        self.unenforced = [n for n in LIMITING if n not in here] + [
            n for n in self.unenforced if n == "devices"
        ]

    def apply(self, resources: Mapping[str, Any], *, strict: bool = False) -> list[str]:
        """See ``manager.Cgroup``."""
        resources = self._completed(resources)
        wanted, ignored = settings_v2.settings(resources)
        rules = fold_rules(resources)
        for directory in [self._base, *tree.paths_of(self._base, self._parsed.parts)[:-1]]:
            hand_down(directory, settings_v2.controllers(wanted))
        self._check_before_update(resources)
        absent = write_settings(wanted, lambda _: self.directory)
        if rules is not None and not self._apply_devices(rules):
            absent.append("devices")
        if strict:
            refuse_absent(absent)
        return list(dict.fromkeys([*absent, *ignored]))

    def _completed(self, resources: Mapping[str, Any]) -> Mapping[str, Any]:
        """With the other half of a pair that v2 keeps in one value, as it is set now: an update may name one only."""
        found = dict(resources)
        memory, cpu = resources.get("memory"), resources.get("cpu")
        if isinstance(memory, dict) and memory.get("swap") and not memory.get("limit"):
            found["memory"] = {**memory, "limit": find_number(self.directory, "memory.max") or -1}
        if isinstance(cpu, dict) and bool(cpu.get("quota")) != bool(cpu.get("period")):
            quota, _, period = (find_text(self.directory, "cpu.max") or "").partition(" ")
            now = {
                "quota": int(quota) if quota.isdigit() else -1,
                "period": int(period) if period.isdigit() else 0,
            }
            found["cpu"] = {**cpu, **{key: value for key, value in now.items() if not cpu.get(key)}}
        return found

    def _check_before_update(self, resources: Mapping[str, Any]) -> None:
        """Refuse a limit below the usage if the caller asked for that; v2 itself would answer by killing."""
        memory = resources.get("memory") or {}
        limit = memory.get("limit") or 0
        usage = find_number(self.directory, "memory.current") or 0
        if memory.get("checkBeforeUpdate") and 0 < limit < usage:
            raise Invalid(
                "limit the container", "memory.limit", f"{limit} is less than the {usage} bytes in use"
            )

    def _apply_devices(self, rules: DeviceRules) -> bool:
        """False when this caller may not load programs."""
        from casemate.cgroups import device_program  # brings foreign functions, which only a start needs

        try:
            device_program.attach(self.directory, rules)
        except KernelError as error:
            if error.errno in (errno.EPERM, errno.ENOSYS):
                return False
            raise Denied("restrict the devices of cgroup", self.path, error) from None
        return True

    def join_fds(self, *, born: bool = False) -> list[int]:
        """See ``manager.Cgroup``."""
        if born:
            return []
        self._come_near()
        return [fd for _, fd in tree.open_all([f"{self.directory}/cgroup.procs"], os.O_WRONLY, required=True)]

    def birth_fd(self) -> int | None:
        """See ``manager.Cgroup``."""
        self._come_near()
        return tree.open_directory(self.directory)

    def _come_near(self) -> None:
        """Stand where we may start a process in this group: an ordinary user's login session is outside."""
        hierarchy = self._hierarchy
        if self._base == hierarchy.mountpoint or stands_below(hierarchy, self._base):
            return
        from casemate.cgroups.hierarchy import read_hierarchies
        from casemate.cgroups.systemd.scopes import enter_user_scope

        enter_user_scope()
        hierarchy.own = next((h.own for h in read_hierarchies() if h.is_v2), hierarchy.own)

    def occupied(self) -> None:
        """See ``manager.Cgroup``: a directory needs nobody to hold it."""

    def dirs(self) -> list[tuple[int, str]]:
        """See ``manager.Cgroup``."""
        return [(tree.open_directory(os.path.dirname(self.directory)), self._parsed.parts[-1])]

    def collect(self) -> list[tuple[str, int]]:
        """See ``manager.Cgroup``."""
        files = [f"{self.directory}/{name}" for name in _COLLECTED]
        return [(os.path.basename(p), fd) for p, fd in tree.open_all(files, os.O_RDONLY, required=False)]

    def pids(self) -> list[int]:
        """See ``manager.Cgroup``."""
        return members.pids_of(self.directory)

    def signal_all(self, signal: int) -> int:
        """See ``manager.Cgroup``."""
        group = self._hierarchy.root.rstrip("/") + self.directory[len(self._hierarchy.mountpoint) :]
        groups = {frozenset({UNIFIED}): group}
        return members.signal_members(self.pids(), signal, lambda pid: members.is_member(pid, groups))

    def kill(self, timeout_s: float = 10.0) -> None:
        """See ``manager.Cgroup``. One write where the kernel has cgroup.kill (5.14)."""
        members.kill_until_empty(self.path, timeout_s, self.pids, self._strike)

    def _strike(self, _blow: int) -> None:
        try:
            write_file(self.directory, "cgroup.kill", "1")
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            try:
                self.freeze(0.5)
            except TimedOut:
                pass
            finally:
                self.signal_all(members.SIGKILL)  # v2 lets frozen tasks die
                self.thaw()

    def freeze(self, timeout_s: float = 10.0) -> None:
        """See ``manager.Cgroup``."""
        freezing.freeze_v2(self.directory, timeout_s)

    def thaw(self) -> None:
        """See ``manager.Cgroup``."""
        freezing.thaw_v2(self.directory)

    def is_frozen(self) -> bool:
        """See ``manager.Cgroup``."""
        return freezing.is_frozen_v2(self.directory)

    def stats(self) -> dict[str, Any]:
        """See ``manager.Cgroup``."""
        from casemate.cgroups.stats.v2 import read_v2

        return read_v2(self.directory)

    def remove(self, timeout_s: float = 5.0) -> None:
        """See ``manager.Cgroup``."""
        tree.remove(self.directory, time.monotonic() + timeout_s)
        if self._parsed.is_own:
            tree.prune(os.path.dirname(self.directory))
