"""The toy root file system: a static busybox of the host, and what a check adds to it.

Files are a mapping: bytes are a file, None a directory, a string a link's target, ``FIFO`` a pipe with a name.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from casemate.oci.platform import Platform

    Content = bytes | str | None | object

FIFO = object()
APPLETS = """
    cat chmod cp dd echo env false find grep head hostname id kill ln ls mkdir mknod mount mv nc ps readlink rm sed seq
    sh sleep stat tail test timeout touch tr true umount unshare wc yes
""".split()  # noqa: SIM905 - a list of words
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n"
GROUP = b"root:x:0:\nuser:x:1000:\n"
_EXECUTABLE = ("bin/", "trap/", "usr/bin/")
_STICKY = ("tmp", "seen")


def base_files() -> dict[str, Content]:
    """The harmless container. Raises: NotFound when the host has no static busybox."""
    from casemate.engine.bootstrap.busybox import find_busybox

    with open(find_busybox(), "rb") as file:
        program = file.read()
    files: dict[str, Content] = dict.fromkeys(("bin", "etc", "home", "root", "tmp", "seen", "var"))
    files |= {"bin/busybox": program, "etc/passwd": PASSWD, "etc/group": GROUP}
    return files | {f"bin/{name}": "busybox" for name in APPLETS}


def _mode(name: str, content: Content) -> int:
    if name in _STICKY:
        return 0o1777
    return 0o755 if content is None or name.startswith(_EXECUTABLE) else 0o644


def write_tree(directory: str, files: Mapping[str, Content]) -> None:
    """Write files below ``directory``; a later entry replaces an earlier one, whatever that was."""
    for name, content in files.items():
        path = os.path.join(directory, name)
        if os.path.islink(path) or (os.path.lexists(path) and content is not None):
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if content is None:
            os.makedirs(path, exist_ok=True)
        elif isinstance(content, str):
            os.symlink(content, path)
        elif isinstance(content, bytes):
            with open(path, "wb") as file:
                file.write(content)
        else:
            os.mkfifo(path)
        if not isinstance(content, str):
            os.chmod(path, _mode(name, content))


def layer(files: Mapping[str, Content]) -> bytes:
    """The same files as an image's layer."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.mode = _mode(name, content)
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            elif isinstance(content, bytes):
                info.size = len(content)
            else:
                info.type = tarfile.FIFOTYPE
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return data.getvalue()


def write_archive(path: str, layers: list[bytes], *, name: str, platform: Platform) -> None:
    """Write an image of these layers as `docker save` would."""
    digests = [hashlib.sha256(data).hexdigest() for data in layers]
    config = json.dumps(
        {
            "architecture": platform.architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        }
    ).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    names = [f"{digest}.tar" for digest in digests]
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": names}]
    files = dict(zip(names, layers, strict=True))
    files |= {config_name: config, "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(path, "w") as tar:
        for member, data in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
