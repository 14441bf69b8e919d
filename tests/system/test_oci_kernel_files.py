"""Settings, devices, masks and the root of casemate-oci: what the container finds, and that the host's own never changes."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ocibundle import USER, Runtime, made_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox-static"),
]
SETTINGS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.ping_group_range": "0 0",
    "net/ipv4/conf/lo/forwarding": "1",
    "kernel.shm_rmid_forced": "1",
    "kernel.msgmax": "4096",
    "kernel.sem": "250 32000 32 99",
    "fs.mqueue.msg_max": "7",
    "kernel.domainname": "example.org",
}


@pytest.fixture(params=["root", "rootless"])
def oci(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with made_runtime(rootless=request.param == "rootless") as runtime:
        yield runtime


@pytest.fixture
def root_oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        yield runtime


def proc_path(name: str) -> str:
    return "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))


def host_values() -> dict[str, str]:
    return {name: Path(proc_path(name)).read_text() for name in SETTINGS}


def refused(oci: Runtime) -> str:
    """What `create` says when it refuses, leaving nothing."""
    found = oci("create", "c")
    assert found.returncode == 1, found.stderr
    assert not (oci.base / "state/c").exists()
    return found.stderr


# ---- linux.sysctl


def test_settings_of_the_containers_namespaces_are_made_and_the_hosts_stay(oci: Runtime) -> None:
    before = host_values()
    oci.spec["linux"]["sysctl"] = SETTINGS
    found = oci.run("cat", *map(proc_path, SETTINGS))
    assert [line.split() for line in found.stdout.splitlines()] == [
        value.split() for value in SETTINGS.values()
    ], found.stderr
    assert host_values() == before


@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern",
        "vm.swappiness",
        "kernel.panic",
        "fs.file-max",
        "kernel.modprobe",
        "kernel.shmmaxx",
        "user.min",
    ],
)
def test_a_setting_of_the_whole_host_is_refused_by_name(oci: Runtime, name: str) -> None:
    oci.spec["linux"]["sysctl"] = {name: "1"}
    assert f"set sysctl {name}: it belongs to the whole host" in refused(oci)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.ipv4.../../kernel/panic", "1"),
        ("net/../kernel/panic", "1"),
        ("/proc/sys/kernel/panic", "1"),
        ("net.ipv4.ip_forward\n", "1"),
        ("net.ipv4.ip_forward+kernel.core_pattern", "x"),
        ("net.ipv4.ip_forward", "1+kernel.core_pattern=|/evil"),
        ("net.ipv4.ip_forward", "1\nkernel.panic=1"),
    ],
)
def test_a_setting_cannot_smuggle_another_one(oci: Runtime, name: str, value: str) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    oci.spec["linux"]["sysctl"] = {name: value}
    assert "set sysctl" in refused(oci)
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


@pytest.mark.parametrize("how", ["absent", "joined"])
@pytest.mark.parametrize(("kind", "name"), [("network", "net.ipv4.ip_forward"), ("ipc", "kernel.msgmax")])
def test_a_setting_needs_a_namespace_that_is_not_the_hosts(
    root_oci: Runtime, kind: str, name: str, how: str
) -> None:
    file = {"network": "net"}.get(kind, kind)
    before = host_values()
    kinds = [item for item in root_oci.spec["linux"]["namespaces"] if item["type"] != kind]
    root_oci.spec["linux"]["namespaces"] = kinds
    if how == "joined":
        kinds.append({"type": kind, "path": f"/proc/self/ns/{file}"})
    root_oci.spec["linux"]["sysctl"] = {name: "1"}
    assert f"set sysctl {name}: the container has no {kind} namespace of its own" in refused(root_oci)
    assert host_values() == before


def test_a_host_name_is_never_set_for_the_host(root_oci: Runtime) -> None:
    before = os.uname().nodename
    kinds = [item for item in root_oci.spec["linux"]["namespaces"] if item["type"] != "uts"]
    for more in ([], [{"type": "uts", "path": "/proc/self/ns/uts"}]):
        root_oci.spec["linux"]["namespaces"] = [*kinds, *more]
        assert "the container has no UTS namespace of its own" in refused(root_oci)
    assert os.uname().nodename == before


def test_a_read_only_procfs_takes_the_settings_first(oci: Runtime) -> None:
    next(item for item in oci.spec["mounts"] if item["destination"] == "/proc").setdefault(
        "options", []
    ).append("ro")
    oci.spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    found = oci.run(
        "sh", "-c", "cat /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/ip_forward || echo sealed"
    )
    assert found.stdout.split() == ["1", "sealed"], found.stderr


# ---- linux.devices


def device(oci: Runtime, path: str, kind: str, *numbers: int, **more: Any) -> None:
    item = {"path": path, "type": kind, **more}
    if kind != "p":
        item |= {"major": numbers[0], "minor": numbers[1]}
    oci.spec["linux"].setdefault("devices", []).append(item)


def test_devices_of_every_type_get_their_numbers_owners_and_modes(root_oci: Runtime) -> None:
    device(root_oci, "/dev/char", "c", 1, 5, fileMode=0o640, uid=1000, gid=7)
    device(root_oci, "/dev/unbuffered", "u", 1, 7)
    device(root_oci, "/dev/block", "b", 7, 3, fileMode=0o600)
    device(root_oci, "/dev/deep/er/zero", "c", 1, 5, fileMode=0o444)
    device(root_oci, "/dev/fifo", "p", fileMode=0o622, uid=5)
    device(root_oci, "/opt/elsewhere", "c", 1, 3)
    device(root_oci, "/opt/fifo", "p")
    device(root_oci, "/dev/null", "c", 1, 3, fileMode=0o600)
    names = (
        "/dev/char /dev/unbuffered /dev/block /dev/deep/er/zero /dev/fifo /opt/elsewhere /opt/fifo /dev/null"
    )
    expected = [
        "character special file 1:5 640 1000:7",
        "character special file 1:7 666 0:0",
        "block special file 7:3 600 0:0",
        "character special file 1:5 444 0:0",
        "fifo 0:0 622 5:0",
        "character special file 1:3 666 0:0",
        "fifo 0:0 666 0:0",
        "character special file 1:3 600 0:0",
    ]
    for _ in range(
        2
    ):  # what lies outside of /dev stays in the root file system, and is right the next time too
        found = root_oci.run("stat", "-c", "%F %t:%T %a %u:%g", *names.split())
        assert found.stdout.splitlines() == expected, found.stderr


@pytest.mark.parametrize("kind", ["file", "other node", "link"])
def test_a_file_in_the_place_of_a_device_is_an_error(root_oci: Runtime, kind: str) -> None:
    place = root_oci.rootfs / "opt"
    place.mkdir()
    if kind == "file":
        (place / "node").touch()
    elif kind == "link":
        (place / "node").symlink_to("/dev/null")
    else:
        os.mknod(place / "node", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    device(root_oci, "/opt/node", "c", 1, 3)
    found = root_oci.run("true")
    assert "make the device /opt/node" in found.stderr
    assert "another file is there" in found.stderr


def test_in_a_user_namespace_devices_are_the_hosts_and_must_be_what_was_said() -> None:
    with made_runtime(rootless=True) as oci:
        device(oci, "/dev/fifo", "p", fileMode=0o600)
        device(oci, "/dev/full", "c", 1, 7)
        found = oci.run(
            "sh",
            "-c",
            "stat -c '%F %t:%T' /dev/full /dev/zero; stat -c '%F %a' /dev/fifo; head -c 3 /dev/zero | wc -c",
        )
        assert found.stdout.splitlines() == [
            "character special file 1:7",
            "character special file 1:5",
            "fifo 600",
            "3",
        ]
        oci.spec["linux"]["devices"] = []
        device(oci, "/dev/full", "c", 1, 5)
        assert "the host's node is not c 1:5" in refused(oci)
        oci.spec["linux"]["devices"] = []
        device(oci, "/dev/no-such-device", "c", 99, 5)
        assert "a user namespace can only use devices of the host" in refused(oci)


def test_the_usual_nodes_and_links_are_there(oci: Runtime) -> None:
    names = ["null", "zero", "full", "random", "urandom", "tty"]
    script = (
        "cd /dev; stat -c '%n %t:%T' "
        + " ".join(names)
        + "; for n in fd stdin stdout stderr ptmx; do readlink $n; done; ls"
    )
    lines = oci.run("sh", "-c", script).stdout.splitlines()
    numbers = ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"]
    assert lines[:6] == [f"{name} {number}" for name, number in zip(names, numbers, strict=True)]
    assert lines[6:11] == ["/proc/self/fd", *(f"/proc/self/fd/{n}" for n in range(3)), "pts/ptmx"]
    assert set(lines[11:]) <= {
        *names,
        "fd",
        "stdin",
        "stdout",
        "stderr",
        "ptmx",
        "pts",
        "shm",
        "mqueue",
        "console",
    }


# ---- maskedPaths, readonlyPaths


def test_masked_files_and_directories_are_empty_and_sealed(oci: Runtime) -> None:
    (oci.rootfs / "etc/secret").write_text("secret")
    (oci.rootfs / "etc/hidden").mkdir()
    (oci.rootfs / "etc/hidden/file").write_text("secret")
    for path in (oci.rootfs / "etc").rglob("*"):
        os.chown(path, USER, USER)
    oci.spec["linux"]["maskedPaths"] = [
        "/etc/secret",
        "/etc/hidden",
        "/proc/timer_list",
        "/proc/scsi",
        "/no/such",
        "/proc/no-such",
    ]
    script = "cat /etc/secret /proc/timer_list | wc -c; ls -A /etc/hidden | wc -l;"
    script += "touch /etc/hidden/x || echo sealed; stat -c %t:%T /etc/secret; grep -c ' /etc/[sh]' /proc/self/mountinfo"
    found = oci.run("sh", "-c", script)
    assert found.stdout.split() == ["0", "0", "sealed", "1:3", "2"], found.stderr
    assert (oci.rootfs / "etc/secret").read_text() == "secret"


def test_read_only_paths_refuse_to_be_written_with_all_below_them(oci: Runtime) -> None:
    (oci.rootfs / "etc/kept").write_text("kept")
    os.chown(oci.rootfs / "etc/kept", USER, USER)
    oci.spec["mounts"].append({"destination": "/data", "type": "tmpfs", "options": ["mode=755"]})
    oci.spec["mounts"].append({"destination": "/data/below", "type": "tmpfs", "options": ["mode=755"]})
    oci.spec["linux"]["readonlyPaths"] = ["/proc/sys", "/etc/kept", "/data", "/no/such"]
    script = "echo x > /proc/sys/net/ipv4/ip_forward || echo 1; echo x > /etc/kept || echo 2; touch /data/x || echo 3;"
    script += "touch /data/below/x || echo 4; cat /etc/kept"
    found = oci.run("sh", "-c", script)
    assert found.stdout.split() == ["1", "2", "3", "4", "kept"], found.stderr
    assert found.stderr.count("Read-only file system") == 4


def test_masks_reach_into_mounts_of_every_kind(oci: Runtime) -> None:
    source = oci.base / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep/secret").write_text("secret")
    (source / "file").write_text("secret")
    for path in (source, *source.rglob("*")):
        os.chown(path, USER, USER)
    for destination, kind in (("/bound", "bind"), ("/fresh", "tmpfs"), ("/fresh/bound", "bind")):
        item = {"destination": destination, "type": kind, "source": str(source)}
        oci.spec["mounts"].append({**item, "options": ["rbind"] if kind == "bind" else ["mode=755"]})
    masked = ["/bound/deep", "/bound/file", "/fresh/bound/deep/secret", "/fresh/nothing", "/bound/nothing"]
    oci.spec["linux"]["maskedPaths"] = masked
    oci.spec["linux"]["readonlyPaths"] = ["/fresh"]
    script = "cat /bound/deep/secret; cat /bound/file /fresh/bound/deep/secret; cat /fresh/bound/file;"
    script += "touch /fresh/x || echo sealed"
    found = oci.run("sh", "-c", script)
    assert found.stdout == "secretsealed\n", found.stderr
    assert (source / "deep/secret").read_text() == "secret"


# ---- root


def test_a_read_only_root_leaves_its_mounts_as_they_are(oci: Runtime) -> None:
    oci.spec["root"]["readonly"] = True
    oci.spec["mounts"].append({"destination": "/data", "type": "tmpfs", "options": ["mode=755"]})
    found = oci.run(
        "sh", "-c", "touch /x || echo sealed; touch /data/x && touch /dev/x && echo > /dev/null && echo open"
    )
    assert found.stdout.split() == ["sealed", "open"], found.stderr


@pytest.mark.parametrize("form", ["relative", "absolute", "dots", "link", "link in the bundle"])
def test_the_root_may_be_named_in_every_way(oci: Runtime, form: str) -> None:
    link = oci.base / "link"
    link.symlink_to(oci.bundle)
    (oci.bundle / "linked").symlink_to("rootfs")
    oci.spec["root"]["path"] = {
        "relative": "rootfs",
        "absolute": str(oci.rootfs),
        "dots": "./x/../rootfs/.",
        "link": str(link / "rootfs"),
        "link in the bundle": "linked",
    }[form]
    (oci.bundle / "x").mkdir()
    found = oci.run("cat", "/etc/passwd")
    assert found.stdout.startswith("root:x:0:0"), found.stderr


@pytest.mark.parametrize(
    ("path", "why"), [("nowhere", "not a directory"), ("config.json", "not a directory")]
)
def test_a_root_that_is_no_directory_is_named(oci: Runtime, path: str, why: str) -> None:
    oci.spec["root"]["path"] = path
    said = refused(oci)
    assert path in said
    assert why in said
