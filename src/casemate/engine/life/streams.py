"""The standard streams of a program: which descriptors the runtime is given, and what the caller keeps."""

from __future__ import annotations

import os

from casemate.kernel.fd import Fd
from casemate.runtime.request import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from casemate.engine.options import Attach


class Streams:
    """Streams of one program under way; a context manager that closes what was not taken.

    Input: without a caller the keeper holds the writing end, so that later callers can attach to it. A caller
    that is attached from
    the start is the only writer: when it closes its end the program reads end-of-file.
    """

    __slots__ = ("_reader", "_writer", "stdio")

    def __init__(self, attach: Attach | None, *, tty: bool, interactive: bool, relay: bool = False) -> None:
        self._reader: Fd | None = None
        self._writer: Fd | None = None
        stdin: str | int = "pipe" if interactive else "null"
        if interactive and attach is not None and not tty:
            reader, writer = os.pipe()
            self._reader, self._writer = Fd(reader), Fd(writer)
            stdin = reader
        has_size = attach is not None and attach.rows > 0 and attach.columns > 0
        size = (attach.rows, attach.columns) if attach is not None and has_size else None
        self.stdio = Stdio(
            tty=tty,
            stdin=stdin,
            client_out=attach.stdout_fd if attach is not None else None,
            client_err=attach.stderr_fd if attach is not None and not tty else None,
            console_size=size if tty else None,
            relay=relay,
        )

    def take_stdin(self, runtimes: Fd | None) -> Fd | None:
        """What the caller writes input to, now its own: our pipe.

        Or what the runtime made (``runtimes``, a terminal's master).
        """
        writer, self._writer = self._writer, None
        return writer or runtimes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in (self._reader, self._writer):
            if fd is not None:
                fd.close()
