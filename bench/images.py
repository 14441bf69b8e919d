"""The images that all contenders use: a busybox of one layer and a three-layer Debian with Python."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from contextlib import ExitStack
from typing import IO

from bench.peers import find

EPOCH = "1686355200"
PACKAGES = "python3,git"
LAYER_PREFIXES = (("usr/share",), ("usr/lib/git-core", "usr/lib/python3", "usr/bin"))


def sha256_of(path: str) -> str:
    """Return the digest of a file."""
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def busybox_rootfs(directory: str) -> str:
    """Make a root file system with a static busybox and return its path."""
    rootfs = os.path.join(directory, "rootfs")
    for name in ("bin", "proc", "sys", "dev", "tmp", "etc"):
        os.makedirs(os.path.join(rootfs, name), exist_ok=True)
    busybox = find("busybox") or "/bin/busybox"
    subprocess.run(["cp", busybox, os.path.join(rootfs, "bin", "busybox")], check=True)
    for applet in ("sh", "true", "sleep", "echo", "cat", "id"):
        link = os.path.join(rootfs, "bin", applet)
        if not os.path.lexists(link):
            os.symlink("busybox", link)
    return rootfs


def archive(directory: str, name: str, layers: list[str]) -> str:
    """Write a docker-archive of uncompressed ``layers`` under the reference ``name``; return its path."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2023-06-10T00:00:00Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [sha256_of(layer) for layer in layers]},
        "history": [{"created": "2023-06-10T00:00:00Z", "created_by": "bench"} for _ in layers],
    }
    raw = json.dumps(config).encode()
    config_name = hashlib.sha256(raw).hexdigest() + ".json"
    names = [f"{index}/layer.tar" for index in range(len(layers))]
    files = {
        config_name: raw,
        "manifest.json": json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": names}]).encode(),
    }
    path = os.path.join(directory, name.replace("/", "_").replace(":", "_") + ".tar")
    with tarfile.open(path, "w") as out:
        for layer, member in zip(layers, names, strict=True):
            out.add(layer, member)
        for member, data in files.items():
            add_bytes(out, member, data)
    return path


def add_bytes(out: tarfile.TarFile, member: str, data: bytes) -> None:
    """Append a small file to an archive."""
    import io

    info = tarfile.TarInfo(member)
    info.size = len(data)
    out.addfile(info, io.BytesIO(data))


def busybox_archive(directory: str) -> str:
    """Return the path of a docker-archive of ``localhost/bench-busybox:latest``."""
    rootfs = busybox_rootfs(directory)
    layer = os.path.join(directory, "busybox-layer.tar")
    subprocess.run(["tar", "-C", rootfs, "--owner=0", "--group=0", "-cf", layer, "."], check=True)
    return archive(directory, "localhost/bench-busybox:latest", [layer])


def debian_layers(directory: str) -> list[str]:
    """Make Debian with Python and git from Debian's packages, split over three layers."""
    whole = os.path.join(directory, "debian.tar")
    if not os.path.exists(whole):
        argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", whole]
        subprocess.run(argv, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH})
    paths = [os.path.join(directory, f"layer{index}.tar") for index in range(3)]
    if not all(os.path.exists(path) for path in paths):
        split(whole, paths)
    return paths


def split(whole: str, paths: list[str]) -> None:
    """Distribute the members of one tar over three by path; a hard link follows the file it names."""
    with ExitStack() as undo:
        source = undo.enter_context(tarfile.open(whole))
        outputs = [undo.enter_context(tarfile.open(path, "w", format=tarfile.PAX_FORMAT)) for path in paths]
        for member in source:
            target = outputs[layer_of(member.linkname if member.islnk() else member.name)]
            content: IO[bytes] | None = source.extractfile(member) if member.isreg() else None
            if not member.name.startswith("./dev/"):
                target.addfile(member, content)


def layer_of(name: str) -> int:
    """Return the index of the layer that holds ``name``."""
    for index, prefixes in enumerate(LAYER_PREFIXES, start=1):
        if name.removeprefix("./").startswith(prefixes):
            return index
    return 0
