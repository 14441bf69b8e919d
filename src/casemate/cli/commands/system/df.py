"""``casemate system df``."""

from __future__ import annotations

import os

from casemate.cli.opening import open_engine
from casemate.cli.show.listing import Listing, show_rows
from casemate.cli.show.sizes import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed

BLOCK_BYTES = 512  # stat(2): st_blocks
TITLES = {"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE"}


def run(parsed: Parsed) -> int:
    """Show what images, containers and volumes occupy on disk."""
    with open_engine() as engine:
        paths = engine.store.paths
        boxes = engine.containers.list(all=True)
        images = engine.images.list()
        used = {box.inspect()["Image"] for box in boxes}
    rows = [
        _row(
            "Images",
            len(images),
            sum(image.id in used for image in images),
            paths.content,
            f"{paths.overlay}/layers",
        ),
        _row(
            "Containers",
            len(boxes),
            sum(box.state == "running" for box in boxes),
            paths.containers,
            f"{paths.overlay}/roots",
        ),
        _row("Local Volumes", _entries(paths.volumes), 0, paths.volumes),
    ]
    show_rows(Listing(tuple(TITLES), TITLES), rows, parsed.text("format"))
    return 0


def _row(kind: str, total: int, active: int, *directories: str) -> dict[str, str]:
    size = human_size(sum(disk_usage(directory) for directory in directories))
    return {"Type": kind, "TotalCount": str(total), "Active": str(active), "Size": size}


def _entries(directory: str) -> int:
    try:
        return len(os.listdir(directory))
    except OSError:
        return 0


def disk_usage(directory: str) -> int:
    """Return the bytes allocated below a directory.

    Hard links count once, what vanishes meanwhile not at all.
    """
    total, seen = 0, set()
    pending = [directory]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if (status.st_dev, status.st_ino) not in seen:
                        seen.add((status.st_dev, status.st_ino))
                        total += status.st_blocks * BLOCK_BYTES
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError:
            continue
    return total
