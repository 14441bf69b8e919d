"""Filling a new volume with what the image has at its place.

Works on the layers' own directories by descriptors; follows no link, copies directories, files and links and
nothing else. Owners on
disk stay as they are: layers and volumes belong to the same range of ids.
"""

from __future__ import annotations

import os
import stat

from casemate.engine.spec.rootview import RootView, iter_merged, merge
from casemate.errors import Exhausted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MAX_ENTRIES = 1_000_000
MAX_DEPTH = 200
_PIECE = 1 << 20


def copy_up(directories: Sequence[str], path: str, target: str) -> None:
    """Copy the tree at ``path`` of the stacked ``directories`` into the empty directory ``target``.

    Nothing when there is none. For an ordinary user with subordinate ids a worker that is root of them does it, so
    that owners stay what the image says.
    """
    from casemate.engine.subordinate import has_subordinate_ids, run_as_owner

    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    trees: list[int] = []
    try:
        for place in (target, *directories):
            trees.append(os.open(place, flags))  # noqa: PERF401 - what was opened is closed when one fails
        job = {"job": "copy up", "path": path}
        if has_subordinate_ids():
            run_as_owner(job, trees, runner=__name__)
        else:
            run(job, -1, trees)
    finally:
        _close(trees)


def run(job: dict[str, Any], _source: int, trees: Sequence[int]) -> dict[str, Any]:
    """Copy the tree at the job's path of the stacked directories ``trees[1:]`` into ``trees[0]``."""
    with RootView(trees[1:]) as view:
        source = view.open_merged(job["path"])
        if source:
            try:
                _take_attributes(trees[0], os.fstat(source[0]))
                _copy(source, trees[0], [MAX_ENTRIES], 0)
            finally:
                _close(source)
    return {}


def _copy(source: Sequence[int], place: int, left: list[int], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Exhausted("fill volume", "", f"directories are nested deeper than {MAX_DEPTH}")
    for name, parent, status in iter_merged(source):
        left[0] -= 1
        if left[0] < 0:
            raise Exhausted("fill volume", "", f"the image has more than {MAX_ENTRIES} files there")
        if stat.S_ISDIR(status.st_mode):
            _copy_directory(source, name, place, status, left, depth)
        elif stat.S_ISREG(status.st_mode):
            _copy_file(parent, name, place, status)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=parent), name, dir_fd=place)
            _own(place, name, status)


def _copy_directory(  # noqa: PLR0917 - one recursion
    source: Sequence[int], name: str, place: int, status: os.stat_result, left: list[int], depth: int
) -> None:
    os.mkdir(name, 0o700, dir_fd=place)
    made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
    below = merge(source, name)
    try:
        _copy(below, made, left, depth + 1)
        _take_attributes(made, status)
    finally:
        os.close(made)
        _close(below)


def _copy_file(parent: int, name: str, place: int, status: os.stat_result) -> None:
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    inside = os.open(name, os.O_RDONLY | flags, dir_fd=parent)
    try:
        made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600, dir_fd=place)
        try:
            while os.copy_file_range(inside, made, _PIECE):
                pass
            _take_attributes(made, status)
        finally:
            os.close(made)
    finally:
        os.close(inside)


def _take_attributes(fd: int, status: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, stat.S_IMODE(status.st_mode))
    os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))


def _own(place: int, name: str, status: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(name, status.st_uid, status.st_gid, dir_fd=place, follow_symlinks=False)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
