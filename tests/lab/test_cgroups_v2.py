"""On a machine with cgroup v2 alone and a real systemd: every limit arrives, by files and by scopes, for root and a user."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from typing import TYPE_CHECKING, Any

import ocibundle
import pytest
from ocibundle import Runtime, made_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif("CASEMATE_LAB" not in os.environ, reason="./dev lab runs these in its guest"),
]

TOP = "/sys/fs/cgroup"
RESOURCES: dict[str, Any] = {
    "memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20},
    "cpu": {"shares": 512, "quota": 25_000, "period": 50_000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 33},
    "blockIO": {"throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 1 << 20}]},
    "unified": {"memory.high": str(60 << 20), "cgroup.max.depth": "5"},
    "devices": [{"allow": False, "access": "rwm"}],
}
FILES = {
    "memory.max": str(64 << 20),
    "memory.low": str(32 << 20),
    "memory.high": str(60 << 20),
    "cpu.weight": "59",
    "cpu.max": "25000 50000",
    "cpuset.cpus": "0",
    "cpuset.mems": "0",
    "pids.max": "33",
    "cgroup.max.depth": "5",
}


@pytest.fixture
def oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        runtime.spec["linux"]["resources"] = json.loads(json.dumps(RESOURCES))
        yield runtime


def disk() -> str:
    about = os.stat("/dev/vda").st_rdev
    return f"{os.major(about)}:{os.minor(about)}"


def group_of(pid: int) -> str:
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        return TOP + file.read().strip().partition("::")[2]


def read(directory: str, name: str) -> str:
    with open(f"{directory}/{name}", encoding="ascii") as file:
        return file.read().strip()


def show(unit: str) -> dict[str, str]:
    done = subprocess.run(["systemctl", "show", unit], capture_output=True, text=True, check=True)
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        found[name] = f"{found[name]}\n{value}" if name in found else value  # a list is one line an item
    return found


def started(oci: Runtime, *options: str) -> str:
    oci.args("sleep", "300")
    major, minor = disk().split(":")
    for item in oci.spec["linux"].get("resources", {}).get("blockIO", {}).get("throttleReadBpsDevice", []):
        item.update(major=int(major), minor=int(minor))
    made = oci(*options, "run", "--detach", "c")
    assert made.returncode == 0, made.stderr
    return group_of(oci.state()["pid"])


@pytest.mark.parametrize("options", [(), ("--systemd-cgroup",)])
def test_every_limit_is_in_its_file(oci: Runtime, options: tuple[str, ...]) -> None:
    directory = started(oci, *options)
    assert {name: read(directory, name) for name in FILES} == FILES
    assert read(directory, "io.max") == f"{disk()} rbps=1048576 wbps=max riops=max wiops=max"
    if os.path.exists(f"{directory}/memory.swap.max"):
        assert read(directory, "memory.swap.max") == str(32 << 20)
    stats = json.loads(oci("events", "--stats", "c").stdout)["data"]
    assert stats["memory"]["raw"]["anon"] > 0
    assert stats["pids"] == {"current": 1, "limit": 33}
    assert oci("update", "--cpu-quota", "10000", "--memory", str(48 << 20), "c").returncode == 0
    assert read(directory, "cpu.max") == "10000 50000"
    assert read(directory, "memory.max") == str(48 << 20)
    assert oci("delete", "--force", "c").returncode == 0
    assert not os.path.exists(directory)


def test_the_scope_is_systemds_and_its_limits_outlive_a_reload(oci: Runtime) -> None:
    oci.spec["linux"]["cgroupsPath"] = "casemate-lab.slice:test:1"
    directory = started(oci, "--systemd-cgroup")
    assert directory == f"{TOP}/casemate.slice/casemate-lab.slice/test-1.scope"
    unit = show("test-1.scope")
    assert (unit["ActiveState"], unit["Delegate"], unit["DevicePolicy"]) == ("active", "yes", "strict")
    assert unit["MemoryMax"] == str(64 << 20)
    assert unit["TasksMax"] == "33"
    assert unit["CPUQuotaPerSecUSec"] == "500ms"
    assert unit["AllowedCPUs"] == "0"
    assert "/dev/char/1:3 rwm" in unit["DeviceAllow"].split("\n")
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert {name: read(directory, name) for name in FILES} == FILES
    assert oci("exec", "c", "sh", "-c", "echo >/dev/null").returncode == 0
    assert oci("delete", "--force", "c").returncode == 0
    assert show("test-1.scope")["LoadState"] == "not-found"


def test_a_container_that_ran_out_of_memory_leaves_no_failed_unit(oci: Runtime) -> None:
    oci.spec["linux"]["cgroupsPath"] = ":test:2"
    oci.spec["linux"]["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    oci.args("sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1")
    assert oci("--systemd-cgroup", "run", "c").returncode != 0
    assert show("test-2.scope")["LoadState"] == "not-found"


def test_device_rules_hold_on_version_2(oci: Runtime) -> None:
    found = oci.run("sh", "-c", "echo >/dev/null && cat </dev/zero | head -c 1 | wc -c; cat /dev/vda")
    assert found.stdout.split() == ["1"], found.stderr


def test_a_limit_that_version_2_has_no_controller_for_is_refused_by_name(oci: Runtime) -> None:
    oci.spec["linux"]["resources"] = {"unified": {"nosuch.max": "1"}}
    found = oci.run("true")
    assert found.returncode == 1
    assert "unified.nosuch.max" in found.stderr
    assert not (oci.base / "state/c").exists()


@pytest.mark.parametrize("options", [(), ("--systemd-cgroup",)])
def test_an_ordinary_user_outside_his_own_systemd_still_gets_limits(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """As after a login by ssh or console: the session's group is root's."""
    uid = pwd.getpwnam("lab").pw_uid
    monkeypatch.setattr(ocibundle, "USER", uid)
    with made_runtime(rootless=True) as oci:
        oci.spec["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 33}}
        log = oci.base / "log"
        log.touch()
        os.chmod(log, 0o666)
        directory = started(oci, *options, "--log", str(log))
        assert directory.startswith(f"{TOP}/user.slice/user-{uid}.slice/user@{uid}.service/")
        assert (read(directory, "memory.max"), read(directory, "pids.max")) == (str(64 << 20), "33")
        assert "not enforced" not in log.read_text()
        assert oci("exec", "c", "true").returncode == 0
        assert oci("delete", "--force", "c").returncode == 0
        assert not os.path.exists(directory)
