"""What a program gets from our command line (streams, descriptors, environment), and the pid file it is named in."""

from __future__ import annotations

import os

from casemate.errors import Invalid
from casemate.kernel.fd import Fd
from casemate.runtime.cli.record import write_file
from casemate.runtime.request import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.cli.args import Arguments

_FIRST_INHERITED = 3
_MOST = 0xFFFF  # rows or columns in a struct winsize


def announce(arguments: Arguments, pid: int) -> None:
    """Tell who asked for it which process it is: --pid-file, --pidfd-socket."""
    write_pid_file(arguments, pid)
    path = arguments.value("pidfd-socket")
    if path:
        from casemate.kernel.pidfd import pidfd_open
        from casemate.kernel.socket_fds import send_fds

        with connect_to(path) as connection, pidfd_open(pid) as pidfd:
            send_fds(connection.fileno(), b"pidfd", [pidfd.fileno()])


def write_pid_file(arguments: Arguments, pid: int) -> None:
    """Write --pid-file in one step, so that a reader never sees half a number."""
    path = arguments.value("pid-file")
    if path:
        temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
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
        console_size=(min(rows, _MOST), min(columns, _MOST)) if rows and columns else None,
        inherit=inherited_fds(arguments),
    )


def check_console(arguments: Arguments, *, terminal: bool, detached: bool) -> str:
    """Return the path of --console-socket, "" when the terminal stays with us or there is none. Raises: Invalid."""
    path = arguments.value("console-socket")
    if detached and terminal and not path:
        raise Invalid(
            "hand the terminal over", "process.terminal", "it is true, and --console-socket is missing"
        )
    if path and not (detached and terminal):
        raise Invalid(
            "hand the terminal over", "--console-socket", "there is no terminal, or nobody detaches from it"
        )
    return path


def connect_to(path: str) -> Fd:
    """Return a connection to a stream socket of the caller. Raises: OSError."""
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
        return Fd(os.dup(connection.fileno()))
    finally:
        connection.close()


def inherited_fds(arguments: Arguments) -> list[int]:
    """Return the descriptors that the program shall have: --preserve-fds N, and those of socket activation."""
    count = arguments.number("preserve-fds")
    if os.environ.get("LISTEN_FDS", "").isdigit():
        count += int(os.environ["LISTEN_FDS"])
    return list(range(_FIRST_INHERITED, _FIRST_INHERITED + count))


def add_environment(spec: dict[str, Any], process: dict[str, Any], root: str) -> None:
    """Add HOME, as programs expect it, and LISTEN_FDS of our caller, to the program's environment."""
    env = process.setdefault("env", [])
    if not isinstance(env, list):
        raise Invalid("read process.env", "", "it is not a list")
    if not any(str(item).startswith("HOME=") for item in env):
        from casemate.runtime.passwd import find_home

        env.append(f"HOME={find_home(root, (process.get('user') or {}).get('uid', 0))}")
    if os.environ.get("LISTEN_FDS", "").isdigit():
        env += [f"LISTEN_FDS={os.environ['LISTEN_FDS']}", "LISTEN_PID=1"]
    del spec
