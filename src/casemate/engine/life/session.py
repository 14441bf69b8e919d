"""A caller's hold on a running program: its terminal or input, its signals, its end."""

from __future__ import annotations

import os

from casemate.kernel.pidfd import open_same, pidfd_send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self

    from casemate.kernel.fd import Fd


class Session:
    """One attached program. Output needs no pumping: the keeper writes it to the caller's descriptors.

    A context manager; leaving it detaches (the program goes on). ``pid`` is on the host. ``stdin`` is the
    writing end of
    the program's input or the master side of its terminal, owned by the session.
    """

    __slots__ = (
        "_close", "_stdin", "_wait", "exit_code", "explanation", "is_terminal", "pid", "start_time",
    )  # fmt: skip
    explanation: dict[str, Any] | None
    """Of a program that was started to be explained, once it has ended: what ``Container.why`` says of it."""

    def __init__(
        self,
        *,
        pid: int,
        start_time: int,
        wait: Callable[[], int],
        close: Callable[[], None],
        stdin: Fd | None = None,
        is_terminal: bool = False,
    ) -> None:
        self.pid = pid
        self.start_time = start_time
        self._stdin = stdin
        self.is_terminal = is_terminal
        self.exit_code: int | None = None
        self.explanation = None
        self._wait = wait
        self._close = close

    @property
    def stdin_fd(self) -> int | None:
        """Where to write input, borrowed; None when input was not asked for or has been closed."""
        return None if self._stdin is None or self._stdin.closed else self._stdin.fileno()

    def wait(self) -> int:
        """Block until the program has ended and its output has been written.

        Return the exit code (128+n for a signal).

        The first session of an auto-remove container also removes it.
        """
        if self.exit_code is None:
            self.exit_code = self._wait()
        return self.exit_code

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size; nothing without a terminal."""
        if self.is_terminal and self.stdin_fd is not None and rows > 0 and columns > 0:
            import struct
            import termios
            from fcntl import ioctl

            ioctl(self.stdin_fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def signal(self, number: int) -> None:
        """Send a signal; a program that has ended is success."""
        found: Fd | None = open_same(self.pid, self.start_time)
        if found is not None:
            with found:
                pidfd_send_signal(found.fileno(), number)

    def close_stdin(self) -> None:
        """Let the program read end-of-file; on a terminal, by its end-of-file character."""
        if self._stdin is None or self._stdin.closed:
            return
        if self.is_terminal:
            os.write(self._stdin.fileno(), b"\x04")
        else:
            self._stdin.close()

    def close(self) -> None:
        """Detach."""
        if self._stdin is not None:
            self._stdin.close()
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
