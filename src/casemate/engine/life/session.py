"""A caller's hold on a running program: its terminal or input, its signals, its end."""

from __future__ import annotations


class Session:
    """One attached program. Output needs no pumping: the keeper writes it to the caller's descriptors.

    A context manager; leaving it detaches (the program goes on).
    """

    pid: int
    """Process id on the host."""
    stdin_fd: int | None
    """Write end of the program's input, or the master side of its terminal; None when not asked for. Owned by the session."""

    def wait(self) -> int:
        """Block until the program has ended and its output has been written; return the exit code (128+n for a signal).

        The first session of an auto-remove container also removes it.
        """
        raise NotImplementedError

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size; nothing without a terminal."""
        raise NotImplementedError

    def signal(self, number: int) -> None:
        """Send a signal; a program that has ended is success."""
        raise NotImplementedError

    def close_stdin(self) -> None:
        """Let the program read end-of-file."""
        raise NotImplementedError

    def close(self) -> None:
        """Detach."""
        raise NotImplementedError
