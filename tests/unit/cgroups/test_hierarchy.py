"""Mount tables of all three shapes are understood, and figures are read from real files' text."""

from __future__ import annotations

from casemate.cgroups.hierarchy import Hierarchy, locate, parse_mountinfo, parse_own
from casemate.cgroups.manager import open_manager

PURE_V2 = "25 22 0:23 / /sys/fs/cgroup rw,nosuid,nodev shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 /docker/ab /sys/fs/cgroup/me\\040mory rw,relatime - cgroup cgroup rw,memory
34 31 0:30 / /mnt/again rw,relatime - cgroup cgroup rw,memory
35 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
36 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
37 31 0:39 / /odd rw - ext4 /dev/x rw,memory
garbage
"""


def test_a_pure_v2_machine() -> None:
    (only,) = parse_mountinfo(PURE_V2)
    assert (only.is_v2, only.mountpoint, only.root) == (True, "/sys/fs/cgroup", "/")


def test_a_hybrid_machine_with_a_container_bind_and_a_second_mount() -> None:
    found = parse_mountinfo(HYBRID)
    assert [h.mountpoint for h in found] == [
        "/sys/fs/cgroup/cpu,cpuacct",
        "/sys/fs/cgroup/me mory",
        "/sys/fs/cgroup/systemd",
        "/sys/fs/cgroup/unified",
    ]
    own = parse_own("5:memory:/docker/ab/inner\n4:cpu,cpuacct:/a:b\n1:name=systemd:/x\n0::/../other\n")
    locate(found, own)
    assert [h.own for h in found] == ["a:b", "inner", "x", None]


def test_a_group_beside_the_mounted_part_is_not_ours() -> None:
    (hierarchy,) = parse_mountinfo("33 31 0:30 /docker/ab /m rw - cgroup cgroup rw,memory\n")
    locate([hierarchy], {frozenset({"memory"}): "/docker/abc"})
    assert hierarchy.own is None


def test_nothing_mounted_means_none() -> None:
    manager = open_manager(hierarchies=[])
    assert manager.kind == "none"


def test_hierarchies_that_cannot_be_written_mean_none() -> None:
    v1 = Hierarchy(frozenset({"memory"}), "/nonexistent", "/", "")
    v2 = Hierarchy(frozenset({"unified"}), "/nonexistent", "/", "")
    assert open_manager(hierarchies=[v1]).kind == "none"
    assert open_manager(hierarchies=[v2], rootless=True).kind == "none"
