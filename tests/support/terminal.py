"""Run a command on a pseudo-terminal of its own."""

from __future__ import annotations

import os
import select
import subprocess
from contextlib import suppress

PATIENCE_S = 60.0


def on_terminal(argv: list[str], *, cwd: str | os.PathLike[str]) -> tuple[int, str]:
    """(exit code, what was shown) of a command that nobody types to.

    The terminal's other end stays open until the command has ended, so that it sees no end of input.
    """
    master, slave = os.openpty()
    shown = b""
    try:
        with subprocess.Popen(
            argv, cwd=cwd, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        ) as process:
            os.close(slave)
            with suppress(OSError):  # EIO: the last slave was closed
                while select.select([master], [], [], PATIENCE_S)[0] and (block := os.read(master, 4096)):
                    shown += block
            code = process.wait(PATIENCE_S)
    finally:
        os.close(master)
    return code, shown.decode().replace("\r\n", "\n")
