"""What goes into the guest and comes out of it: plain tar archives on disks of their own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from typing import Any

from tools.lab import recipe

JOB = ".lab/job.json"
RESULTS_BYTES = 64 << 20


def checkout_files() -> list[str]:
    """Every file of the checkout that git knows or would take, and the compiled ``enter``."""
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(argv, cwd=recipe.ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\0"
    )
    names.append("src/casemate/bin/enter")
    return sorted({name for name in names if name and os.path.lexists(os.path.join(recipe.ROOT, name))})


def write_checkout(path: str, job: dict[str, Any]) -> None:
    """Write the checkout and the job as one archive, which the guest unpacks as root's."""

    def as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        info.mode = 0o755 if info.mode & 0o100 else 0o644
        return info

    with tarfile.open(path, "w") as tar:
        for name in checkout_files():
            tar.add(os.path.join(recipe.ROOT, name), name, recursive=False, filter=as_root)
        data = json.dumps(job).encode()
        info = tarfile.TarInfo(JOB)
        info.size, info.mode = len(data), 0o644
        tar.addfile(info, io.BytesIO(data))


def make_results_disk(path: str) -> None:
    """Make the empty disk that the guest writes an archive of its results to."""
    with open(path, "wb") as file:
        file.truncate(RESULTS_BYTES)


def read_results(path: str) -> dict[str, bytes]:
    """Name and content of every file on the results disk; nothing when the guest wrote none or half an archive."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                file = tar.extractfile(info) if info.isreg() else None
                if file is not None:
                    found[os.path.basename(info.name)] = file.read()
    except (tarfile.TarError, OSError):
        return found
    return found
