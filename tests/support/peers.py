"""What the tests share in which an engine of others drives casemate-oci: the command, the image, and tidying up after it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SRC = Path(__file__).parents[2] / "src"


def until(what: Callable[[], bool], claim: str, seconds: float = 10) -> None:
    """Poll until something holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"never: {claim}"
        time.sleep(0.02)


def launcher(directory: Path) -> Path:
    """The command casemate-oci as a script of its own, whether or not the package is installed."""
    path = directory / "casemate-oci"
    path.write_text(
        f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(SRC)!r})\n"
        "from casemate.quickstart import casemate_oci\nsys.exit(casemate_oci())\n"
    )
    path.chmod(0o755)
    return path


def image_archive(directory: Path) -> Path:
    """A root file system of one static busybox, as a tar for `import`."""
    path = directory / "image.tar"
    busybox = shutil.which("busybox") or "/bin/busybox"
    with tarfile.open(path, "w") as out:
        for name in ("bin", "proc", "sys", "dev", "tmp", "etc"):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            out.addfile(member)
        _add_srv(out)
        out.add(busybox, "bin/busybox")
        for name in (
            "sh",
            "true",
            "sleep",
            "cat",
            "id",
            "stty",
            "tty",
            "ps",
            "grep",
            "mkdir",
            "stat",
            "touch",
            "ls",
        ):
            member = tarfile.TarInfo(f"bin/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, "busybox"
            out.addfile(member)
    return path


def _add_srv(out: tarfile.TarFile) -> None:
    """A directory with owners, modes and a link of its own."""
    for name, mode, owner in (("srv", 0o751, 3), ("srv/deep", 0o755, 5)):
        member = tarfile.TarInfo(name)
        member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, mode, owner, owner + 1
        out.addfile(member)
    member = tarfile.TarInfo("srv/deep/file")
    member.size, member.mode, member.uid, member.gid = 5, 0o640, 7, 8
    out.addfile(member, io.BytesIO(b"text\n"))
    member = tarfile.TarInfo("srv/link")
    member.type, member.linkname = tarfile.SYMTYPE, "deep/file"
    out.addfile(member)


def removed(group: Path) -> bool:
    """Whether a control group could be removed with the groups in it, which have no process any more."""
    try:
        for base, _, _ in os.walk(group, topdown=False):
            os.rmdir(base)
    except OSError:
        return False
    return True


def remove_tree(directory: Path) -> None:
    """Delete an engine's files; its own mounts below them go first."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{directory}/")]):
        subprocess.run(["umount", "--lazy", mount], check=False)
    shutil.rmtree(directory, ignore_errors=True)
