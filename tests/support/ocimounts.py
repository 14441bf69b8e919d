"""Bundles with mounts: a volume that is mounted only where the container is started, and mountinfo as the container sees it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ocibundle import Runtime

# The volume's mounts exist only in the namespace of the command that starts the container.
PREPARE = """
set -e
mount -t tmpfs -o mode=755 host "$VOLUME"; mkdir "$VOLUME/sub"; mount -t tmpfs -o mode=755 below "$VOLUME/sub"
mount --make-r$PROPAGATION "$VOLUME"
eval "$MORE"
exec "$@"
"""


def mount(oci: Runtime, destination: str, kind: str, *options: str, source: Any = None, **more: Any) -> None:
    entry = {"destination": destination, "type": kind, "options": list(options), **more}
    if source is not None:
        entry["source"] = str(source)
    oci.spec["mounts"].append(entry)


def volume(oci: Runtime) -> str:
    path = oci.base / "volume"
    path.mkdir(exist_ok=True)
    return str(path)


def with_volume(
    oci: Runtime, command: list[str], *, more: str = "", propagation: str = "shared"
) -> subprocess.CompletedProcess[str]:
    """Run a command where the volume is a tmpfs with another one below it."""
    oci.save()
    environment = {**os.environ, "VOLUME": volume(oci), "PROPAGATION": propagation, "MORE": more}
    wrapped = ["unshare", "--mount", "--propagation", "private", "sh", "-c", PREPARE, "sh", *command]
    found = subprocess.run(
        wrapped, cwd=oci.bundle, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
    return found


def mounts_inside(text: str) -> dict[str, dict[str, Any]]:
    """The mountinfo lines of /m*: destination -> attributes, propagation, type, options of the superblock."""
    found = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if fields[4].startswith("/m"):
            found[fields[4]] = {
                "attributes": set(fields[5].split(",")),
                "propagation": {item.split(":")[0] for item in fields[6:]},
                "type": rest[0],
                "superblock": {item for item in rest[2].split(",") if "=" not in item} - {"inode64"},
            }
    return found
