"""The program of a running container, as a descriptor that can be no other process."""

from __future__ import annotations

from casemate.engine.life.states import present_state
from casemate.errors import Conflict
from casemate.kernel.pidfd import open_same, pidfd_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.kernel.fd import Fd
    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store


def running_process(store: Store, row: ContainerRow, doing: str, *, paused: bool = False) -> Fd:
    """A descriptor of the running program.

    Raises: Conflict when it does not run, or is paused and ``paused`` is False.
    """
    present = present_state(store.paths, row)
    if present.status == "paused" and not paused:
        raise Conflict(doing, row.name, "container is paused", hint=f"casemate unpause {row.name}")
    found = None
    if present.status in {"running", "paused"} and present.pid:
        # While a start is being recorded only the keeper's pid file names the process.
        found = open_same(present.pid, row.start_time) if row.pid else pidfd_open(present.pid)
    if found is None:
        raise Conflict(doing, row.name, "container is not running", hint=f"casemate start {row.name}")
    return found
