"""The private place of one round of checks: made here, cleaned by the next round when this one is killed.

    TMP/casemate-prove-UID-RANDOM/   0711, ours; held by a flock for as long as its maker lives
        wall.json                    the commands that remove the containers of this place
        work/ state/ ...             of the wall
        canary-RANDOM/               what no container may touch, and everybody could

A canary is open to every id on purpose: only the wall keeps a container from it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import tempfile
import time
from contextlib import contextmanager, suppress

from casemate.kernel.lock import try_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "casemate-prove-"
NEW_S = 2.0


class Canary:
    """A file and two directories that a check looks at before and after."""

    __slots__ = ("before", "directory", "file", "place", "token")

    def __init__(self, directory: str) -> None:
        self.token = f"canary-{secrets.token_hex(12)}"
        self.directory = directory
        self.file = f"{directory}/file"
        self.place = f"{directory}/place"
        os.makedirs(self.place)
        with open(self.file, "w", encoding="ascii") as file:
            file.write(self.token + "\n")
        os.chmod(self.file, 0o666)  # noqa: S103 - only the wall may be what keeps a container away
        os.chmod(self.place, 0o777)  # noqa: S103 - same
        os.chmod(directory, 0o777)  # noqa: S103 - same
        self.before = self._look()

    def _look(self) -> list[object]:
        with open(self.file, encoding="ascii", errors="replace") as file:
            seen: list[object] = [file.read()]
        seen += [sorted(os.listdir(self.directory)), sorted(os.listdir(self.place))]
        for path in (self.file, self.place, self.directory):
            about = os.stat(path)
            seen.append(
                (about.st_mode, about.st_uid, about.st_gid, about.st_mtime_ns, about.st_nlink, about.st_ino)
            )
        return seen

    def harm(self, *outputs: str) -> str:
        """What happened to it, or "" while nothing did: changed, filled, or its token in an output."""
        if any(self.token in output for output in outputs):
            return "a file outside the container was read"
        now = self._look()
        if now != self.before:
            changed = [f"{a} became {b}" for a, b in zip(self.before, now, strict=True) if a != b]
            return f"a file outside the container was changed: {changed[0]}"
        return ""


class Place:
    """The directory, and what is made in it."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def canary(self) -> Canary:
        """A new canary at a name that cannot be guessed."""
        return Canary(f"{self.path}/canary-{secrets.token_hex(8)}")

    def directory(self, name: str, mode: int = 0o711) -> str:
        """Make and return a directory below the place; its name gets a random end."""
        path = f"{self.path}/{name}-{secrets.token_hex(4)}"
        os.mkdir(path)
        os.chmod(path, mode)
        return path

    def remember(self, commands: dict[str, list[str]]) -> None:
        """Write down how to remove what is made here, before it is made.

        ``list`` prints the containers, ``remove`` followed by one of them removes it, ``last`` what else there is.
        """
        with open(f"{self.path}/wall.json", "w", encoding="utf-8") as file:
            json.dump(commands, file)


@contextmanager
def private_place() -> Iterator[Place]:
    """A place that is removed at the end; places of killed rounds are removed first."""
    remove_leftovers()
    path = tempfile.mkdtemp(prefix=f"{PREFIX}{os.geteuid()}-")
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try_lock(lock)
        os.chmod(path, 0o711)  # noqa: S103 - containers' ids pass through it to what is theirs
        yield Place(path)
    finally:
        empty(path)
        os.close(lock)


def remove_leftovers() -> list[str]:
    """Remove the places of ours whose maker is dead; return their paths."""
    top, removed = tempfile.gettempdir(), []
    for name in os.listdir(top):
        path = os.path.join(top, name)
        if name.startswith(f"{PREFIX}{os.geteuid()}-") and _is_abandoned(path):
            empty(path)
            removed.append(path)
    return removed


def _is_abandoned(path: str) -> bool:
    """Whether a directory is ours, writable for nobody else, and its maker's lock is free."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        about = os.fstat(fd)
        is_ours = about.st_uid == os.geteuid() and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        is_new = about.st_mtime > time.time() - NEW_S  # somebody may be about to lock it
        return is_ours and not is_new and try_lock(fd)
    finally:
        os.close(fd)


def empty(path: str) -> None:
    """Remove the containers that a place's wall made, then the place."""
    from casemate.prove.command import run

    with suppress(OSError, ValueError, KeyError):
        with open(f"{path}/wall.json", encoding="utf-8") as file:
            commands = json.load(file)
        for name in run(commands["list"], cwd=path).out.split():
            run([*commands["remove"], name], cwd=path)
        if commands["last"]:
            run(commands["last"], cwd=path)
    shutil.rmtree(path, ignore_errors=True)
