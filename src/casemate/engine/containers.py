"""The containers of one store, and one container: the verbs of its life."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from casemate.engine.engine import Engine
    from casemate.engine.life.logs import LogLine
    from casemate.engine.life.session import Session
    from casemate.engine.options import Attach, ContainerOptions, ExecOptions


class Containers:
    """Create, find and list containers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, image: str, options: ContainerOptions | None = None) -> Container:
        """A new container of ``image`` (pulled according to ``options.pull``), not started.

        Raises: NotFound (image, with pull "never"), AlreadyExists (name), Invalid (an option or the image's configuration).
        """
        raise NotImplementedError

    def get(self, reference: str) -> Container:
        """The container with this id, name or unambiguous id prefix. Raises NotFound, Conflict (ambiguous prefix)."""
        raise NotImplementedError

    def list(
        self,
        *,
        all: bool = False,  # noqa: A002 - docker's word
        filters: Mapping[str, Sequence[str]] | None = None,
        last: int = 0,
    ) -> list[Container]:
        """Running containers, newest first; ``all``: every one; ``last``: the newest N of every state.

        ``filters`` as docker's: id, name, label, status, exited, ancestor, before, since, volume, network. One query; waits for nobody.
        Raises: Invalid for an unknown filter.
        """
        raise NotImplementedError


class Container:
    """One container. ``id`` is 64 hex digits. Methods look at the present state, not at the state when this was made."""

    id: str
    name: str

    @property
    def state(self) -> str:
        """Present state: created, running, paused, exited, removing or dead."""
        raise NotImplementedError

    def start(self, attach: Attach | None = None) -> Session | None:
        """Start the program; with ``attach`` return its session, else None (detached; output goes to the log).

        Raises: ProgramNotFound (127), NotExecutable (126), Conflict (already running). A failed start of an auto-remove container removes it.
        """
        raise NotImplementedError

    def attach(self, attach: Attach) -> Session:
        """Join the streams of the running program. Raises Conflict when it does not run."""
        raise NotImplementedError

    def exec(
        self, argv: Sequence[str], options: ExecOptions | None = None, attach: Attach | None = None
    ) -> Session | None:
        """Run another program inside, behind the same wall; None when ``options.detach``.

        Raises: Conflict (not running, paused), ProgramNotFound, NotExecutable.
        """
        raise NotImplementedError

    def stop(self, timeout_s: float | None = None) -> None:
        """Stop signal, then SIGKILL after ``timeout_s`` (None: the container's own, default 10). Stopped already: success."""
        raise NotImplementedError

    def kill(self, signal: int | str = "KILL") -> None:
        """Send a signal to the program. Raises Conflict when it does not run, Invalid for an unknown signal."""
        raise NotImplementedError

    def wait(self) -> int:
        """Block until the program has ended and return its exit code (at once when it is not running)."""
        raise NotImplementedError

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove the container; ``force`` kills it first; ``volumes`` removes its anonymous volumes too.

        Raises: Conflict when it is running and not ``force``.
        """
        raise NotImplementedError

    def pause(self) -> None:
        """Freeze every process inside. Raises Conflict (not running, or paused already)."""
        raise NotImplementedError

    def unpause(self) -> None:
        """Thaw. Raises Conflict when it is not paused."""
        raise NotImplementedError

    def rename(self, name: str) -> None:
        """Give another name. Raises AlreadyExists, Invalid."""
        raise NotImplementedError

    def top(self) -> tuple[list[str], list[list[str]]]:
        """(column titles, rows) of the processes inside, with host ids, as ``docker top``."""
        raise NotImplementedError

    def stats(self) -> dict[str, Any]:
        """Present use of its control group, neutral keys (bytes, nanoseconds)."""
        raise NotImplementedError

    def logs(
        self,
        *,
        follow: bool = False,
        tail: int | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> Iterator[LogLine]:
        """Output so far, oldest first, in the pieces in which it was written; ``follow`` until the program ends."""
        raise NotImplementedError

    def inspect(self) -> dict[str, Any]:
        """Docker's inspect document."""
        raise NotImplementedError

    def summary(self) -> dict[str, str]:
        """Docker's ``ps`` row: ID, Names, Image, Command, CreatedAt, RunningFor, Status, State, Ports, Labels, Mounts, ..."""
        raise NotImplementedError
