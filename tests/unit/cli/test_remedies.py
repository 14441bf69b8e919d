"""``casemate doctor`` tells an ordinary user how this machine could give limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casemate.cgroups import hierarchy
from casemate.cgroups.hierarchy import Hierarchy
from casemate.cli.doctor.limits import remedy

if TYPE_CHECKING:
    import pytest

V1 = Hierarchy(frozenset({"memory"}), "/sys/fs/cgroup/memory", "/", "")
V2 = Hierarchy(frozenset({"unified"}), "/sys/fs/cgroup", "/", "")


def test_the_remedy_fits_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchy, "read_hierarchies", lambda: [V1, V2])
    assert "unified_cgroup_hierarchy=1" in remedy(systemd=True)
    monkeypatch.setattr(hierarchy, "read_hierarchies", lambda: [V2])
    assert "Delegate=" in remedy(systemd=True)
    assert "chown USER" in remedy(systemd=False)
