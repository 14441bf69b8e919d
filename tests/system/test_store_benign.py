"""Honest archives become exactly the tree that GNU tar and umoci make of them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from casemate.core.snapshots import LayerSpec
from casemate.store.overlay.snapshotter import OverlaySnapshotter

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
]

FORMATS = {
    "gnu": ["--format=gnu"],
    "oldgnu-sparse": ["--format=oldgnu", "--sparse"],
    "posix-sparse-0.0": ["--format=posix", "--sparse", "--sparse-version=0.0"],
    "posix-sparse-0.1": ["--format=posix", "--sparse", "--sparse-version=0.1"],
    "posix-sparse-1.0": [
        "--format=posix",
        "--sparse",
        "--sparse-version=1.0",
        "--xattrs",
        "--xattrs-include=*",
    ],
    "posix-xattrs": ["--format=posix", "--xattrs", "--xattrs-include=*"],
    "ustar": ["--format=ustar", "--exclude=long", "--exclude=dangling*"],
}


def run(*argv: str | os.PathLike[str]) -> None:
    subprocess.run([os.fspath(part) for part in argv], check=True, capture_output=True)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind that a layer may hold, with unusual owners, modes, times and names."""
    root = tmp_path_factory.mktemp("tree")
    os.umask(0o022)
    (root / "bin").mkdir()
    (root / "bin/suid").write_bytes(b"#!suid")
    os.chown(root / "bin/suid", 0, 33)
    os.chmod(root / "bin/suid", 0o6755)
    (root / "empty").write_bytes(b"")
    (root / "data").write_bytes(os.urandom(700_001))
    os.chown(root / "data", 1000, 65534)
    os.chmod(root / "data", 0o000)
    os.link(root / "data", root / "bin/data-again")
    (root / "bin/link").symlink_to("../data")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "dangling").symlink_to("../../nowhere/" + "x" * 90)
    os.lchown(root / "dangling", 7, 8)
    os.link(root / "dangling", root / "dangling-again", follow_symlinks=False)
    os.mkfifo(root / "fifo", 0o640)
    (root / "sticky").mkdir()
    os.chmod(root / "sticky", 0o1777)
    (root / "group").mkdir()
    os.chown(root / "group", 5, 50)
    os.chmod(root / "group", 0o2775)
    (root / "group/child").write_bytes(b"owned by root all the same")
    os.chown(root / "group/child", 0, 0)
    (root / "closed").mkdir()
    (root / "closed/inside").write_bytes(b"1")
    os.chmod(root / "closed", 0o500)
    (root / os.fsdecode(b"bytes-\xff\xfe")).write_bytes(b"not UTF-8")
    (root / "line\nbreak").write_bytes(b"x")
    deep = root / "long" / ("d" * 150) / ("e" * 150)
    deep.mkdir(parents=True)
    (deep / ("f" * 200)).write_bytes(b"deep")
    (root / "long/link").symlink_to("t/" * 149 + "t")
    with (root / "sparse").open("wb") as file:
        for offset in (0, 1 << 20, 5 << 20):
            file.seek(offset)
            file.write(b"island" * 700)
        file.truncate(9 << 20)
    with (root / "all-hole").open("wb") as file:
        file.truncate(3 << 20)
    os.setxattr(root / "empty", "user.note", b"\x00binary\xff")
    os.setxattr(root / "sticky", "user.on-directory", b"yes")
    run("/usr/sbin/setcap", "cap_net_raw+ep", root / "bin/data-again")
    for number, path in enumerate(sorted(root.rglob("*"))):
        when = 1_000_000_000 + number * 1_000_003
        os.utime(path, ns=(when * 10**9, when * 10**9 + 123_456_789), follow_symlinks=False)
    return root


def described(root: str, *, base: int) -> dict[str, dict[str, object]]:
    """Every entry of a tree: mode, owner relative to ``base``, size, time, attributes, links, content."""
    found: dict[str, dict[str, object]] = {}
    inodes: dict[int, str] = {}
    for directory, names, files in os.walk(root):
        for name in sorted((*names, *files)):
            path = f"{directory}/{name}"
            relative = os.path.relpath(path, root)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            entry: dict[str, object] = {
                "mode": oct(status.st_mode),
                "uid": status.st_uid - base,
                "gid": status.st_gid - base,
                "mtime_ns": status.st_mtime_ns,
            }
            if kind == stat.S_IFLNK:
                entry["target"] = os.readlink(path)
            if kind == stat.S_IFREG:
                entry["size"] = status.st_size
                with open(path, "rb") as file:
                    entry["content"] = hashlib.sha256(file.read()).hexdigest()
            if kind in (stat.S_IFREG, stat.S_IFDIR):
                entry["xattrs"] = {name: attribute(path, name) for name in os.listxattr(path)}
            if kind != stat.S_IFDIR:
                entry["same as"] = inodes.setdefault(status.st_ino, relative)
            found[relative] = entry
    return found


def attribute(path: str, name: str) -> bytes:
    """A value; capabilities without the user namespace that the kernel adds on disk."""
    value = os.getxattr(path, name)
    return value[:3] + b"\x02" + value[4:20] if name == "security.capability" and len(value) == 24 else value


def unpacked(archive: Path, directory: Path) -> str:
    data = archive.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    spec = LayerSpec(
        blob_digest=digest, media_type="t", diff_id=digest, chain_id=digest, parent_chain_id=None
    )
    snapshotter = OverlaySnapshotter(str(directory))
    with archive.open("rb", buffering=0) as blob:
        snapshotter.unpack(spec, blob)
    return snapshotter.create_root("c", digest, owner_base=None).lowers[0]


@pytest.mark.parametrize("name", FORMATS)
def test_every_entry_equals_what_gnu_tar_makes(name: str, tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "layer.tar"
    run("tar", *FORMATS[name], "--numeric-owner", "-C", tree, "-cf", archive, ".")
    (tmp_path / "tar").mkdir()
    run("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", tmp_path / "tar", "-xpf", archive)
    ours = described(unpacked(archive, tmp_path / "store"), base=0x40000000)
    theirs = described(str(tmp_path / "tar"), base=0)
    assert len(ours) > 15
    assert ours == theirs
    if "sparse" in name:
        holes = [
            os.stat(f"{tmp_path}/store/layers/{entry}/fs/sparse")
            for entry in os.listdir(tmp_path / "store/layers")
        ]
        assert holes[0].st_blocks * 512 < 1 << 20, "the holes were filled"


@pytest.mark.parametrize("pax", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["python-pax", "python-gnu"])
def test_archives_that_python_writes_equal_the_tree(pax: int, tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "layer.tar"
    with tarfile.open(archive, "w", format=pax) as tar:
        tar.add(tree, arcname=".")
    ours = described(unpacked(archive, tmp_path / "store"), base=0x40000000)
    theirs = described(str(tree), base=0)
    for entry in (*ours.values(), *theirs.values()):
        entry.pop("xattrs", None)  # tarfile stores none
        if "target" in entry:
            entry.pop("same as")  # nor that two links are one
        assert isinstance(entry["mtime_ns"], int)
        entry["mtime_ns"] = round(entry["mtime_ns"] / 1e9)  # its floats round
    if pax == tarfile.GNU_FORMAT:
        for entry in (*ours.values(), *theirs.values()):
            entry.pop("mtime_ns")
    assert ours == theirs


def test_every_entry_equals_what_umoci_makes(tree: Path, tmp_path: Path) -> None:
    umoci = shutil.which("umoci")
    assert umoci, "Debian package umoci"
    archive, image = tmp_path / "layer.tar", f"{tmp_path}/image:latest"
    run(
        "tar",
        "--format=posix",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "-C",
        tree,
        "-cf",
        archive,
        ".",
    )
    run(umoci, "init", "--layout", tmp_path / "image")
    run(umoci, "new", "--image", image)
    run(umoci, "raw", "add-layer", "--image", image, archive)
    run(umoci, "unpack", "--image", image, tmp_path / "bundle")
    theirs = described(str(tmp_path / "bundle/rootfs"), base=0)
    ours = described(unpacked(archive, tmp_path / "store"), base=0x40000000)
    assert ours == theirs


def test_compressed_layers_become_the_same_tree(tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "layer.tar"
    run("tar", "--format=posix", "--numeric-owner", "-C", tree, "-cf", archive, ".")
    plain = described(unpacked(archive, tmp_path / "plain"), base=0)
    data = archive.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    spec = LayerSpec(
        blob_digest=digest, media_type="t", diff_id=digest, chain_id=digest, parent_chain_id=None
    )
    middle = len(data) // 2
    for number, tool in enumerate(
        (["gzip", "-c"], ["zstd", "-q", "-c"], ["zstd", "-q", "--long=27", "-19", "-c"])
    ):
        blob = tmp_path / f"blob{number}"
        parts = [
            subprocess.run(tool, input=part, capture_output=True, check=True).stdout
            for part in (data[:middle], data[middle:])
        ]
        blob.write_bytes(b"".join(parts))  # two members, as estargz and pigz write
        snapshotter = OverlaySnapshotter(str(tmp_path / f"store{number}"))
        with blob.open("rb", buffering=0) as file:
            snapshotter.unpack(spec, file)
        root = snapshotter.create_root("c", digest, owner_base=None).lowers[0]
        assert described(root, base=0) == plain


def test_whiteouts_become_what_overlayfs_understands(tmp_path: Path) -> None:
    archive = tmp_path / "layer.tar"
    with tarfile.open(archive, "w") as tar:
        for name in (
            "gone/.wh.file",
            "opaque/.wh..wh..opq",
            "both/.wh.dir",
            "both/dir/kept",
            "early/f",
            "early/.wh.f",
        ):
            tar.addfile(tarfile.TarInfo(name))
    root = unpacked(archive, tmp_path / "store")
    hidden = os.lstat(f"{root}/gone/file")
    assert stat.S_ISCHR(hidden.st_mode)
    assert hidden.st_rdev == 0
    assert os.getxattr(f"{root}/opaque", "user.overlay.opaque") == b"y"
    assert os.listdir(f"{root}/opaque") == []
    assert os.listdir(f"{root}/both/dir") == ["kept"]
    assert os.getxattr(f"{root}/both/dir", "user.overlay.opaque") == b"y"
    assert stat.S_ISREG(os.lstat(f"{root}/early/f").st_mode), "a whiteout hides lower layers, not its own"


def test_overlayfs_shows_layers_merged_and_mapped(tmp_path: Path) -> None:
    """The kernel, not our reading of it, decides what whiteouts, opaque directories and owners mean."""
    base, top = tmp_path / "base.tar", tmp_path / "top.tar"
    with tarfile.open(base, "w") as tar:
        for name in ("gone/file", "gone/kept", "opaque/old", "replaced/x"):
            tar.addfile(tarfile.TarInfo(name))
    with tarfile.open(top, "w") as tar:
        for name in ("gone/.wh.file", "opaque/.wh..wh..opq", "opaque/new", ".wh.replaced", "replaced/y"):
            tar.addfile(tarfile.TarInfo(name))
    low, high = unpacked(base, tmp_path / "a"), unpacked(top, tmp_path / "b")
    for name in ("u", "w", "m"):
        (tmp_path / name).mkdir()
    options = f"userxattr,lowerdir={high}:{low},upperdir={tmp_path}/u,workdir={tmp_path}/w"
    look = "find . -type f | sort && stat -c %u gone/kept"
    script = f"mount -t overlay -o {options} none {tmp_path}/m && cd {tmp_path}/m && {look}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["./gone/kept", "./opaque/new", "./replaced/y", "1073741824"]


def test_devices_are_left_out_and_counted(tmp_path: Path) -> None:
    archive = tmp_path / "layer.tar"
    with tarfile.open(archive, "w") as tar:
        for name, kind in (("dev/sda", tarfile.BLKTYPE), ("dev/mem", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.devmajor, info.devminor = kind, 8, 1
            tar.addfile(info)
    root = unpacked(archive, tmp_path / "store")
    with open(os.path.dirname(root) + "/layer.json", encoding="utf-8") as file:
        assert json.load(file)["skipped"] == {"devices": 2}
    for name in ("sda", "mem"):
        assert os.lstat(f"{root}/dev/{name}").st_rdev == 0
