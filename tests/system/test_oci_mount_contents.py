"""What a mount of casemate-oci holds: mapped owners, files of the image in a tmpfs, control groups, earlier mounts below."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from ocibundle import USER, Runtime, made_runtime
from ocimounts import mount, volume, with_volume

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox-static"),
]


@pytest.fixture(params=["root", "rootless"])
def oci(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with made_runtime(rootless=request.param == "rootless") as runtime:
        yield runtime


@pytest.fixture
def root_oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        yield runtime


# ---- id-mapped mounts


def ids(oci: Runtime, place: str) -> str:
    found = oci.run("stat", "-c", "%u:%g", f"{place}/file", f"{place}/below/file")
    return found.stdout or found.stderr


def owned_volume(oci: Runtime) -> str:
    top = oci.base / "owned"
    (top / "below").mkdir(parents=True)
    for path, owner in ((top / "file", 1000), (top / "below/file", 1500)):
        path.touch()
        os.chown(path, owner, owner)
    return str(top)


def shift(by: int) -> list[dict[str, int]]:
    return [
        {"containerID": 1000, "hostID": by, "size": 1},
        {"containerID": 1500, "hostID": by + 500, "size": 10},
    ]


SHIFT = {"uidMappings": shift(7000), "gidMappings": shift(8000)}


@pytest.mark.parametrize("option", ["idmap", "ridmap", ""])
def test_a_mounts_own_mappings_decide_the_owners_inside(root_oci: Runtime, option: str) -> None:
    mount(
        root_oci, "/m", "bind", "rbind", *([option] if option else []), source=owned_volume(root_oci), **SHIFT
    )
    assert ids(root_oci, "/m").split() == ["7000:8000", "7500:8500"]
    found = root_oci.run("sh", "-c", "touch /m/new")
    assert "Value too large" in found.stderr, "an id that is not mapped cannot own a file"


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_only_ridmap_maps_the_mounts_below(root_oci: Runtime, option: str) -> None:
    mount(root_oci, "/m", "bind", "rbind", option, source=volume(root_oci), **SHIFT)
    root_oci.args("stat", "-c", "%u", "/m/file", "/m/sub/file")
    more = 'touch "$VOLUME/file" "$VOLUME/sub/file"; chown 1000:1000 "$VOLUME/file" "$VOLUME/sub/file"'
    found = with_volume(root_oci, root_oci.command("run", "c"), more=more)
    assert found.stdout.split() == ["7000", "7000" if option == "ridmap" else "1000"]


def test_without_mappings_the_containers_own_are_used(root_oci: Runtime) -> None:
    mount(root_oci, "/m", "bind", "rbind", "idmap", source=owned_volume(root_oci))
    found = root_oci.run("true")
    assert "no user namespace whose map could be used" in found.stderr
    for name in ("uidMappings", "gidMappings"):
        root_oci.spec["linux"][name] = [{"containerID": 0, "hostID": 1 << 20, "size": 65536}]
    root_oci.spec["linux"]["namespaces"].append({"type": "user"})
    for path in [root_oci.rootfs, *root_oci.rootfs.rglob("*")]:
        os.lchown(path, 1 << 20, 1 << 20)
    assert ids(root_oci, "/m").split() == ["1000:1000", "1500:1500"]


@pytest.mark.parametrize("missing", ["uidMappings", "gidMappings"])
def test_one_mapping_without_the_other_is_refused(oci: Runtime, missing: str) -> None:
    mount(
        oci,
        "/m",
        "bind",
        "rbind",
        "idmap",
        source="/usr",
        **{name: SHIFT[name] for name in SHIFT if name != missing},
    )
    found = oci("create", "c")
    assert found.returncode == 1
    assert "together" in found.stderr or missing in found.stderr
    assert not (oci.base / "state/c").exists()


def test_an_ordinary_user_is_told_that_id_maps_of_mounts_need_root() -> None:
    with made_runtime(rootless=True) as oci:
        mount(oci, "/m", "bind", "rbind", "idmap", source="/usr", **SHIFT)
        found = oci("create", "c")
        assert found.returncode == 1
        assert "only who owns the file system may map its ids: that is root" in found.stderr
        assert not (oci.base / "state/c").exists()


# ---- tmpcopyup


def test_tmpcopyup_begins_with_the_images_files_owners_and_modes(oci: Runtime) -> None:
    top = oci.rootfs / "data"
    (top / "deep/er").mkdir(parents=True)
    (top / "deep/er/file").write_text("text")
    (top / "deep/er/file").chmod(0o640)
    (top / "deep").chmod(0o711)
    (top / "link").symlink_to("deep/er/file")
    (top / "big").write_bytes(b"x" * 3_000_001)
    for number in range(300):
        (top / f"many-{number}").touch()
    top.chmod(0o1751)
    for path in [top, *top.rglob("*")]:
        os.lchown(path, *((USER, USER) if oci.rootless else (7, 8)))
    os.utime(top / "deep/er/file", (1_000_000_000, 1_000_000_001))
    mount(oci, "/data", "tmpfs", "tmpcopyup", "nosuid")
    script = "stat -c '%a %u:%g' /data /data/deep; stat -c '%a %Y %s' /data/deep/er/file; cat /data/link; stat -c %s /data/big;"
    script += "ls /data | wc -l; rm -r /data/deep /data/big; stat -f -c %T /data"
    (oci.rootfs / "bin/rm").symlink_to("busybox")
    found = oci.run("sh", "-c", script)
    owner = "0:0" if oci.rootless else "7:8"
    expected = f"1751 {owner}\n711 {owner}\n640 1000000001 4\ntext3000001\n303\ntmpfs\n"
    assert found.stdout == expected, found.stderr
    assert (top / "deep/er/file").read_text() == "text"


def test_tmpcopyup_of_nothing_is_an_ordinary_tmpfs(oci: Runtime) -> None:
    mount(oci, "/fresh/dir", "tmpfs", "tmpcopyup")
    found = oci.run("sh", "-c", "stat -c %a /fresh/dir; ls /fresh/dir")
    assert found.stdout == "1777\n", found.stderr


def test_tmpcopyup_takes_also_what_an_earlier_mount_shows(oci: Runtime) -> None:
    source = oci.base / "source"
    (source / "data").mkdir(parents=True)
    (source / "data/file").write_text("text")
    mount(oci, "/m", "bind", "bind", "ro", source=source)
    mount(oci, "/m/data", "tmpfs", "tmpcopyup", "ro")
    found = oci.run("sh", "-c", "cat /m/data/file; touch /m/data/x || echo sealed")
    assert found.stdout == "textsealed\n", found.stderr


@pytest.mark.parametrize("options", [(), ("tmpcopyup",)])
def test_a_tmpfs_has_the_mode_of_the_directory_that_it_covers_as_with_runc(
    root_oci: Runtime, options: tuple[str, ...]
) -> None:
    (root_oci.rootfs / "kept").mkdir()
    (root_oci.rootfs / "kept").chmod(0o2750)
    for place in ("/kept", "/fresh"):
        mount(root_oci, place, "tmpfs", *options, source="tmpfs")
    root_oci.args("stat", "-c", "%a", "/kept", "/fresh")
    ours = with_volume(root_oci, root_oci.command("run", "c"))
    shutil.rmtree(root_oci.rootfs / "fresh")
    theirs = with_volume(root_oci, ["runc", "--root", str(root_oci.base / "runc"), "run", "c"])
    assert ours.stdout == theirs.stdout


# ---- control groups


@pytest.mark.parametrize("namespaced", [True, False])
def test_control_groups_are_mounted_as_runc_mounts_them(root_oci: Runtime, *, namespaced: bool) -> None:
    kinds = root_oci.spec["linux"]["namespaces"]
    root_oci.spec["linux"]["namespaces"] = [item for item in kinds if item["type"] != "cgroup"]
    if namespaced:
        root_oci.spec["linux"]["namespaces"].append({"type": "cgroup"})
    root_oci.spec["mounts"] = [item for item in root_oci.spec["mounts"] if item["type"] != "cgroup"]
    mount(
        root_oci, "/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro", source="cgroup"
    )
    root_oci.args(
        "sh", "-c", "cat /proc/self/mountinfo; echo; cd /sys/fs/cgroup; ls -l; touch x || echo sealed"
    )
    shown = []
    for command in (
        root_oci.command("run", "c"),
        ["runc", "--root", str(root_oci.base / "runc"), "run", "c"],
    ):
        text, _, listing = with_volume(root_oci, command).stdout.partition("\n\n")
        lines = [line.split() for line in text.splitlines() if "/sys/fs/cgroup" in line.split()[4]]
        places = {line[4]: (set(line[5].split(",")), line[line.index("-") + 1]) for line in lines}
        names = {line.split()[-1] for line in listing.splitlines()}
        shown.append((places, names))
    (ours, names), (theirs, their_names) = shown
    assert ours.pop("/sys/fs/cgroup") == ({"ro", "nosuid", "nodev", "noexec", "relatime"}, "tmpfs")
    theirs.pop("/sys/fs/cgroup")  # it leaves that one writable in some cases
    assert ours == theirs
    assert names - {"sealed"} == their_names - {"x", "sealed"}
    assert "sealed" in names
    assert len(ours) > 5


def test_mounts_are_made_in_the_order_of_the_list(oci: Runtime) -> None:
    first, second = oci.base / "first", oci.base / "second"
    for path in (first, second):
        (path / "sub").mkdir(parents=True)
        (path / "name").write_text(path.name)
    mount(oci, "/m", "bind", "bind", source=first)
    mount(oci, "/m/sub", "bind", "bind", source=second)
    mount(oci, "/n/sub", "bind", "bind", source=second)
    mount(oci, "/n", "bind", "bind", source=first)
    found = oci.run("cat", "/m/name", "/m/sub/name", "/n/name")
    assert found.stdout == "firstsecondfirst", found.stderr
    assert json.loads(oci("list", "--format", "json").stdout) == []
