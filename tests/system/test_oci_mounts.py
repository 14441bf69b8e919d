"""Mounts of casemate-oci: every option, read back from inside and compared with runc's where it knows the option."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from ocibundle import USER, Runtime, made_runtime
from ocimounts import mount, mounts_inside, volume, with_volume

from casemate.runtime.compile.mount_options import known_options

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox-static"),
]
ATTRIBUTES = (
    "ro",
    "rw",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "nodiratime",
    "diratime",
    "noatime",
    "atime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "nosymfollow",
    "symfollow",
)
PROPAGATIONS = ("private", "slave", "shared", "unbindable", "rprivate", "rslave", "rshared", "runbindable")
LOCKED = ("noatime", "nodiratime", "strictatime")
SUPERBLOCK = (
    "sync",
    "async",
    "dirsync",
    "lazytime",
    "nolazytime",
    "iversion",
    "noiversion",
    "silent",
    "loud",
    "mand",
    "nomand",
    "acl",
    "noacl",
    "defaults",
)
# Unknown to it, or asked of the kernel in a way that it refuses.
NOT_WITH_RUNC_1_1 = {
    "nosymfollow",
    "symfollow",
    "rnosymfollow",
    "rsymfollow",
    "ratime",
    "rnostrictatime",
    "defaults",
}


@pytest.fixture(params=["root", "rootless"])
def oci(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with made_runtime(rootless=request.param == "rootless") as runtime:
        yield runtime


@pytest.fixture
def root_oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        yield runtime


def add_numbered(oci: Runtime, options: list[list[str]], kind: str, source: str) -> None:
    for number, words in enumerate(options):
        mount(oci, f"/m{number}", kind, *words, source=source)


def seen_by_both(oci: Runtime) -> tuple[dict[str, Any], dict[str, Any]]:
    oci.args("cat", "/proc/self/mountinfo")
    ours = with_volume(oci, oci.command("run", "c")).stdout
    state = oci.base / "runc"
    theirs = with_volume(oci, ["runc", "--root", str(state), "run", "c"]).stdout
    return mounts_inside(ours), mounts_inside(theirs)


def test_every_attribute_has_the_effect_that_it_has_with_runc(root_oci: Runtime) -> None:
    names = [
        name for name in [*ATTRIBUTES, *(f"r{name}" for name in ATTRIBUTES)] if name not in NOT_WITH_RUNC_1_1
    ]
    options = [["rbind", name] for name in names]
    options += [
        ["bind", "ro"],
        ["rbind", "ro", "rw"],
        ["rbind", "noatime", "strictatime", "nodiratime"],
        ["rbind", "ro", "rnosuid"],
    ]
    options += [["rbind", *(name for name in SUPERBLOCK)]]
    add_numbered(root_oci, options, "bind", volume(root_oci))
    ours, theirs = seen_by_both(root_oci)
    assert {f"/m{number}" for number in range(len(options))} <= set(ours)
    for place, found in theirs.items():
        words = options[int(place.split("/")[1][1:])]
        assert ours[place]["attributes"] == found["attributes"], (place, words)
    assert set(ours) == set(theirs)


def test_attributes_of_bind_mounts_reach_the_tree_only_in_their_recursive_form(root_oci: Runtime) -> None:
    expected = {
        "ro": "ro",
        "nosuid": "nosuid",
        "nodev": "nodev",
        "noexec": "noexec",
        "nosymfollow": "nosymfollow",
    }
    expected |= {"noatime": "noatime", "nodiratime": "nodiratime"}
    names = list(expected)
    add_numbered(
        root_oci,
        [["rbind", name] for name in names] + [["rbind", f"r{name}"] for name in names],
        "bind",
        volume(root_oci),
    )
    root_oci.args("cat", "/proc/self/mountinfo")
    found = mounts_inside(with_volume(root_oci, root_oci.command("run", "c")).stdout)
    for number, name in enumerate(names):
        plain, recursive = f"/m{number}", f"/m{number + len(names)}"
        assert expected[name] in found[plain]["attributes"] & found[recursive]["attributes"]
        assert expected[name] not in found[f"{plain}/sub"]["attributes"]
        assert expected[name] in found[f"{recursive}/sub"]["attributes"]


def test_the_opposite_of_an_attribute_takes_it_away(root_oci: Runtime) -> None:
    pairs = {
        "rw": "ro",
        "suid": "nosuid",
        "dev": "nodev",
        "exec": "noexec",
        "diratime": "nodiratime",
        "symfollow": "nosymfollow",
    }
    pairs |= {"relatime": "noatime", "strictatime": "noatime", "atime": "noatime"}
    names = [*pairs, *(f"r{name}" for name in pairs)]
    add_numbered(root_oci, [["rbind", name] for name in names], "bind", volume(root_oci))
    root_oci.args("cat", "/proc/self/mountinfo")
    every = "ro,nosuid,nodev,noexec,nodiratime,noatime,nosymfollow"
    more = f'for at in "$VOLUME" "$VOLUME/sub"; do mount -o remount,bind,{every} "$at"; done'
    found = mounts_inside(with_volume(root_oci, root_oci.command("run", "c"), more=more).stdout)
    for number, name in enumerate(names):
        gone = pairs[name.removeprefix("r") if name not in pairs else name]
        assert gone not in found[f"/m{number}"]["attributes"], name
        assert (gone in found[f"/m{number}/sub"]["attributes"]) == (name in pairs), name


def test_propagation_of_bind_mounts_is_what_was_asked(root_oci: Runtime) -> None:
    add_numbered(
        root_oci, [["rbind", name] for name in PROPAGATIONS] + [["rbind"], ["bind"]], "bind", volume(root_oci)
    )
    root_oci.args("cat", "/proc/self/mountinfo")
    found = mounts_inside(with_volume(root_oci, root_oci.command("run", "c")).stdout)
    for number, name in enumerate([*PROPAGATIONS, "private", "private"]):
        form = name.removeprefix("r") if name not in PROPAGATIONS[:4] else name
        assert found[f"/m{number}"]["propagation"] == {"private": set(), "slave": {"master"}}.get(
            form, {form}
        ), name
        if f"/m{number}/sub" in found and name != "shared":
            assert "shared" not in found[f"/m{number}/sub"]["propagation"] or name == "rshared", name
    assert found["/m7/sub"]["propagation"] == {"unbindable"}
    assert found["/m3/sub"]["propagation"] == set()
    assert "/m9/sub" not in found


@pytest.mark.parametrize("name", ["rprivate", "rslave", "rshared"])
def test_propagation_carries_mounts_in_the_direction_that_was_asked(root_oci: Runtime, name: str) -> None:
    mount(root_oci, "/data", "bind", "rbind", name, source=volume(root_oci))
    root_oci.spec["process"]["capabilities"]["bounding"].append("CAP_SYS_ADMIN")
    root_oci.spec["process"]["capabilities"]["effective"].append("CAP_SYS_ADMIN")
    root_oci.spec["process"]["capabilities"]["permitted"].append("CAP_SYS_ADMIN")
    root_oci.spec["linux"].pop("seccomp", None)
    for applet in ("mount", "mkfifo"):
        (root_oci.rootfs / "bin" / applet).symlink_to("busybox")
    script = "mkdir /data/up; mount -t tmpfs up /data/up; touch /data/up/file; echo > /data/ready;"
    script += "i=0; while [ ! -e /data/made ] && [ $i -lt 50 ]; do i=$((i+1)); sleep 0.1; done; ls /data/down > /data/seen"
    root_oci.args("sh", "-c", script)
    outer = (
        '"$@" & i=0; while [ ! -e "$VOLUME/ready" ] && [ $i -lt 50 ]; do i=$((i+1)); sleep 0.1; done;'
        'ls "$VOLUME/up"; mkdir "$VOLUME/down"; mount -t tmpfs down "$VOLUME/down"; touch "$VOLUME/down/file";'
        'echo > "$VOLUME/made"; wait; echo seen $(cat "$VOLUME/seen"); umount -R "$VOLUME/up" 2>/dev/null || :'
    )
    found = with_volume(root_oci, ["sh", "-c", outer, "sh", *root_oci.command("run", "c")])
    up, down = name == "rshared", name != "rprivate"
    assert found.stdout.split() == [*(["file"] if up else []), "seen", *(["file"] if down else [])], (
        found.stderr
    )


@pytest.mark.parametrize("name", ["", *PROPAGATIONS])
def test_the_roots_propagation_is_what_was_asked(root_oci: Runtime, name: str) -> None:
    root_oci.spec["linux"]["rootfsPropagation"] = name
    root_oci.args("cat", "/proc/self/mountinfo")
    found = with_volume(
        root_oci,
        root_oci.command("run", "c"),
        more=f"mount --rbind {root_oci.base} {root_oci.base}; mount --make-rshared {root_oci.base}; cd {root_oci.bundle}",
    )
    root, proc = (
        [line for line in found.stdout.splitlines() if line.split()[4] == place] for place in ("/", "/proc")
    )
    shown = [
        {item.split(":")[0] for item in lines[0].partition(" - ")[0].split()[6:]} for lines in (root, proc)
    ]
    form = name.removeprefix("r") if name.startswith("r") else name
    assert shown[0] == {"": set(), "private": set(), "slave": {"master"}}.get(form, {form})
    assert shown[1] == ({form} if name in ("rshared", "runbindable") else set())


def test_options_of_the_superblock_have_the_effect_that_they_have_with_runc(root_oci: Runtime) -> None:
    options = [[name] for name in [*SUPERBLOCK, *ATTRIBUTES] if name not in NOT_WITH_RUNC_1_1]
    options += [["size=1m", "mode=700"], ["sync", "async"], ["nosuid", "noexec", "nodev", "ro"]]
    add_numbered(root_oci, options, "tmpfs", "tmpfs")
    ours, theirs = seen_by_both(root_oci)
    for place, found in theirs.items():
        name = options[int(place.removeprefix("/m"))]
        assert ours[place]["attributes"] == found["attributes"], name
        assert ours[place]["superblock"] - {"ro", "rw"} == found["superblock"] - {"ro", "rw"}, name
    assert len(ours) == len(options)


def test_every_known_option_is_accepted(oci: Runtime) -> None:
    once = {"idmap", "ridmap", "noidmap", "remount", "tmpcopyup", "bind", "rbind"}
    source = oci.base / "source"
    source.mkdir()
    os.chown(source, USER, USER)
    names = [name for name in known_options() if name not in once]
    locked = [name for name in names if oci.rootless and name.removeprefix("r") in LOCKED]
    for number, name in enumerate(name for name in names if name not in locked):
        mount(oci, f"/m{number}", "bind", "bind", name, source=source)
    found = oci.run("true")
    assert found.returncode == 0, found.stderr
    for name in locked:  # the kernel keeps access times of a mount as its owner wants them
        oci.spec["mounts"][-1]["options"] = ["bind", name]
        assert "for an ordinary user what restricts the host's mount stays" in oci.run("true").stderr


def test_an_unknown_option_of_a_bind_mount_is_refused_by_name(oci: Runtime) -> None:
    mount(oci, "/m", "bind", "bind", "size=1m", source="/usr")
    found = oci("create", "c")
    assert found.returncode == 1
    assert "size" in found.stderr
    assert not (oci.base / "state/c").exists()


def test_remount_changes_what_is_named_and_nothing_else(oci: Runtime) -> None:
    mount(oci, "/m1", "tmpfs", "nosuid", "mode=755")
    mount(oci, "/m1", "tmpfs", "remount", "ro", "noexec")
    found = mounts_inside(oci.run("cat", "/proc/self/mountinfo").stdout)
    assert {"ro", "noexec", "nosuid"} <= found["/m1"]["attributes"]
    mount(oci, "/tmp", "tmpfs", "remount", "ro")
    assert "nothing is mounted there" in oci.run("true").stderr
    oci.spec["mounts"][-1]["options"] = ["remount", "size=1m"]
    assert "only the attributes" in oci.run("true").stderr


def test_a_read_only_tmpfs_still_takes_the_mounts_inside_it(oci: Runtime) -> None:
    next(item for item in oci.spec["mounts"] if item["destination"] == "/dev")["options"].append("ro")
    mount(oci, "/m", "tmpfs", "ro", "mode=755")
    mount(oci, "/m/deep/er", "tmpfs", "mode=755")
    source = oci.base / "file"
    source.write_text("text\n")
    mount(oci, "/m/other/file", "bind", "bind", source=source)
    script = "cat /m/other/file; touch /m/deep/er/x && echo inner; touch /m/x || echo sealed;"
    script += "touch /dev/x || echo sealed; echo > /dev/null && echo null"
    found = oci.run("sh", "-c", script)
    assert found.stdout.split() == ["text", "inner", "sealed", "sealed", "null"], found.stderr


def test_mounts_onto_dev_take_the_place_of_its_nodes(oci: Runtime) -> None:
    source = oci.base / "file"
    source.write_text("text")
    source.chmod(0o644)
    for place in ("/dev/null", "/dev/stdin", "/dev/other", "/dev/deep/file"):
        mount(oci, place, "bind", "bind", "ro", source=source)
    found = oci.run("sh", "-c", "cat /dev/null /dev/stdin /dev/other /dev/deep/file; stat -c %t:%T /dev/zero")
    assert found.stdout == "text" * 4 + "1:5\n", found.stderr


def test_a_target_that_is_a_link_is_resolved_inside_the_root(oci: Runtime) -> None:
    source = oci.base / "volume-file"
    source.write_text("text")
    (oci.rootfs / "real").mkdir()
    os.chown(oci.rootfs / "real", USER, USER)
    (oci.rootfs / "etc/conf").symlink_to("/real/new/file")
    (oci.rootfs / "link").symlink_to("real")
    mount(oci, "/etc/conf", "bind", "bind", source=source)
    mount(oci, "/link/dir", "tmpfs", "mode=755")
    found = oci.run("sh", "-c", "cat /real/new/file; grep -c ' /real/dir ' /proc/self/mountinfo")
    assert found.stdout == "text1\n", found.stderr


def test_bind_sources_may_be_files_relative_paths_and_special_files(oci: Runtime) -> None:
    (oci.bundle / "relative").write_text("relative")
    os.mkfifo(oci.bundle / "fifo")
    mount(oci, "/m/file", "bind", "bind", source="relative")
    mount(oci, "/m/fifo", "none", "bind", source="fifo")
    mount(oci, "m/relative-destination", "", "bind", source="relative")
    found = oci.run("sh", "-c", "cat /m/file /m/relative-destination; stat -c %F /m/fifo")
    assert found.stdout == "relativerelativefifo\n", found.stderr
    mount(oci, "/m/x", "bind", "bind", source="nowhere")
    assert "nowhere: No such file or directory" in oci.run("true").stderr
