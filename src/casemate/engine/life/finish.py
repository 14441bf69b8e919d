"""The end of a container: its exit written into its row, and everything that belonged to it removed.

Every step is idempotent, and the row goes last: whoever dies half-way leaves a row that says what is to be
done again.
"""

from __future__ import annotations

import os
import time

from casemate.engine.life import locks
from casemate.engine.life.states import ACTIVE, container_dir, present_state, read_exit
from casemate.engine.life.trees import remove_tree
from casemate.errors import Exhausted, NotFound
from casemate.kernel.lock import lock
from casemate.oci.quick_json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.kernel.fd import Fd
    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store

_WAIT_FOR_KEEPER_S = 5.0


def cgroup_path(container_id: str) -> str:
    """Where a container's control group is.

    Below the root as root, below what is delegated to us as a user.
    """
    return f"/casemate/{container_id}" if os.geteuid() == 0 else f"casemate/{container_id}"


def settle(store: Store, row: ContainerRow, *, to_remove: bool = False) -> ContainerRow:
    """Write into the row how the program ended; with ``to_remove`` that it is being removed, in the same step.

    The caller holds the lock, so nobody alive is responsible any more.
    """
    present = read_exit(store.paths, row.id) or present_state(store.paths, row, is_ours=True)
    if row.state == "starting" and not row.pid and present.status != "exited":
        row.state = "exited" if row.finished_ns else "created"  # the start never reached the program
    else:
        row.state = "removing" if to_remove else "exited"
        row.exit_code = present.exit_code
        row.finished_ns = present.finished_ns or time.time_ns()
    row.pid = 0
    try:
        store.containers.update(
            row.id,
            state=row.state,
            pid=0,
            exit_code=row.exit_code,
            finished_ns=row.finished_ns,
            durable=not row.auto_remove,
        )
    except Exhausted:
        if not to_remove:
            raise
        row.state = "removing"  # on a full disk nothing can be written before its files have made room
    return row


def finish(
    store: Store, container_id: str, *, timeout_s: float = _WAIT_FOR_KEEPER_S, in_passing: bool = False
) -> None:
    """After the program's end: settle the row, or remove an auto-remove container (``in_passing``: see ``destroy``).

    Somebody else doing it is success.
    """
    held = locks.find_free(store.paths, container_id, timeout_s=timeout_s)
    if held is None:
        return
    with held:
        row = store.containers.find(container_id)
        if row is None or row.id != container_id:
            locks.remove(store.paths, container_id)
            return
        if row.state in {"running", "paused", "starting"}:
            try:
                row = settle(store, row, to_remove=row.auto_remove)
            except Exhausted:
                return  # the disk is full: the exit record stays, and the next command that can writes the row
        if row.auto_remove and row.state in {"exited", "removing"}:
            destroy(store, row, held, volumes=True, in_passing=in_passing)


def destroy(store: Store, row: ContainerRow, held: Fd, *, volumes: bool, in_passing: bool = False) -> None:
    """Remove everything of a container that does not run; the caller holds its lock.

    ``in_passing``: this process ends now, and the container's files, out of sight and with their ids out of use, are
    deleted behind its back: a disk that discards freed blocks may take 2 ms for each directory.
    """
    if row.state != "removing":
        try:
            store.containers.update(row.id, state="removing", durable=False)
        except Exhausted:
            row.state = "removing"  # the same
    remove_cgroup(row.id)
    remove_socket(store, row.id)
    directory = container_dir(store.paths, row.id)
    litter = []
    if in_passing and os.geteuid() == 0:
        litter = store.snapshots.discard_root(row.id, directory)
    else:
        store.snapshots.remove_root(row.id)
        remove_tree(directory)
    if volumes and '"anonymous":true' in row.config:
        _remove_volumes(store, row)
    locks.leave_exit_code(held.fileno(), row.exit_code)
    locks.retire(store.paths, row.id)
    try:
        store.containers.remove(
            row.id, durable=not row.auto_remove
        )  # and its ids, which no file carries any more
    except Exhausted:
        if not litter:
            raise
        store.snapshots.empty_trash()  # the disk is full of what was only put out of sight
        litter = []
        store.containers.remove(row.id, durable=not row.auto_remove)
    locks.remove(store.paths, row.id)
    if litter and not _delete_behind(litter):
        store.snapshots.empty_trash()


def _delete_behind(paths: list[str]) -> bool:
    """Start deleting ``paths`` in a process of its own that keeps nothing of ours open; False when there is no rm.

    What it is kept from doing recovery does later. The caller must end soon: nobody waits for the child.
    """
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in range(3)]
    try:
        os.posix_spawn("/bin/rm", ["rm", "-rf", "--", *paths], {}, file_actions=null, setpgroup=0)
    except OSError:
        return False
    return True


def remove_cgroup(container_id: str) -> None:
    """Kill what is left in the control group and remove it; absent is success."""
    from casemate.cgroups.manager import open_manager

    try:
        cgroup = open_manager(rootless=os.geteuid() != 0).open(cgroup_path(container_id))
    except NotFound:
        return  # its keeper has removed it
    if cgroup.pids():
        cgroup.kill()
    cgroup.remove()


def remove_socket(store: Store, container_id: str) -> None:
    """Remove the socket that callers attached by."""
    try:
        os.unlink(f"{store.paths.run_root}/attach/{container_id}")
    except FileNotFoundError:
        return


def _remove_volumes(store: Store, row: ContainerRow) -> None:
    from casemate.engine.volumes import remove_anonymous

    remove_anonymous(store, loads(row.config, what="container record"))


def wait_for_end(store: Store, container_id: str) -> int:
    """Block until the program has ended and its keeper has written everything; its exit code.

    The keeper holds the container's lock, so that waiting for its end is one blocking flock(2). A container
    that was removed
    meanwhile left its code in the lock's file.
    """
    row = store.containers.get(container_id)
    if row.state not in ACTIVE:
        return row.exit_code
    found = locks.open_for_wait(store.paths, container_id)
    if found is None:
        return store.containers.get(container_id).exit_code
    with found:
        lock(found.fileno(), shared=True)
        left = locks.read_exit_code(found.fileno())
        if left is not None:
            return left
        # While we share the lock nobody can be removing it: what is read now belongs together.
        found_row = store.containers.find(container_id)
        if found_row is None:
            return 0
        present = present_state(store.paths, found_row, is_ours=True)
    if present.status in {"running", "paused"}:
        return _wait_without_keeper(store, found_row)
    return present.exit_code


def _wait_without_keeper(store: Store, row: ContainerRow) -> int:
    """Both keepers were killed: the program's own descriptor still tells when it ends, though not how."""
    from casemate.kernel.pidfd import open_same, wait_ended

    found = open_same(row.pid, row.start_time)
    if found is not None:
        with found:
            wait_ended(found.fileno())
    return present_state(store.paths, store.containers.get(row.id)).exit_code
