"""Progress of transfers on stderr: live bars at a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import os

from casemate.cli.streams import is_terminal, note, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Protocol, Self
else:
    Protocol = object


class Shown(Protocol):
    """What the engine reports to; a context manager.

    ``finish`` is called before a program gets the terminal.
    """

    def event(self, item: str, status: str, *, current: int = 0, total: int = 0) -> None:
        """Report one step; from any thread, never blocks for long."""

    def finish(self) -> None:
        """Leave the terminal as it was; idempotent."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Quiet:
    """Shows nothing."""

    __slots__ = ()

    def event(self, item: str, status: str, *, current: int = 0, total: int = 0) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()


class Lines(Quiet):
    """One line for every change of status: ``3e2a5c1f9b0d: Downloading``."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: dict[str, str] = {}

    def event(self, item: str, status: str, *, current: int = 0, total: int = 0) -> None:  # noqa: ARG002 - the bars' business
        """Write the line when the status is new."""
        if self.last.get(item) != status:
            self.last[item] = status
            note(printable(f"{item}: {status}" if item else status))


class Lazy(Quiet):
    """Becomes live bars at the first event, so that a command without a transfer imports none of them."""

    __slots__ = ("shown",)

    def __init__(self) -> None:
        self.shown: Shown | None = None

    def event(self, item: str, status: str, *, current: int = 0, total: int = 0) -> None:
        """Show the event in the bars."""
        if self.shown is None:
            self.shown = _bars()
        self.shown.event(item, status, current=current, total=total)

    def finish(self) -> None:
        """Stop the bars."""
        if self.shown is not None:
            self.shown.finish()


def progress_for(*, quiet: bool) -> Shown:
    """Return what fits stderr: bars at a terminal that can move its cursor, else lines."""
    if quiet:
        return Quiet()
    if is_terminal(2) and os.environ.get("TERM", "") not in ("", "dumb"):
        return Lazy()
    return Lines()


def _bars() -> Shown:
    try:
        from casemate.cli.show.progressbars import Bars  # rich takes 60 ms
    except ImportError:
        return Lines()
    return Bars()
