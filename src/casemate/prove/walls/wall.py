"""A wall: something that starts containers and is asked to keep its promises.

A check describes a container once (``Container``); each wall writes it in its own language.
"""

from __future__ import annotations

import os
import secrets
import shlex
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from casemate.errors import Unavailable
from casemate.prove import command
from casemate.prove.command import NOBODY_SPECIAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from casemate.prove.command import Answer, Caller
    from casemate.prove.payload import Content
    from casemate.prove.place import Place


@dataclass(frozen=True, kw_only=True)
class Container:
    """What a check wants to start. ``user`` is ``uid`` or ``uid:gid``; ``mounts`` are (host, container) paths."""

    files: Mapping[str, Content] = field(default_factory=dict)
    mounts: Sequence[tuple[str, str]] = ()
    tmpfs: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: str = "0"
    groups: Sequence[int] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    name: str = ""


PLAIN = Container()


class Language(Protocol):
    """What a wall's language has to say: the command lines, after whatever they need was written."""

    name: str
    is_oci: bool
    state: str

    def start_argv(self, container: Container, name: str, argv: Sequence[str], *, detach: bool) -> list[str]:
        """The command that starts a container."""

    def exec_argv(self, name: str, argv: Sequence[str], *, user: str) -> list[str]:
        """The command that runs one more program in it."""

    def remove_argv(self, name: str) -> list[str]:
        """The command that removes it, running or not; without an error when it does not exist."""

    def pid_of(self, name: str) -> int:
        """The host's number of its first process."""

    def leftovers(self) -> list[str]:
        """What the wall keeps about containers: nothing when there are none."""

    def undo(self) -> dict[str, list[str]]:
        """The commands for ``Place.remember``."""


class Wall:
    """A language, and the ways to use it that the checks share."""

    def __init__(self, language: Language, place: Place) -> None:
        self.language = language
        self.place = place
        self.is_root = os.geteuid() == 0
        place.remember(language.undo())

    @property
    def is_oci(self) -> bool:
        """Whether the wall is a runtime behind bundles, which does as config.json says."""
        return self.language.is_oci

    def run(
        self,
        *argv: str,
        container: Container = PLAIN,
        caller: Caller = NOBODY_SPECIAL,
        timeout_s: float = command.PATIENCE_S,
    ) -> Answer:
        """Start a container, wait for its end, remove it."""
        name = container.name or new_name()
        line = self.language.start_argv(container, name, argv, detach=False)
        answer = command.run(line, cwd=self.place.path, caller=caller, timeout_s=timeout_s)
        if answer.code != 0 and not container.name:
            self.remove(name)
        return answer

    def script(self, text: str, container: Container = PLAIN, caller: Caller = NOBODY_SPECIAL) -> Said:
        """Run a shell script in a container; the result tells whether it was started at all."""
        token = secrets.token_hex(8)
        answer = self.run("/bin/sh", "-c", f"echo {token}; {text}", container=container, caller=caller)
        return Said(answer, token)

    @contextmanager
    def running(
        self, script: str = "sleep 600", container: Container = PLAIN, caller: Caller = NOBODY_SPECIAL
    ) -> Iterator[Running]:
        """A container in the background. Raises: Unavailable when it does not start."""
        name = container.name or new_name()
        argv = ["/bin/sh", "-c", f"trap 'exit 0' TERM; ({script.strip()}) & wait"]
        line = self.language.start_argv(container, name, argv, detach=True)
        try:
            answer = command.run(line, cwd=self.place.path, caller=caller)
            if answer.code != 0:
                raise Unavailable("start", "a container in the background", answer.last_words)
            yield Running(self, name)
        finally:
            self.remove(name)

    def remove(self, name: str) -> Answer:
        """Remove a container, whatever its state."""
        return command.run(self.language.remove_argv(name), cwd=self.place.path)


class Said:
    """What a script in a container said, if it was started."""

    __slots__ = ("answer", "err", "out", "started")

    def __init__(self, answer: Answer, token: str) -> None:
        head, found, rest = answer.out.partition(f"{token}\n")
        self.answer = answer
        self.started = bool(found)
        self.out = rest if found else head
        self.err = answer.err

    @property
    def everything(self) -> str:
        """All that was written, by the container and by the wall."""
        return self.out + self.err


class Running:
    """A container that runs."""

    __slots__ = ("name", "wall")

    def __init__(self, wall: Wall, name: str) -> None:
        self.wall = wall
        self.name = name

    @property
    def pid(self) -> int:
        """The host's number of its first process."""
        return self.wall.language.pid_of(self.name)

    def exec(self, text: str, *, user: str = "", caller: Caller = NOBODY_SPECIAL) -> Said:
        """Run a shell script in it."""
        token = secrets.token_hex(8)
        argv = ["/bin/sh", "-c", f"echo {token}; {text}"]
        line = self.wall.language.exec_argv(self.name, argv, user=user)
        return Said(command.run(line, cwd=self.wall.place.path, caller=caller), token)


def new_name() -> str:
    """A container's name that nobody else uses."""
    return f"prove-{secrets.token_hex(6)}"


def quoted(*words: str) -> str:
    """Words for a shell."""
    return shlex.join(words)
