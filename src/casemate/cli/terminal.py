"""The user's terminal: raw mode that is always undone, and its size."""

from __future__ import annotations

import os

from casemate.cli.streams import is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

IFLAG, OFLAG, CFLAG, LFLAG, CC = 0, 1, 2, 3, 6


class RawMode:
    """A terminal that passes every key on, as long as the block lasts; no terminal: nothing happens.

    Source: cfmakeraw(3). Output processing stays as docker leaves it: off, the program's terminal does it.
    """

    __slots__ = ("fd", "saved")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.saved: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> Self:
        import termios  # a shared library, and only a terminal needs it

        try:
            self.saved = termios.tcgetattr(self.fd)
        except termios.error:
            return self
        raw = termios.tcgetattr(self.fd)
        raw[IFLAG] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        raw[OFLAG] &= ~termios.OPOST
        raw[LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        raw[CFLAG] = (raw[CFLAG] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
        raw[CC][termios.VMIN], raw[CC][termios.VTIME] = 1, 0
        termios.tcsetattr(self.fd, termios.TCSANOW, raw)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.saved is not None:
            import termios  # loaded when it was saved

            try:
                termios.tcsetattr(self.fd, termios.TCSANOW, self.saved)
            except termios.error:
                return  # the terminal has gone


def size(*fds: int) -> tuple[int, int]:
    """Return (rows, columns) of the first of ``fds`` that is a terminal; (0, 0) when none is."""
    for fd in fds:
        try:
            found = os.get_terminal_size(fd)
        except OSError:
            continue
        return found.lines, found.columns
    return 0, 0


def require_terminal(*, tty: bool, stdin: bool) -> None:
    """Refuse a terminal for a program whose input is none. Raises: UsageError, exit code 1 as docker."""
    if tty and stdin and not is_terminal(0):
        from casemate.cli.usage import UsageError  # only on the failing path

        raise UsageError(
            "give a terminal",
            "the input is not a terminal",
            hint="leave -t away: -i alone takes a pipe or file",
            exit_code=1,
        )
