"""Repair after killed processes.

What is half-made is removed, what ended unseen is settled, what runs is left alone.

The cheap part runs at every opening and is one query when nothing is wrong: only rows in a state for which
somebody alive should be
responsible are looked at, and for each of them the lock says whether somebody is. The thorough part runs once
a boot (after a power cut the
last transactions may be missing, never the other way round): directories and ranges without a row are
removed.
"""

from __future__ import annotations

import os
import time

from casemate.engine.life import locks
from casemate.engine.life.states import ACTIVE, container_dir, is_alive, read_exit, read_pid
from casemate.errors import CasemateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.kernel.fd import Fd
    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store

_MARK = "swept"
_ID_LENGTH = 64
ABANDONED_S = 60.0
"""Nobody takes so long to delete what a container wrote; if somebody does, two delete."""


def recover(store: Store) -> list[str]:
    """Repair what needs it; one line for each thing done."""
    done: list[str] = []
    for row in store.containers.list(ACTIVE):
        if locks.is_held(store.paths, row.id):
            if row.state == "starting":
                done += _adopt(store, row)
            continue
        held = locks.find_free(store.paths, row.id)
        if held is None:
            continue
        with held:
            try:
                done += _repair(store, row.id, held)
            except (CasemateError, OSError) as error:  # one broken container must not stop every command
                done.append(f"container {row.name}: cannot be repaired: {error}")
    for path in locks.iter_litter(store.paths):
        if locks.remove_litter(path):
            done.append(f"lock {os.path.basename(path)[:12]}: removed, nobody holds it")
    done += _empty_old_trash(store)
    done += _sweep_once_a_boot(store)
    return done


def _empty_old_trash(store: Store) -> list[str]:
    """Delete what a killed remover has put out of sight; what is fresh is being deleted at this moment."""
    trash = f"{store.paths.overlay}/trash"
    try:
        old = [name for name in os.listdir(trash) if _age_s(f"{trash}/{name}") > ABANDONED_S]
    except FileNotFoundError:
        return []  # a new store
    if not old:
        return []
    store.snapshots.empty_trash()
    return [f"{len(old)} directories that somebody had begun to delete: deleted"]


def _age_s(path: str) -> float:
    """Seconds since an entry was moved where it is; nothing when it is gone."""
    try:
        return time.time() - os.stat(path, follow_symlinks=False).st_ctime
    except FileNotFoundError:
        return 0.0


def _adopt(store: Store, row: ContainerRow) -> list[str]:
    """Whoever started this was killed after its keeper had taken over.

    Record the process that the keeper wrote down.
    """
    from casemate.kernel.procfs import boot_id, parent_pid, start_time

    pid = read_pid(store.paths, row.id)
    started = start_time(pid) if pid else None
    if started is None or parent_pid(pid) is None or row.pid:
        return []
    store.containers.update(row.id, state="running", pid=pid, start_time=started, boot_id=boot_id())
    return [f"container {row.name}: its start had not been recorded"]


def _repair(store: Store, container_id: str, held: Fd) -> list[str]:
    """Bring one container, whose lock we hold, to a state for which nobody has to be responsible."""
    from casemate.engine.life.finish import destroy, remove_cgroup, remove_socket, settle

    row = store.containers.find(container_id)
    if row is None or row.state not in ACTIVE:
        if row is None:
            locks.remove(store.paths, container_id)
        return []
    if row.state in {"running", "paused", "starting"}:
        if not row.pid:
            row.pid = read_pid(store.paths, row.id)
        if read_exit(store.paths, row.id) is None and row.state != "starting" and is_alive(row):
            return []  # both keepers were killed, the program lives on
        remove_cgroup(row.id)
        remove_socket(store, row.id)
        row.pid = 0 if row.state == "starting" and read_exit(store.paths, row.id) is None else row.pid
        row = settle(store, row, to_remove=row.auto_remove)
        if not row.auto_remove:
            return [f"container {row.name}: recorded its end"]
    destroy(store, row, held, volumes=row.auto_remove or row.state == "creating")
    return [f"container {row.name}: removed what was left of it"]


def _sweep_once_a_boot(store: Store) -> list[str]:
    """The thorough part, when this boot has not seen it yet (the run directory is new)."""
    mark = f"{store.paths.run_root}/{_MARK}"
    try:
        os.close(os.open(mark, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        pass
    else:
        return []
    done = sweep(store)
    os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return done


def sweep(store: Store) -> list[str]:
    """Remove directories, roots and ranges that no row accounts for.

    Safe beside others: rows are written first and deleted last.
    """
    from casemate.engine.life.trees import remove_tree

    done = []
    found = _names(store.paths.containers)
    roots = set(store.snapshots.roots())
    ranges = store.ranges.holders()
    # Listed before the rows are read: what is made after this has its row already.
    known = {row.id for row in store.containers.list()}
    for name in sorted(found - known):
        remove_tree(container_dir(store.paths, name))
        done.append(f"directory of container {name[:12]}: removed, nobody knows it")
    for holder in sorted((roots | ranges) - known):
        store.snapshots.remove_root(holder)  # first: its files may carry the ids
        store.ranges.release(holder)
        done.append(f"root and ids of container {holder[:12]}: removed, nobody knows it")
    return done


def _names(directory: str) -> set[str]:
    try:
        return {
            name
            for name in os.listdir(directory)
            if len(name) == _ID_LENGTH and not name.strip("0123456789abcdef")
        }
    except FileNotFoundError:
        return set()
