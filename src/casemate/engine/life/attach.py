"""Joining the streams of a program that runs already."""

from __future__ import annotations

import os

from casemate.engine.life.finish import finish, wait_for_end
from casemate.engine.life.running import running_process
from casemate.engine.life.session import Session
from casemate.engine.life.states import present_state
from casemate.errors import Conflict, Unavailable
from casemate.kernel.fd import Fd
from casemate.kernel.libc import KernelError
from casemate.kernel.procfs import start_time
from casemate.kernel.socket_fds import connect_seqpacket, recv_fds, send_fds
from casemate.oci.quick_json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.engine.options import Attach
    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store


def attach_to_container(store: Store, row: ContainerRow, attach: Attach) -> Session:
    """The session of one more caller: what the program writes from now on also goes to its descriptors.

    Raises: Conflict (not running), Unavailable (its keeper was killed).
    """
    running_process(store, row, "attach to container").close()
    tty = bool(loads(row.config, what="container record")["tty"])
    connection = _connect(store, row)
    null = Fd(os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC))
    with null:
        out = null.fileno() if attach.stdout_fd is None else attach.stdout_fd
        err = null.fileno() if attach.stderr_fd is None else attach.stderr_fd
        send_fds(connection.fileno(), b"A", [out] if tty else [out, err])
    _, received = recv_fds(connection.fileno(), 1, 1)
    stdin = received.pop(0) if received and attach.stdin else None
    for extra in received:
        extra.close()
    pid = present_state(store.paths, row).pid

    def wait() -> int:
        code = wait_for_end(store, row.id)
        connection.close()
        finish(store, row.id)
        return code

    return Session(
        pid=pid,
        start_time=start_time(pid) or 0,
        wait=wait,
        close=connection.close,
        stdin=stdin,
        is_terminal=tty,
    )


def _connect(store: Store, row: ContainerRow) -> Fd:
    try:
        place = Fd(os.open(f"{store.paths.run_root}/attach", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        with place:
            return connect_seqpacket(place.fileno(), row.id)
    except FileNotFoundError:
        raise Conflict("attach to container", row.name, "it has no streams to attach to") from None
    except KernelError as error:
        raise Unavailable("attach to container", row.name, f"its keeper does not answer: {error}") from None
