"""Staying with a program: keys and input go in, signals and window sizes are passed on.

Its exit code comes out.

Output is no concern here: the container's keeper writes it straight to our stdout and stderr.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the C module has no stub
import os
import select

from casemate.cli import streams, terminal
from casemate.cli.detachkeys import DEFAULT_SEQUENCE, DetachKeys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

    from casemate.engine.life.session import Session

STDIN = 0
FORWARDED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCONT")
READ_BYTES = 65536
PIPE_ROOM = 4096
"""A pipe that polls writable takes this much without blocking (PIPE_BUF, pipe(7))."""
IMPATIENT = 3


class Attached:
    """One stay. ``tty``: the program has a terminal. ``stdin``: our input is its input."""

    __slots__ = (
        "backlog",
        "detach_keys",
        "detached",
        "interrupts",
        "name",
        "session",
        "sig_proxy",
        "stdin",
        "tty",
    )

    def __init__(
        self, session: Session, *, name: str, tty: bool, stdin: bool, sig_proxy: bool = True
    ) -> None:
        self.session = session
        self.name = name
        self.tty = tty
        self.stdin = stdin
        self.sig_proxy = sig_proxy
        self.detach_keys: DetachKeys | None = DetachKeys(DEFAULT_SEQUENCE) if tty and stdin else None
        self.detached = False
        self.interrupts = 0
        self.backlog = b""

    def use_detach_keys(self, sequence: bytes | None) -> None:
        """Take another detach sequence; None keeps docker's default."""
        if sequence is not None and self.detach_keys is not None:
            self.detach_keys = DetachKeys(sequence)

    def stay(self) -> int:
        """Return the program's exit code, or 0 after the detach keys.

        The terminal is as before on every way out.
        """
        raw = self.tty and self.stdin and streams.is_terminal(STDIN)
        before = self._take_signals()
        try:
            if raw:
                with terminal.RawMode(STDIN):
                    code = self._follow()
            else:
                code = self._follow()
        finally:
            for number, handler in before.items():
                _signal.signal(number, handler)
            self.session.close()
        if self.detached:
            streams.note(f"detached: {self.name} goes on; casemate attach {self.name} comes back")
        return code

    def _follow(self) -> int:
        self.resize()
        if self.stdin and self.session.stdin_fd is not None:
            self._pump()
        return 0 if self.detached else self.session.wait()

    def _pump(self) -> None:
        """Pass input on until it ends, the program ends, or the user detaches."""
        with _EndOf(self.session) as end:
            poller = select.poll()
            poller.register(end, select.POLLIN)
            for ready in self._events(poller):
                if end in ready or not self._step(ready):
                    return

    def _events(self, poller: select.poll) -> Iterator[set[int]]:
        """Yield the descriptors that are ready; listens to stdin only while nothing waits to be passed on."""
        target = self.session.stdin_fd
        while target is not None:
            source, mask, other = (
                (target, select.POLLOUT, STDIN) if self.backlog else (STDIN, select.POLLIN, target)
            )
            _forget(poller, other)
            poller.register(source, mask)
            yield {fd for fd, _ in poller.poll()}

    def _step(self, ready: set[int]) -> bool:
        """Move what can be moved; False when there is nothing more to do."""
        target = self.session.stdin_fd
        if target is None:
            return False
        if self.backlog and target in ready:
            try:
                self.backlog = self.backlog[os.write(target, self.backlog[:PIPE_ROOM]) :]
            except OSError:
                return False  # the program reads no more
            return not (self.detached and not self.backlog)
        if not self.backlog and STDIN in ready:
            return self._read()
        return True

    def _read(self) -> bool:
        try:
            typed = os.read(STDIN, READ_BYTES)
        except OSError:
            typed = b""  # the terminal was hung up
        if not typed:
            self.session.close_stdin()
            return False
        if self.detach_keys is not None:
            typed, self.detached = self.detach_keys.feed(typed)
            if self.detached and not typed:
                return False
        self.backlog = typed
        return True

    def resize(self) -> None:
        """Give the program's terminal the size of ours."""
        if self.tty:
            rows, columns = terminal.size(1, STDIN, 2)
            if rows and columns:
                self.session.resize(rows, columns)

    def _take_signals(self) -> dict[int, object]:
        """Install the handlers; return the ones before."""
        before: dict[int, object] = {}
        if self.tty:
            before[_signal.SIGWINCH] = _signal.signal(_signal.SIGWINCH, self._on_resize)
        if self.sig_proxy:
            for name in FORWARDED:
                number = getattr(_signal, name)
                before[number] = _signal.signal(number, self._on_signal)
        return before

    def _on_resize(self, _number: int, _frame: FrameType | None) -> None:
        try:
            self.resize()
        except OSError:
            return  # the program's terminal has gone

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.session.signal(number)
        self.interrupts += number == _signal.SIGINT
        if self.interrupts == IMPATIENT and number == _signal.SIGINT:
            streams.note(
                f"the program does not end on SIGINT; from another terminal: casemate kill {self.name}"
            )


class _EndOf:
    """A descriptor that polls readable when the program has ended.

    Ready at once for a program that is gone already.
    """

    __slots__ = ("fd",)

    def __init__(self, session: Session) -> None:
        from casemate.kernel.pidfd import open_same  # noqa: PLC0415 - only with input to pass on

        found = open_same(session.pid, session.start_time)
        if found is not None:
            self.fd = found.detach()
            return
        self.fd, writer = os.pipe2(os.O_CLOEXEC)
        os.close(writer)

    def __enter__(self) -> int:
        return self.fd

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)


def _forget(poller: select.poll, fd: int) -> None:
    try:
        poller.unregister(fd)
    except KeyError:
        return
