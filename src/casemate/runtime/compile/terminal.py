"""Standard streams: direct descriptors, pipes to the keeper, or a terminal of the container's own devpts.

The console is the slave that the kernel gives for our master (TIOCGPTPEER), never a path below the container's /dev.
"""

from __future__ import annotations

import os
import stat

from casemate.errors import Invalid
from casemate.kernel.const.magic import DEVPTS_SUPER_MAGIC
from casemate.kernel.const.mount import OPEN_TREE_CLONE
from casemate.kernel.const.openat2 import AT_EMPTY_PATH
from casemate.kernel.socket_fds import socketpair_seqpacket
from casemate.runtime.ops import KEEP_PTY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.kernel.fd import Fd
    from casemate.runtime.compile.build import Build

_FILE = 2
_NOT_CHANGED = 0xFFFFFFFF
_FIRST_INHERITED = 3


class Streams:
    """What stays with the starter: the writing end of stdin, the socket that brings the terminal's master, the slave's slot."""

    __slots__ = ("master_socket", "slave", "stdin_writer")

    def __init__(self) -> None:
        self.stdin_writer: Fd | None = None
        self.master_socket: Fd | None = None
        self.slave = -1


def add_terminal(build: Build, streams: Streams, *, console: bool, relayed: bool) -> None:
    """Compile the terminal while the host's mounts are still there; ``console`` mounts it at /dev/console too."""
    if not build.stdio.tty:
        return
    pts = build.pts
    if pts < 0:
        pts = build.target("/dev/pts", 0, meaning="open the container's /dev/pts")
        build.inside("EXPECT_FS", pts, DEVPTS_SUPER_MAGIC, meaning="verify the container's /dev/pts")
    master, slave = build.slot(), build.slot()
    build.inside("PTMX", master, pts, meaning="make a terminal")
    build.inside("PTY_PEER", slave, master, meaning="open the terminal")
    if build.stdio.console_size:
        rows, columns = build.stdio.console_size
        build.inside("WINSIZE", master, rows, columns, meaning="set the window size")
    uid = (build.process.get("user") or {}).get("uid", 0)
    if uid:
        build.inside("FCHOWN", slave, uid, _NOT_CHANGED, meaning="give the terminal to the user")
    if console:
        _add_console(build, slave)
    _hand_over(build, streams, master, relayed=relayed)
    streams.slave = slave


def _add_console(build: Build, slave: int) -> None:
    meaning = "mount the terminal at /dev/console"
    tree = build.slot()
    build.inside("OPEN_TREE", tree, slave, None, OPEN_TREE_CLONE | AT_EMPTY_PATH, meaning=meaning)
    target = build.target("/dev/console", _FILE, meaning=meaning, mode=0o600)
    build.inside("MOVE_MOUNT", tree, target, meaning=meaning)


def _hand_over(build: Build, streams: Streams, master: int, *, relayed: bool) -> None:
    """Send the master to the console socket, or to us and, when it relays, to the keeper."""
    if build.stdio.console_socket is not None:
        socket = build.plan.slot_of(build.stdio.console_socket, owned=False, label="console socket")
        build.inside(
            "SEND_FD", socket, master, "/dev/pts/ptmx", meaning="send the terminal to the console socket"
        )
        return
    if relayed:
        build.inside("KEEP_FD", master, KEEP_PTY, meaning="hand the terminal to the keeper")
    streams.master_socket, theirs = socketpair_seqpacket()
    socket = build.plan.slot_of(theirs.detach(), owned=True, label="terminal socket")
    build.inside("SEND_FD", socket, master, "tty", meaning="hand the terminal over")


def add_streams(build: Build, streams: Streams, *, relayed: bool) -> None:
    """Compile a new session and descriptors 0, 1, 2 and those to inherit."""
    build.inside("SETSID", meaning="start a session")
    if build.stdio.tty:
        build.inside("CTTY", streams.slave, meaning="make the terminal the controlling one")
        for number in range(3):
            build.inside("STDIO", streams.slave, number, meaning="use the terminal")
    else:
        _add_plain(build, streams, relayed=relayed)
    for number, fd in enumerate(build.stdio.inherit, start=_FIRST_INHERITED):
        slot = build.plan.slot_of(fd, owned=False, label=f"inherited {number}")
        build.inside("INHERIT", slot, number, meaning=f"inherit descriptor {number}")


def _add_plain(build: Build, streams: Streams, *, relayed: bool) -> None:
    stdio = build.stdio
    build.inside("STDIO", _stdin(build, streams, relayed=relayed), 0, meaning="connect standard input")
    for number, fd in ((1, stdio.stdout_fd), (2, stdio.stderr_fd)):
        client = stdio.client_out if number == 1 else stdio.client_err
        if relayed:
            slot = _relayed_output(build, number)
        elif (fd if fd is not None else client) is not None:
            found = fd if fd is not None else client
            slot = _direct(build, found, label=f"output {number}")
        else:
            slot = build.plan.slot_of(
                os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC), owned=True, label="/dev/null"
            )
        build.inside("STDIO", slot, number, meaning=f"connect standard output {number}")


def _stdin(build: Build, streams: Streams, *, relayed: bool) -> int:
    from casemate.kernel.fd import Fd

    wanted = build.stdio.stdin
    if isinstance(wanted, int):
        return _direct(build, wanted, label="input")
    if wanted == "null":
        return build.plan.slot_of(
            os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), owned=True, label="/dev/null in"
        )
    if wanted != "pipe":
        raise Invalid("connect standard input", wanted, 'it is "null", "pipe" or a descriptor')
    reader, writer = os.pipe2(os.O_CLOEXEC)
    _own(build, reader)
    streams.stdin_writer = Fd(writer)
    if relayed:
        slot = build.plan.slot_of(os.dup(writer), owned=True, label="stdin writer")
        setattr(build.plan.keeper, "stdin_w", slot)  # noqa: B010 - the keeper sets its slots by name
    return build.plan.slot_of(reader, owned=True, label="stdin reader")


def _relayed_output(build: Build, number: int) -> int:
    """Return the slot of the writing end of a pipe that the keeper reads."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    _own(build, writer)
    slot = build.plan.slot_of(reader, owned=True, label=f"output {number} reader")
    setattr(build.plan.keeper, "out_r" if number == 1 else "err_r", slot)
    return build.plan.slot_of(writer, owned=True, label=f"output {number} writer")


def _direct(build: Build, fd: int | None, *, label: str) -> int:
    if fd is None:
        raise Invalid("connect standard streams", label, "no descriptor was given")
    about = os.fstat(fd)
    if stat.S_ISFIFO(about.st_mode):
        _own(build, fd)
    return build.plan.slot_of(fd, owned=False, label=label)


def _own(build: Build, fd: int) -> None:
    """Give a pipe to the program's user, so that /dev/stdout can be opened by it; a pipe of somebody else stays as it is."""
    uid = (build.process.get("user") or {}).get("uid", 0)
    host_uid = build.id_map.host_uid(uid) if build.id_map is not None else uid
    if host_uid is None or host_uid == os.geteuid():
        return
    try:
        os.fchown(fd, host_uid, -1)
    except OSError:
        return
