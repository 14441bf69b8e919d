"""The containers of one store, and one container: the verbs of its life."""

from __future__ import annotations

from casemate.engine.life.states import container_dir, present_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from casemate.engine.engine import Engine
    from casemate.engine.life.logs import LogLine
    from casemate.engine.life.session import Session
    from casemate.engine.options import Attach, ContainerOptions, ExecOptions
    from casemate.kernel.fd import Fd
    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store


_UP = ("running", "paused")


class Containers:
    """Create, find and list containers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(
        self, image: str, options: ContainerOptions | None = None, *, to_start: bool = False
    ) -> Container:
        """A new container of ``image`` (pulled according to ``options.pull``), not started.

        ``to_start``: the caller starts it next (``run``): if it is killed before that, the container goes
        too.

        Raises: NotFound (image, with pull "never"), AlreadyExists (name), Invalid (an option or the image's
        configuration).
        """
        from casemate.engine.life.create import create_container
        from casemate.engine.options import ContainerOptions
        from casemate.engine.spec.process import own_ids

        options = options or ContainerOptions()
        if options.userns == "keep-id" and options.user is None:
            options.user = own_ids()
        found = (
            None
            if options.rootfs
            else self._engine.images.ensure(image, options.pull, platform=options.platform)
        )
        row, lock = create_container(
            self._engine.store, options, image=found, image_name=image, to_start=to_start
        )
        return Container(self._engine.store, row, lock)

    def get(self, reference: str) -> Container:
        """The container with this id, name or unambiguous id prefix.

        Raises NotFound, Conflict (ambiguous prefix).
        """
        return Container(self._engine.store, self._engine.store.containers.get(reference.removeprefix("/")))

    def list(
        self,
        *,
        all: bool = False,  # noqa: A002 - docker's word
        filters: Mapping[str, Sequence[str]] | None = None,
        last: int = 0,
    ) -> list[Container]:
        """Running containers, newest first; ``all``: every one; ``last``: the newest N of every state.

        ``filters`` as docker's: id, name, label, status, exited, ancestor, before, since, volume, network.
        One query; waits for nobody.
        Raises: Invalid for an unknown filter.
        """
        store = self._engine.store
        everything = all or last > 0 or bool(filters and ("status" in filters or "exited" in filters))
        rows = store.containers.list(None if everything else ("running", "paused", "starting", "removing"))
        found = [Container(store, row) for row in rows]
        if not everything:
            found = [
                container for container in found if present_state(store.paths, container.row).status in _UP
            ]
        if filters:
            from casemate.engine.show.filters import matching

            found = matching(found, filters)
        return found[:last] if last > 0 else found


class Container:
    """One container.

    ``id`` is 64 hex digits. Methods look at the present state, not at the state when this was made.
    """

    __slots__ = ("_lock", "_row", "_store", "id", "name")

    def __init__(self, store: Store, row: ContainerRow, lock: Fd | None = None) -> None:
        self._store = store
        self._lock = lock
        self._row = row
        self.id = row.id
        self.name = row.name

    @property
    def row(self) -> ContainerRow:
        """The stored row as it was when this object was made or last acted."""
        return self._row

    @property
    def state(self) -> str:
        """Present state: created, running, paused, exited, removing or dead."""
        row = self._store.containers.find(self.id)
        return "removing" if row is None else present_state(self._store.paths, row).status

    def _fresh(self) -> ContainerRow:
        self._row = self._store.containers.get(self.id)
        return self._row

    def _look_again(self) -> None:
        """After a verb: the row as it is now; the last known one when the container has gone."""
        self._row = self._store.containers.find(self.id) or self._row

    def start(self, attach: Attach | None = None, *, explain: bool = False) -> Session | None:
        """Start the program; with ``attach`` return its session, else None (detached.

        Output goes to the log). ``explain``: this run is watched, for ``why``.

        Raises: ProgramNotFound (127), NotExecutable (126), Conflict (already running). A failed start of an
        auto-remove container removes it.
        """
        from casemate.engine.life.finish import finish
        from casemate.engine.life.start import start_container

        row = self._fresh()
        lock, self._lock = self._lock, None
        try:
            session = start_container(self._store, row, attach, lock=lock, explain=explain)
        except BaseException:
            if row.auto_remove:
                self._store.containers.update(row.id, state="removing", durable=False)
                finish(self._store, row.id)
            raise
        self._look_again()
        if attach is None:
            session.close()
            return None
        return session

    def attach(self, attach: Attach) -> Session:
        """Join the streams of the running program. Raises Conflict when it does not run."""
        from casemate.engine.life.attach import attach_to_container

        return attach_to_container(self._store, self._fresh(), attach)

    def exec(
        self, argv: Sequence[str], options: ExecOptions | None = None, attach: Attach | None = None
    ) -> Session | None:
        """Run another program inside, behind the same wall; None when ``options.detach``.

        Raises: Conflict (not running, paused), ProgramNotFound, NotExecutable.
        """
        from casemate.engine.life.exec import exec_in_container
        from casemate.engine.options import ExecOptions

        options = options or ExecOptions()
        session = exec_in_container(self._store, self._fresh(), argv, options, attach)
        if options.detach:
            session.close()
            return None
        return session

    def stop(self, timeout_s: float | None = None) -> None:
        """Stop signal, then SIGKILL after ``timeout_s`` (None: the container's own, default 10).

        Stopped already: success.
        """
        from casemate.engine.life.stop import stop_container

        stop_container(self._store, self._fresh(), timeout_s)
        self._look_again()

    def kill(self, signal: int | str = "KILL") -> None:
        """Send a signal to the program.

        Raises Conflict when it does not run, Invalid for an unknown signal.
        """
        from casemate.engine.life.stop import kill_container

        kill_container(self._store, self._fresh(), signal)
        self._look_again()

    def wait(self) -> int:
        """Block until the program has ended and return its exit code (at once when it is not running)."""
        from casemate.engine.life.finish import finish, wait_for_end

        code = wait_for_end(self._store, self.id)
        finish(self._store, self.id)
        self._look_again()
        return code

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove the container; ``force`` kills it first; ``volumes`` removes its anonymous volumes too.

        Raises: Conflict when it is running and not ``force``.
        """
        from casemate.engine.life.stop import remove_container

        remove_container(self._store, self._fresh(), force=force, volumes=volumes)

    def pause(self) -> None:
        """Freeze every process inside.

        Raises Conflict (not running, or paused already), Unsupported (no freezer).
        """
        from casemate.engine.life.stop import pause_container

        pause_container(self._store, self._fresh())
        self._look_again()

    def unpause(self) -> None:
        """Thaw. Raises Conflict when it is not paused."""
        from casemate.engine.life.stop import unpause_container

        unpause_container(self._store, self._fresh())
        self._look_again()

    def rename(self, name: str) -> None:
        """Give another name. Raises AlreadyExists, Invalid."""
        from casemate.engine.names import check_name

        self._store.containers.update(self.id, name=check_name(name))
        self.name = self._fresh().name

    def top(self) -> tuple[list[str], list[list[str]]]:
        """(column titles, rows) of the processes inside, with host ids, as ``docker top``.

        Raises Conflict.
        """
        from casemate.engine.show.processes import list_processes

        return list_processes(self._store, self._fresh())

    def stats(self) -> dict[str, Any]:
        """Present use of its control group, neutral keys (bytes, nanoseconds).

        Raises Conflict when it does not run.
        """
        from casemate.engine.life.stop import open_cgroup

        return open_cgroup(self._store, self._fresh(), "read usage").stats()

    def logs(
        self,
        *,
        follow: bool = False,
        tail: int | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> Iterator[LogLine]:
        """Output so far, oldest first, in the pieces in which it was written.

        ``follow`` until the program ends.
        """
        from casemate.engine.life.logs import read_log

        return read_log(
            container_dir(self._store.paths, self.id),
            is_running=self.is_running,
            follow=follow,
            tail=tail,
            since_ns=since_ns,
            until_ns=until_ns,
        )

    def is_running(self) -> bool:
        """Whether the program runs (or is paused) at this moment; False for a container that is gone."""
        row = self._store.containers.find(self.id)
        return row is not None and present_state(self._store.paths, row).status in _UP

    def inspect(self) -> dict[str, Any]:
        """Docker's inspect document; what widens the default wall is listed under "Casemate"."""
        from casemate.engine.show.container import inspect_container

        return inspect_container(self._store, self._fresh())

    def why(self, *, watch_s: float | None = None) -> dict[str, Any]:
        """Which rule made the program fail, as a document: Findings with Rule, What, Call, Count, First, Last, Allow.

        Of a run that was not started with ``explain``: what its end, its control group and its output tell.
        ``watch_s``: watch the running program for so long first, or until it ends.
        Raises: Conflict (``watch_s``, and it does not run), Denied (it may not be watched).
        """
        from casemate.engine.why.explain import explain

        row = self._fresh()
        if watch_s is not None:
            from casemate.engine.why.watch import watch_running

            watch_running(self._store, row, watch_s)
        return explain(self._store, row)

    def summary(self) -> dict[str, str]:
        """Docker's ``ps`` row.

        ID, Names, Image, Command, CreatedAt, RunningFor, Status, State, Ports, Labels, Mounts, ...
        """
        from casemate.engine.show.rows import summarize

        return summarize(self._store, self._row)
