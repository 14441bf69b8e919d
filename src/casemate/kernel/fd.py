"""Ownership of descriptors: who holds an ``Fd`` must close it, who is given an ``int`` only borrows it."""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Fd:
    """One owned descriptor, closed exactly once.

    A context manager. ``detach`` is the only way to take the number out for good. There is no finalizer: a
    forgotten ``Fd`` is a bug that the tests' descriptor count shows, not something to be hidden.
    """

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        """The number, still owned by this object.

        Raises: ValueError when it is closed or detached.
        """
        if self._number < 0:
            raise ValueError("the descriptor is closed or detached")
        return self._number

    def detach(self) -> int:
        """The number, which the caller owns from now on."""
        number = self.fileno()
        self._number = -1
        return number

    def close(self) -> None:
        """Close it; closing twice does nothing.

        The number is given up before close(2) is called, because Linux frees it even when close(2) fails.
        """
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def duplicate(self) -> Fd:
        """A second, independently owned descriptor of the same open file, closed on exec."""
        return Fd(fcntl.fcntl(self.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))

    @property
    def closed(self) -> bool:
        """Whether it has been closed or detached."""
        return self._number < 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Fd({self._number})" if self._number >= 0 else "Fd(closed)"
