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
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType
    from typing import Self

    from casemate.engine.life.session import Session
    from casemate.engine.options import Attach

STDIN = 0
FORWARDED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCONT")
READ_BYTES = 65536
PIPE_ROOM = 4096
"""A pipe that polls writable takes this much without blocking (PIPE_BUF, pipe(7))."""
IMPATIENT = 3


class Stay:
    """How to stay: ``tty``: the program has a terminal; ``stdin``: our input is its input."""

    __slots__ = ("detach_keys", "name", "sig_proxy", "stdin", "tty")

    def __init__(
        self, name: str, *, tty: bool, stdin: bool, sig_proxy: bool = True, detach_keys: bytes | None = None
    ) -> None:
        self.name = name
        self.tty = tty
        self.stdin = stdin
        self.sig_proxy = sig_proxy
        self.detach_keys = DEFAULT_SEQUENCE if detach_keys is None else detach_keys

    def with_program(self, begin: Callable[[], Session | None]) -> int:
        """Begin the program and return its exit code, or 0 after the detach keys.

        The terminal is raw before the program can write to it, and as before on every way out.
        """
        with Signals(proxy=self.sig_proxy, resize=self.tty) as signals:
            if not (self.tty and self.stdin and streams.is_terminal(STDIN)):
                return self._outcome(begin(), signals)
            with terminal.RawMode(STDIN):
                return self._outcome(begin(), signals)

    def _outcome(self, session: Session | None, signals: Signals) -> int:
        if session is None:
            return 0
        attached = Attached(session, self)
        signals.pass_to(attached.take_signal)
        return attached.follow()

    def attach(self) -> Attach:
        """Return what to ask of the engine: our stdout and stderr, our input if wanted, our window's size."""
        from casemate.engine.options import Attach  # only commands that stay

        rows, columns = terminal.size(1, STDIN, 2) if self.tty else (0, 0)
        return Attach(stdin=self.stdin, stderr_fd=None if self.tty else 2, rows=rows, columns=columns)


class Attached:
    """One running stay."""

    __slots__ = ("backlog", "detach_keys", "detached", "interrupts", "session", "stay")

    def __init__(self, session: Session, stay: Stay) -> None:
        self.session = session
        self.stay = stay
        self.detach_keys = DetachKeys(stay.detach_keys) if stay.tty and stay.stdin else None
        self.detached = False
        self.interrupts = 0
        self.backlog = b""

    def follow(self) -> int:
        """Return the program's exit code, or 0 after the detach keys."""
        try:
            code = self._follow()
        finally:
            self.session.close()
        if self.session.explanation is not None and code:
            from casemate.cli.show.reasons import note_reasons  # only for who asked

            note_reasons(self.session.explanation)
        if self.detached:
            name = self.stay.name
            streams.note(f"\rdetached: {name} goes on; casemate attach {name} comes back\r")
        return code

    def _follow(self) -> int:
        self.resize()
        if self.stay.stdin and self.session.stdin_fd is not None:
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
        if self.stay.tty:
            rows, columns = terminal.size(1, STDIN, 2)
            if rows and columns:
                self.session.resize(rows, columns)

    def take_signal(self, number: int) -> None:
        """Pass a signal on; a change of our window becomes one of the program's terminal."""
        if number == _signal.SIGWINCH and self.stay.tty:
            try:
                self.resize()
            except OSError:
                return  # the program's terminal has gone
            return
        self.session.signal(number)
        self.interrupts += number == _signal.SIGINT
        if self.interrupts == IMPATIENT and number == _signal.SIGINT:
            streams.note(
                f"SIGINT does not end the program; from another terminal: casemate kill {self.stay.name}"
            )


class Signals:
    """Signals kept from ending us; those that come before the program runs are passed on when it does."""

    __slots__ = ("before", "early", "numbers", "target")

    def __init__(self, *, proxy: bool, resize: bool) -> None:
        names = (*(FORWARDED if proxy else ()), *(("SIGWINCH",) if resize else ()))
        self.numbers = [getattr(_signal, name) for name in names]
        self.before: dict[int, object] = {}
        self.early: list[int] = []
        self.target: Callable[[int], None] | None = None

    def __enter__(self) -> Self:
        for number in self.numbers:
            self.before[number] = _signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            _signal.signal(number, handler)

    def pass_to(self, target: Callable[[int], None]) -> None:
        """Give every signal to ``target`` from now on, the early ones first."""
        self.target = target
        while self.early:
            target(self.early.pop(0))

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if self.target is None:
            self.early.append(number)
        else:
            self.target(number)


class _EndOf:
    """A descriptor that polls readable when the program has ended.

    Ready at once for a program that is gone already.
    """

    __slots__ = ("fd",)

    def __init__(self, session: Session) -> None:
        from casemate.kernel.pidfd import open_same  # only with input to pass on

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
