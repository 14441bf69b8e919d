"""The lab's guest is the machine that it promises: one hierarchy of control groups, systemd, AppArmor."""

from __future__ import annotations

import os

import pytest

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif("CASEMATE_LAB" not in os.environ, reason="./dev lab runs these in its guest"),
]


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def test_there_is_one_hierarchy_and_it_is_version_2() -> None:
    kinds = [line.split(" - ")[1].split()[0] for line in read("/proc/self/mountinfo").splitlines()]

    assert kinds.count("cgroup2") == 1
    assert "cgroup" not in kinds
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= set(read("/sys/fs/cgroup/cgroup.controllers").split())


def test_systemd_is_the_first_process() -> None:
    assert read("/proc/1/comm") == "systemd"


def test_apparmor_is_on() -> None:
    assert read("/sys/module/apparmor/parameters/enabled") == "Y"


@pytest.mark.rootless
def test_the_ordinary_user_has_controllers_delegated() -> None:
    own = "/sys/fs/cgroup" + read("/proc/self/cgroup").partition("::")[2]

    assert os.stat(own).st_uid == os.getuid()
    assert {"cpu", "memory", "pids"} <= set(read(f"{own}/cgroup.controllers").split())
