"""`create`: everything but executing the program; it waits at a FIFO for `start`."""

from __future__ import annotations

import os

from casemate.errors import Invalid
from casemate.kernel.fd import Fd
from casemate.runtime.cli.args import parse
from casemate.runtime.cli.bundle import (
    CREATE_OPTIONS,
    CREATE_SHORT,
    add_environment,
    inherited_fds,
    open_bundle,
    prepare,
    request_for,
    undo,
)
from casemate.runtime.cli.main import warn
from casemate.runtime.cli.record import write_file
from casemate.runtime.container import KeeperOptions, Stdio, start_container
from casemate.runtime.plan import LEAVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.cli.args import Arguments
    from casemate.runtime.cli.bundle import Bundle
    from casemate.runtime.cli.main import Settings
    from casemate.runtime.container import Running


def create(settings: Settings, words: list[str]) -> int:
    """Make a container; its process waits for `start`."""
    bundle = open_bundle(settings, parse(words, CREATE_OPTIONS, CREATE_SHORT))
    create_container(bundle)
    return 0


def create_container(bundle: Bundle) -> None:
    """Prepare, start up to the gate, and write the pid file; undo everything when that fails."""
    done = False
    try:
        prepare(bundle)
        os.mkfifo(bundle.record.fifo, 0o600)
        running = _start_to_gate(bundle)
        warn(bundle.settings, bundle.notes + running.notes)
        write_pid_file(bundle.arguments, running.pid)
        done = True
    finally:
        if not done and hasattr(bundle, "record"):
            undo(bundle)


def _start_to_gate(bundle: Bundle) -> Running:
    gate = os.open(bundle.record.fifo, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    console = connect_console(bundle.arguments, wanted=bool(bundle.spec["process"].get("terminal")))
    try:
        stdio = direct_stdio(bundle.arguments, bundle.spec["process"], console)
        add_environment(bundle.spec, bundle.spec["process"], bundle.rootfs)
        request = request_for(
            bundle, stdio, keeper=KeeperOptions(mode=LEAVE), gate_fd=gate, hooks=child_hook(bundle)
        )
        return start_container(request)
    finally:
        os.close(gate)
        if console is not None:
            console.close()


def child_hook(bundle: Bundle) -> Any:
    """Return what is called while the child waits: its pid is stored first, then the hooks run."""

    def run(pid: int) -> None:
        bundle.record.set_child(pid)
        hooks = bundle.spec.get("hooks") or {}
        if hooks.get("prestart") or hooks.get("createRuntime"):
            from casemate.runtime.cli.hooks import run_create_hooks

            state = bundle.record.state() | {"pid": pid, "status": "creating"}
            run_create_hooks(bundle.spec, state)

    return run


def write_pid_file(arguments: Arguments, pid: int) -> None:
    """Write --pid-file in one step, so that a reader never sees half a number."""
    path = arguments.value("pid-file")
    if path:
        temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}")
        write_file(temporary, str(pid).encode(), 0o644)
        os.rename(temporary, path)


def direct_stdio(arguments: Arguments, process: dict[str, Any], console: Fd | None) -> Stdio:
    """Return the streams of this process for the program, or its terminal."""
    size = process.get("consoleSize") or {}
    rows, columns = size.get("height") or 0, size.get("width") or 0
    return Stdio(
        tty=bool(process.get("terminal")),
        stdin=0,
        stdout_fd=1,
        stderr_fd=2,
        console_socket=None if console is None else console.fileno(),
        console_size=(rows, columns) if rows and columns else None,
        inherit=inherited_fds(arguments),
    )


def connect_console(arguments: Arguments, *, wanted: bool) -> Fd | None:
    """Return a connection to --console-socket, None when there is no terminal. Raises: Invalid when one lacks the other."""
    path = arguments.value("console-socket")
    if wanted and not path:
        raise Invalid(
            "create container", "process.terminal", "--console-socket is needed to hand the terminal over"
        )
    if not wanted:
        if path:
            raise Invalid("create container", "--console-socket", "process.terminal is false")
        return None
    return connect_to(path)


def connect_to(path: str) -> Fd:
    """Return a connection to a stream socket of the caller. Raises: OSError."""
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
        return Fd(os.dup(connection.fileno()))
    finally:
        connection.close()
