"""Control groups v1: one directory in each hierarchy that is needed, on pure v1 and on hybrid machines.

What a start pays, measured on two cores and Linux 6.18: a directory costs 10-30 us to make and 6-20 us to
remove, in any hierarchy. Joining through cgroup.procs costs one RCU grace period, 5-35 ms, for the first
hierarchy: the kernel locks out concurrent forks of all processes. A thread that moves itself through ``tasks``
is locked against nothing: 0.17 ms for seven hierarchies. So whoever is to be inside goes there by himself
(``join_fds``), before he has a second thread, and is born inside the v2 hierarchy (``birth_fd``).

On hybrid machines the container also gets a directory in the (controller-less) v2 hierarchy: it gives an
atomic kill.
"""

from __future__ import annotations

import os

from casemate.cgroups import settings_v1, tree
from casemate.cgroups.names import parse_path
from casemate.cgroups.settings import find_text
from casemate.cgroups.v1_group import V1Cgroup
from casemate.errors import AlreadyExists, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from casemate.cgroups.hierarchy import Hierarchy
    from casemate.cgroups.names import CgroupPath

LIMITING = frozenset({"cpu", "devices", "memory", "pids"})


class V1Manager:
    """Groups below the top of each hierarchy, or below the caller's own groups when it is unprivileged."""

    __slots__ = ("_hierarchies", "_rootless", "kind", "unenforced", "why")

    def __init__(self, hierarchies: list[Hierarchy], *, rootless: bool) -> None:
        self.kind = "v1"
        self._hierarchies = hierarchies
        self._rootless = rootless
        here = {controller for hierarchy in hierarchies for controller in hierarchy.controllers}
        self.unenforced = sorted(LIMITING - here)
        self.why = "this user may not write their groups" if rootless else ""

    @classmethod
    def find(cls, hierarchies: list[Hierarchy], *, rootless: bool) -> V1Manager | None:
        """The manager of those hierarchies in which the caller may make groups; None when there are none."""
        usable = [h for h in hierarchies if _is_writable(h, rootless=rootless)]
        if not any(LIMITING & h.controllers for h in usable):
            return None
        # Joined first, v2 holds whatever any other hierarchy holds: its kill reaches also who is still
        # joining.
        usable.sort(key=lambda h: not h.is_v2)
        return cls(usable, rootless=rootless)

    def check(self, path: str, resources: Mapping[str, Any]) -> list[str]:
        """See ``manager.CgroupManager``."""
        parse_path(path)
        here = {controller for h in self._hierarchies for controller in h.controllers}
        wanted, _ = settings_v1.settings(resources)
        absent = [s for s in wanted if s.controller not in here and not s.optional]
        on_unified = self._on_unified() if absent else ()
        return [s.name for s in absent if s.controller not in on_unified]

    def _on_unified(self) -> list[str]:
        """The controllers that a hybrid machine has on its v2 side."""
        unified = next((h for h in self._hierarchies if h.is_v2), None)
        if unified is None:
            return []
        base = f"{unified.mountpoint}/{unified.own}" if self._rootless else unified.mountpoint
        return (find_text(base, "cgroup.controllers") or "").split()

    def create(
        self, path: str, *, resources: Mapping[str, Any] | None = None, adopt: bool = False
    ) -> V1Cgroup:
        """See ``manager.CgroupManager``."""
        group = self._group(parse_path(path, default_slice=self._default_slice()))
        before = group.directories()
        try:
            group.make_base()
            if resources:
                group.make_for(resources)
            if before and not adopt and group.pids():
                raise AlreadyExists("make cgroup", path, "processes run in it")  # noqa: TRY301 - undone below
        except BaseException:
            for directory in group.directories():
                if directory not in before:
                    tree.prune(directory)
                    if group.is_own:
                        tree.prune(os.path.dirname(directory))
            raise
        return group

    def open(self, path: str) -> V1Cgroup:
        """See ``manager.CgroupManager``."""
        group = self._group(parse_path(path, default_slice=self._default_slice()))
        if not group.directories():
            raise NotFound("open cgroup", path, "no hierarchy has it")
        return group

    def _default_slice(self) -> str:
        return "user.slice" if self._rootless else "system.slice"

    def _group(self, path: CgroupPath) -> V1Cgroup:
        if not self._rootless:
            return V1Cgroup(path, {h: h.mountpoint for h in self._hierarchies}, list(self.unenforced))
        bases = {h: f"{h.mountpoint}/{h.own}".rstrip("/") for h in self._hierarchies}
        return V1Cgroup(path, bases, list(self.unenforced))


def _is_writable(hierarchy: Hierarchy, *, rootless: bool) -> bool:
    if rootless and hierarchy.own is None:
        return False
    base = f"{hierarchy.mountpoint}/{hierarchy.own}" if rootless else hierarchy.mountpoint
    return os.access(base, os.W_OK | os.X_OK, effective_ids=True)
