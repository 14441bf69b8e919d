"""The same ``linux.resources`` sets the same files under runc and under casemate."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from casemate.cgroups.hierarchy import parse_own, read_hierarchies
from casemate.cgroups.manager import open_manager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSYBOX = shutil.which("busybox") or "/bin/busybox"

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not shutil.which("runc"), reason="needs runc"),
    pytest.mark.skipif(
        not any("memory" in h.controllers for h in read_hierarchies()), reason="needs cgroup v1"
    ),
]

FILES = {
    "memory": (
        "limit_in_bytes",
        "memsw.limit_in_bytes",
        "soft_limit_in_bytes",
        "swappiness",
        "kmem.tcp.limit_in_bytes",
        "oom_control",
    ),
    "cpu": ("shares", "cfs_quota_us", "cfs_period_us", "rt_runtime_us", "cfs_burst_us", "idle"),
    "cpuset": ("cpus", "mems"),
    "pids": ("max",),
    "blkio": ("throttle.read_bps_device", "throttle.write_iops_device"),
}


def _disk() -> dict[str, int]:
    """The first whole block device: limits may be set on no other."""
    with open("/proc/partitions", encoding="ascii") as file:
        words = file.read().split("\n")[2].split()
    return {"major": int(words[0]), "minor": int(words[1])}


DISK = _disk()
RESOURCES: list[dict[str, Any]] = [
    {},
    {"memory": {"limit": 64 << 20}},
    {"memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20, "swappiness": 0}},
    {"memory": {"limit": -1}},
    {"memory": {"limit": 100_000_001, "kernel": 5 << 20}},
    {"cpu": {"shares": 2}},
    {"cpu": {"shares": 0}},
    {"cpu": {"quota": 25_000, "period": 50_000, "shares": 2048}},
    {"cpu": {"quota": -1}},
    {"cpu": {"period": 20_000}},
    {"cpu": {"cpus": "0", "mems": "0"}},
    {"pids": {"limit": 33}},
    {"pids": {"limit": -1}},
    {"memory": {"limit": 64 << 20, "disableOOMKiller": True}},
    {
        "blockIO": {
            "throttleReadBpsDevice": [{**DISK, "rate": 1 << 20}],
            "throttleWriteIOPSDevice": [{**DISK, "rate": 77}],
        }
    },
    {"cpu": {"quota": 25_000, "period": 50_000, "burst": 5_000}},
    {"cpu": {"idle": 1}},
]
BY_LATER_RUNC = {"cpu.cfs_burst_us", "cpu.idle"}  # since 1.2 and 1.1.7; older ones leave them alone


def figures(pid: int) -> dict[str, str]:
    """The limits of the groups that a process is in; what a cpuset inherits counts as set."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        own = parse_own(file.read())
    found = {}
    for hierarchy in read_hierarchies():
        for controller in sorted(hierarchy.controllers & set(FILES)):
            directory = f"{hierarchy.mountpoint}{own[hierarchy.controllers]}"
            for name in FILES[controller]:
                path = f"{directory}/{controller}.{name}"
                if os.path.exists(path):
                    with open(path, encoding="ascii") as file:
                        found[f"{controller}.{name}"] = file.read().strip()
    return found


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that sleeps in busybox."""
    (tmp_path / "rootfs" / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, tmp_path / "rootfs" / "bin" / "busybox")
    subprocess.run(["runc", "spec"], cwd=tmp_path, check=True)
    return tmp_path


def runc_figures(bundle: Path, resources: dict[str, Any], name: str) -> dict[str, str]:
    with open(bundle / "config.json", encoding="utf-8") as file:
        spec = json.load(file)
    spec["process"].update(terminal=False, args=["/bin/busybox", "sleep", "60"], rlimits=[])
    spec["linux"].update(resources=resources, cgroupsPath=f"/casemate-peers/{name}")
    with open(bundle / "config.json", "w", encoding="utf-8") as file:
        json.dump(spec, file)
    runc = ["runc", "--root", str(bundle / "state")]
    # A file, not a pipe: the container keeps its standard error, and a pipe would never end.
    with open(bundle / "log", "w+", encoding="utf-8") as log:
        null = subprocess.DEVNULL
        done = subprocess.run(
            [*runc, "create", name], cwd=bundle, stdin=null, stdout=log, stderr=log, check=False
        )
        log.seek(0)
        assert done.returncode == 0, log.read()
    try:
        state = subprocess.run([*runc, "state", name], capture_output=True, text=True, check=True)
        return figures(json.loads(state.stdout)["pid"])
    finally:
        subprocess.run([*runc, "delete", "--force", name], check=True)


def our_figures(resources: dict[str, Any], name: str) -> dict[str, str]:
    group = open_manager().create(f"casemate-peers/{name}", resources=resources)
    try:
        assert set(group.apply(resources)) <= {"memory.kernel"}
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(writer)
            for fd in group.join_fds():
                os.write(fd, b"0")
            os.read(reader, 1)
            os._exit(0)
        os.close(reader)
        while pid not in group.pids() or not joined_all(pid, name):
            continue
        found = figures(pid)
        os.close(writer)
        os.waitpid(pid, 0)
        return found
    finally:
        group.remove()


def joined_all(pid: int, name: str) -> bool:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        own = parse_own(file.read())
    return own[frozenset({"pids"})].endswith(name) and own[frozenset({"cpu"})].endswith(name)


@pytest.fixture(autouse=True)
def _no_parent_left() -> Iterator[None]:
    yield
    for hierarchy in read_hierarchies():
        if os.path.isdir(f"{hierarchy.mountpoint}/casemate-peers"):
            os.rmdir(f"{hierarchy.mountpoint}/casemate-peers")


@pytest.mark.parametrize("index", range(len(RESOURCES)))
def test_limits_are_those_that_runc_sets(bundle: Path, index: int) -> None:
    resources = RESOURCES[index]
    ours = our_figures(resources, f"ours-{index}")
    theirs = runc_figures(bundle, resources, f"theirs-{index}")
    if not resources.get("cpu", {}).get("cpus"):
        ours = {key: value for key, value in ours.items() if not key.startswith("cpuset.")}
        theirs = {key: value for key, value in theirs.items() if not key.startswith("cpuset.")}
    for name in BY_LATER_RUNC & set(ours):
        if theirs[name] == "0":
            wanted = str(resources.get("cpu", {}).get("burst" if "burst" in name else "idle", 0))
            assert ours.pop(name) == wanted
            theirs.pop(name)
    if resources.get("cpu", {}).get("idle"):
        ours.pop("cpu.shares")  # an idle group's weight is fixed by the kernel
        theirs.pop("cpu.shares")
    assert ours == theirs
