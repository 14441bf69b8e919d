"""Namespaces of casemate-oci: all eight, new or joined by path; id maps; clocks; containers that share some of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ocibundle import Runtime, made_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox-static"),
]
FILES = {
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "cgroup": "cgroup",
    "time": "time",
    "user": "user",
}
SHOW = "for n in pid net ipc uts cgroup time user mnt; do readlink /proc/self/ns/$n; done"


@pytest.fixture(params=["root", "rootless"])
def oci(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with made_runtime(rootless=request.param == "rootless") as runtime:
        yield runtime


@pytest.fixture
def root_oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        yield runtime


@pytest.fixture
def other() -> Iterator[Any]:
    """A function that starts a process in new namespaces, with ids mapped as asked, and returns its pid."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> int:
        command = ["unshare", *options, "sh", "-c", "echo $$; exec sleep 100"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.communicate()


def own(spec: dict[str, Any], kind: str, path: str = "") -> None:
    """Give the container a namespace of this kind: new, or the one at ``path``."""
    kinds = [item for item in spec["linux"]["namespaces"] if item["type"] != kind]
    spec["linux"]["namespaces"] = [*kinds, {"type": kind, **({"path": path} if path else {})}]


def without(spec: dict[str, Any], kind: str) -> None:
    spec["linux"]["namespaces"] = [item for item in spec["linux"]["namespaces"] if item["type"] != kind]


def seen(oci: Runtime, name: str = "c") -> dict[str, str]:
    oci.args("sh", "-c", SHOW)
    found = oci("run", name)
    assert found.returncode == 0, found.stderr
    names = ("pid", "network", "ipc", "uts", "cgroup", "time", "user", "mount")
    return dict(zip(names, found.stdout.split(), strict=True))


def ours(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{FILES[kind]}")


def owned_by(oci: Runtime, base: int) -> None:
    for path in [oci.rootfs, *oci.rootfs.rglob("*")]:
        os.lchown(path, base, base)


def map_ids(oci: Runtime, *ranges: tuple[int, int, int]) -> None:
    own(oci.spec, "user")
    for name in ("uidMappings", "gidMappings"):
        oci.spec["linux"][name] = [{"containerID": a, "hostID": b, "size": c} for a, b, c in ranges]


def test_each_kind_can_be_new(oci: Runtime) -> None:
    for kind in FILES:
        if kind != "user":
            own(oci.spec, kind)
    if not oci.rootless:
        map_ids(oci, (0, 1 << 20, 65536))
        owned_by(oci, 1 << 20)
    found = seen(oci)
    assert all(found[kind] != ours(kind) for kind in FILES)


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "cgroup", "time", "pid"])
def test_a_kind_that_is_not_listed_is_the_runtimes_own(oci: Runtime, kind: str) -> None:
    without(oci.spec, kind)
    if kind == "uts":
        oci.spec.pop("hostname")
    # In a user namespace the kernel shows sysfs, mqueue and procfs only of namespaces that it owns.
    if kind in ("network", "pid", "ipc"):
        oci.spec["mounts"] = [item for item in oci.spec["mounts"] if item["type"] not in ("sysfs", "mqueue")]
        if oci.rootless and kind == "pid":
            proc = {"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}
            oci.spec["mounts"] = [proc if item["type"] == "proc" else item for item in oci.spec["mounts"]]
            oci.spec["linux"]["maskedPaths"] = oci.spec["linux"]["readonlyPaths"] = []
    assert seen(oci)[kind] == ours(kind)


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "time"])
def test_each_kind_can_be_joined_by_path(root_oci: Runtime, other: Any, kind: str) -> None:
    options = {"network": "net", "time": "time", "pid": "pid"}.get(kind, kind)
    pid = other(f"--{options}", *(["--fork", "--kill-child"] if kind in ("pid", "time") else []))
    if kind in ("pid", "time"):
        pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    path = f"/proc/{pid}/ns/{FILES[kind]}"
    own(root_oci.spec, kind, path)
    if kind == "uts":
        root_oci.spec.pop("hostname")
    assert seen(root_oci)[kind] == os.readlink(path) != ours(kind)


@pytest.mark.parametrize("kind", sorted(FILES))
def test_a_path_that_is_no_namespace_of_that_kind_is_refused_by_name(oci: Runtime, kind: str) -> None:
    wrong = "uts" if kind != "uts" else "ipc"
    fifo = oci.base / "fifo"
    os.mkfifo(fifo)
    for path, why in (
        (f"/proc/self/ns/{wrong}", f"it is a {wrong} namespace"),
        ("/etc/passwd", "it is not a namespace"),
        (str(fifo), "it is not a namespace"),
        ("/no/such", "No such file or directory"),
    ):
        own(oci.spec, kind, path)
        found = oci("create", "c")
        assert (found.returncode, f"join {kind} namespace {path}: {why}" in found.stderr) == (1, True), (
            found.stderr
        )
        assert not (oci.base / "state/c").exists()


def test_a_container_shares_the_namespaces_of_another(root_oci: Runtime) -> None:
    root_oci.args("sleep", "100")
    assert root_oci("run", "-d", "c").returncode == 0
    first = root_oci.state()["pid"]
    for kind in ("pid", "network", "ipc", "uts"):
        own(root_oci.spec, kind, f"/proc/{first}/ns/{FILES[kind]}")
    root_oci.spec.pop("hostname")
    root_oci.args("sh", "-c", f"{SHOW}; hostname; ls /proc | grep -c '^1$'; kill -0 1 && echo reached")
    found = root_oci("run", "d")
    expected = [os.readlink(f"/proc/{first}/ns/{FILES[kind]}") for kind in ("pid", "network", "ipc", "uts")]
    assert found.stdout.split()[:4] == expected, found.stderr
    assert found.stdout.split()[8:] == ["casemate", "1", "reached"]


@pytest.mark.parametrize("also", [(), ("network", "ipc", "uts"), ("pid", "network", "ipc", "uts")])
def test_a_user_namespace_is_joined_with_its_ids(root_oci: Runtime, also: tuple[str, ...]) -> None:
    map_ids(root_oci, (0, 1 << 20, 1000), (1000, 1 << 21, 5))
    owned_by(root_oci, 1 << 20)
    root_oci.args("sleep", "100")
    assert root_oci("run", "-d", "c").returncode == 0
    first = root_oci.state()["pid"]
    del root_oci.spec["linux"]["uidMappings"], root_oci.spec["linux"]["gidMappings"]
    for kind in ("user", *also):
        own(root_oci.spec, kind, f"/proc/{first}/ns/{FILES[kind]}")
    if "uts" in also:
        root_oci.spec.pop("hostname")
    root_oci.spec["process"]["user"] = {"uid": 1002, "gid": 1003}
    root_oci.args("sh", "-c", "readlink /proc/self/ns/user; id -u; cat /proc/self/uid_map")
    found = root_oci("run", "d")
    expected = [
        os.readlink(f"/proc/{first}/ns/user"),
        "1002",
        "0",
        str(1 << 20),
        "1000",
        "1000",
        str(1 << 21),
        "5",
    ]
    assert found.stdout.split() == expected, found.stderr
    root_oci.spec["process"]["user"] = {"uid": 2000, "gid": 0}
    assert "the user namespace does not map it" in root_oci("run", "d").stderr
    map_ids(root_oci, (0, 1 << 22, 1000))
    own(root_oci.spec, "user", f"/proc/{first}/ns/user")
    assert "has other mappings" in root_oci("run", "d").stderr


def test_an_ordinary_user_joins_the_namespaces_of_an_own_container() -> None:
    with made_runtime(rootless=True) as oci:
        oci.args("sleep", "100")
        oci.spec["process"]["noNewPrivileges"] = True
        assert oci("run", "-d", "c").returncode == 0
        first = oci.state()["pid"]
        for kind in ("user", "network", "ipc", "uts"):
            own(oci.spec, kind, f"/proc/{first}/ns/{FILES[kind]}")
        oci.spec.pop("hostname")
        oci.args("sh", "-c", f"{SHOW}; id -u")
        found = oci("run", "d")
        expected = [os.readlink(f"/proc/{first}/ns/{FILES[kind]}") for kind in ("network", "ipc", "uts")]
        assert found.stdout.split()[1:4] == expected, found.stderr
        assert found.stdout.split()[-1] == "0"


def test_a_map_may_have_many_ranges(root_oci: Runtime) -> None:
    ranges = [(0, 1 << 20, 1), *((number, (1 << 21) + 2 * number, 1) for number in range(1, 150))]
    map_ids(root_oci, *ranges)
    owned_by(root_oci, 1 << 20)
    root_oci.spec["process"]["user"] = {"uid": 149, "gid": 77}
    found = root_oci.run("sh", "-c", "wc -l < /proc/self/uid_map; id -u; id -g; tail -n 1 /proc/self/gid_map")
    lines = found.stdout.splitlines()
    assert lines[:3] == ["150", "149", "77"], found.stderr
    map_ids(root_oci, *((number, (1 << 21) + 2 * number, 1) for number in range(339)))
    assert "the kernel reads less than 4096 bytes of a map" in root_oci.run("true").stderr
    map_ids(root_oci, (0, 1 << 20, 10), (5, 1 << 22, 10))
    assert "id ranges overlap at 5" in root_oci.run("true").stderr
    assert not (root_oci.base / "state/c").exists()


def test_clock_offsets_are_seen_inside_and_only_there(oci: Runtime) -> None:
    own(oci.spec, "time")
    oci.spec["linux"]["timeOffsets"] = {
        "boottime": {"secs": 1_000_000, "nanosecs": 5},
        "monotonic": {"secs": 77},
    }
    found = oci.run(
        "sh", "-c", "cut -d. -f1 /proc/uptime; cat /proc/self/timens_offsets; readlink /proc/self/ns/time"
    )
    lines = found.stdout.splitlines()
    with open("/proc/uptime", encoding="ascii") as file:
        assert abs(int(lines[0]) - 1_000_000 - float(file.read().split()[0])) < 60, found.stderr
    assert [line.split() for line in lines[1:3]] == [["monotonic", "77", "0"], ["boottime", "1000000", "5"]]
    assert lines[3] != ours("time")


def test_clock_offsets_that_cannot_be_are_refused(oci: Runtime) -> None:
    oci.spec["linux"]["timeOffsets"] = {"boottime": {"secs": 1}}
    without(oci.spec, "time")
    assert "they need a new time namespace" in oci.run("true").stderr
    own(oci.spec, "time")
    oci.spec["linux"]["timeOffsets"] = {"monotonic": {"secs": -(1 << 40)}}
    found = oci.run("true")
    assert "set the clock offsets" in found.stderr
    assert "fix: no clock can be set to before the host's start" in found.stderr


@pytest.mark.parametrize("path", ["", "/proc/1/ns/mnt"])
def test_a_mount_namespace_of_others_is_refused_by_name(oci: Runtime, path: str) -> None:
    without(oci.spec, "mount")
    if path:
        own(oci.spec, "mount", path)
    found = oci("create", "c")
    assert "mount namespace: " in found.stderr
    assert (
        "joining an existing one is not possible" if path else "a container needs its own"
    ) in found.stderr
    assert not (oci.base / "state/c").exists()


def test_with_the_hosts_pid_namespace_kill_all_still_ends_everything(root_oci: Runtime) -> None:
    without(root_oci.spec, "pid")
    root_oci.args("sh", "-c", "sleep 1000 & sleep 1000")
    assert root_oci("run", "-d", "c").returncode == 0
    assert root_oci("kill", "--all", "c", str(int(signal.SIGKILL))).returncode == 0
    assert root_oci("delete", "--force", "c").returncode == 0
