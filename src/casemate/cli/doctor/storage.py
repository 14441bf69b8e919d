"""Checks of the store: that it opens, on what it lies, and how much room is left."""

from __future__ import annotations

import os

from casemate.cli.doctor.finding import FAIL, OK, WARN, Finding, read_text

LOW_BYTES = 2 * 1000**3
LOW_INODES = 50_000
# overlayfs cannot use these as upper directory, or only badly
UNSUITED = ("nfs", "nfs4", "cifs", "smb3", "vfat", "exfat", "ntfs3", "9p", "fuse", "ecryptfs", "overlay")


def store_opens() -> Finding:
    """Check that the store can be opened; nothing is created when there is none yet."""
    from casemate.errors import CasemateError
    from casemate.store.paths import default_paths

    try:
        root = default_paths().root
        if not os.path.isdir(root):
            return Finding("store", OK, f"{root} (not made yet)")
        from casemate.cli.opening import open_engine  # only to open it

        with open_engine() as engine:
            containers = len(engine.containers.list(all=True))
            images = len(engine.images.list())
    except CasemateError as error:
        return Finding(
            "store",
            FAIL,
            error.message,
            effect="no command works",
            fix=error.hint or "look at the directory named",
        )
    except OSError as error:
        return Finding(
            "store", FAIL, str(error), effect="no command works", fix="look at the directory named"
        )
    return Finding("store", OK, f"{root}: {_count(images, 'image')}, {_count(containers, 'container')}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def file_system() -> Finding:
    """Check that containers can be stacked where the store lies."""
    place = _existing_place()
    kind, _ = _mounted(place)
    if kind in UNSUITED or kind.startswith("fuse"):
        fix = "set CASEMATE_ROOT to a directory on ext4, xfs or btrfs"
        return Finding("store file system", FAIL, kind, effect="overlayfs cannot write there", fix=fix)
    if kind == "tmpfs":
        return Finding(
            "store file system",
            WARN,
            kind,
            effect="images are lost at reboot",
            fix="set CASEMATE_ROOT to a disk",
        )
    return Finding("store file system", OK, kind)


def space() -> Finding:
    """Check room and inodes."""
    numbers = os.statvfs(_existing_place())
    free = numbers.f_bavail * numbers.f_frsize
    found = f"{free / 1000**3:.1f} GB free"
    if numbers.f_files:
        found += f", {numbers.f_favail} inodes"
    if free < LOW_BYTES or (numbers.f_files and numbers.f_favail < LOW_INODES):
        return Finding(
            "disk space",
            WARN,
            found,
            effect="pulls may fail",
            fix="casemate system prune -a, or set CASEMATE_ROOT",
        )
    return Finding("disk space", OK, found)


def _existing_place() -> str:
    """Return the store's root, or the nearest directory above it that exists."""
    from casemate.errors import CasemateError
    from casemate.store.paths import default_paths

    try:
        place = default_paths().root
    except CasemateError:
        return "/"
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    return place


def _mounted(path: str) -> tuple[str, str]:
    """Return (type, mount point) of the file system that holds ``path``. Source: proc(5), mountinfo."""
    real, best = os.path.realpath(path), ("unknown", "")
    for line in (read_text("/proc/self/mountinfo") or "").splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4]
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[1]):
            best = (rest.split()[0], point)
    return best
