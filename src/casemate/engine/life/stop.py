"""Signals, stopping, pausing, removing."""

from __future__ import annotations

import os
import time

from casemate.engine.life import locks
from casemate.engine.life.finish import cgroup_path, destroy, finish, settle
from casemate.engine.life.running import running_process
from casemate.engine.life.states import present_state
from casemate.engine.signals import signal_number
from casemate.errors import Conflict, NotFound, TimedOut, Unsupported
from casemate.kernel.lock import lock
from casemate.kernel.pidfd import pidfd_send_signal
from casemate.oci.quick_json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cgroups.manager import Cgroup
    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store

DEFAULT_STOP_TIMEOUT_S = 10.0
_KILL_WAIT_S = 10.0
_SIGKILL = 9
_RUNNING = ("running", "paused")


def kill_container(store: Store, row: ContainerRow, signal: int | str) -> None:
    """Send a signal to the program. Raises: Conflict when it does not run, Invalid for an unknown signal."""
    number = signal_number(signal)
    with running_process(store, row, "kill container", paused=True) as process:
        pidfd_send_signal(process.fileno(), number)
    if number == _SIGKILL and row.state == "paused":
        open_cgroup(store, row, "kill container").thaw()  # a frozen process cannot die in version 1


def stop_container(store: Store, row: ContainerRow, timeout_s: float | None) -> None:
    """The container's stop signal, then SIGKILL after the timeout; returns when the end has been recorded."""
    if present_state(store.paths, row).status not in _RUNNING:
        finish(store, row.id)
        return
    record = loads(row.config, what="container record")
    number = int(record["stop_signal"])
    if timeout_s is None:
        timeout_s = record["options"].get("stop_timeout_s", DEFAULT_STOP_TIMEOUT_S)
    if row.state == "paused":
        unpause_container(store, row)
    try:  # noqa: SIM105 - contextlib costs 1.5 ms
        kill_container(store, row, number)
    except Conflict:
        pass
    if timeout_s is not None and timeout_s < 0:
        timeout_s = None
    if not _wait_for_keeper(store, row, timeout_s):
        _kill_and_wait(store, row)
    finish(store, row.id)


def _kill_and_wait(store: Store, row: ContainerRow) -> None:
    try:  # noqa: SIM105 - contextlib costs 1.5 ms
        kill_container(store, row, _SIGKILL)
    except Conflict:
        pass
    if not _wait_for_keeper(store, row, _KILL_WAIT_S):
        raise TimedOut("kill container", row.name, f"it did not end within {_KILL_WAIT_S:.0f} s of SIGKILL")


def _wait_for_keeper(store: Store, row: ContainerRow, timeout_s: float | None) -> bool:
    """Wait until nobody is responsible for the container any more; False when time is up first."""
    found = locks.open_for_wait(store.paths, row.id)
    if found is None:
        return True
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with found:
        if not lock(found.fileno(), timeout_s, shared=True):
            return False
    present = present_state(store.paths, row)
    if present.status not in _RUNNING:
        return True
    # No keeper, but the program lives: its own descriptor tells.
    from casemate.kernel.pidfd import wait_ended

    try:
        with running_process(store, row, "stop container", paused=True) as process:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            return wait_ended(process.fileno(), left)
    except Conflict:
        return True


def remove_container(store: Store, row: ContainerRow, *, force: bool, volumes: bool) -> None:
    """Remove a container and everything of it. Raises: Conflict when it runs and not ``force``."""
    present = present_state(store.paths, row)
    if present.status in _RUNNING:
        if not force:
            raise Conflict(
                "remove container",
                row.name,
                f"container is {present.status}",
                hint=f"casemate stop {row.name}, or rm -f",
            )
        _kill_and_wait(store, row)
    held = locks.find_free(store.paths, row.id, timeout_s=DEFAULT_STOP_TIMEOUT_S)
    if held is None:
        raise Conflict("remove container", row.name, "another command is working on it")
    with held:
        try:
            row = store.containers.get(row.id)
        except NotFound:
            locks.remove(store.paths, row.id)
            return  # it was a --rm container, and has gone by itself
        if present_state(store.paths, row, is_ours=True).status in _RUNNING:
            raise Conflict("remove container", row.name, "it was started meanwhile")
        if row.state in {"running", "paused", "starting"}:
            row = settle(store, row, to_remove=True)
        destroy(store, row, held, volumes=volumes or row.auto_remove)


def open_cgroup(store: Store, row: ContainerRow, doing: str) -> Cgroup:
    """The control group of a running container.

    Raises: Conflict, Unsupported (rootless without delegation).
    """
    from casemate.cgroups.manager import open_manager

    running_process(store, row, doing, paused=True).close()
    manager = open_manager(rootless=os.geteuid() != 0)
    if manager.kind == "none":
        raise Unsupported(
            doing,
            row.name,
            "this user has no control groups of its own",
            hint="run it as root, or delegate cgroup v2",
        )
    return manager.open(cgroup_path(row.id))


def pause_container(store: Store, row: ContainerRow) -> None:
    """Freeze every process. Raises: Conflict, Unsupported."""
    if present_state(store.paths, row).status == "paused":
        raise Conflict("pause container", row.name, "it is already paused")
    open_cgroup(store, row, "pause container").freeze()
    store.containers.update(row.id, state="paused")


def unpause_container(store: Store, row: ContainerRow) -> None:
    """Thaw. Raises: Conflict."""
    if present_state(store.paths, row).status != "paused":
        raise Conflict("unpause container", row.name, "it is not paused")
    open_cgroup(store, row, "unpause container").thaw()
    store.containers.update(row.id, state="running")
