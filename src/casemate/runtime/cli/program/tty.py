"""A foreground terminal: ours in raw mode, bytes carried both ways until the program has ended."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.running import Running

_BLOCK = 65536
_SIGWINCH = 28


def window_size(fd: int) -> tuple[int, int] | None:
    """Return (rows, columns) of a terminal, None when ``fd`` is none."""
    try:
        packed = fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8)
    except OSError:
        return None
    rows, columns = struct.unpack("HHHH", packed)[:2]
    return (rows, columns) if rows and columns else None


def relay(running: Running) -> None:
    """Carry bytes between our standard streams and the program's terminal until it hangs up; then restore ours."""
    master = running.stdin_fd
    if master is None:
        return
    import _signal  # type: ignore[import-not-found]  # signal.py brings enum

    from casemate.runtime.cli.program.following import forward_signals

    forward_signals(running)
    _signal.signal(_SIGWINCH, lambda _number, _frame: _copy_size(master))
    before = _make_raw(0)
    try:
        _carry(master)
    finally:
        if before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def _copy_size(master: int) -> None:
    size = window_size(0)
    if size is not None:
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))


def _make_raw(fd: int) -> list[Any] | None:
    try:
        before = termios.tcgetattr(fd)
    except termios.error:
        return None
    raw = [*before[:6], list(before[6])]
    raw[0] &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    raw[1] &= ~termios.OPOST
    raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    raw[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSADRAIN, raw)
    return before


def _carry(master: int) -> None:
    poll = select.poll()
    poll.register(master, select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            data = _read(fd)
            if fd == master:
                if not data:
                    return
                _write(1, data)
            elif data:
                _write(master, data)
            else:
                poll.unregister(0)
                _write(master, b"\4")  # end of file at our side is ^D at the terminal's


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _BLOCK)
    except OSError as error:
        if error.errno == errno.EIO:
            return b""  # the last slave was closed
        raise


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EPIPE):
            raise
