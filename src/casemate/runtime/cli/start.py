"""`start`: let the program of a created container be executed."""

from __future__ import annotations

import errno
import os

from casemate.errors import Conflict
from casemate.runtime.cli.args import parse
from casemate.runtime.cli.record import load_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.runtime.cli.main import Settings
    from casemate.runtime.cli.record import Record


def start(settings: Settings, words: list[str]) -> int:
    """Start a created container."""
    operands = parse(words, {}, {}).expect(1, 1)
    record = load_record(settings.root, operands[0])
    status = record.status()
    if status == "stopped":
        raise Conflict("start container", record.id, "cannot start a container that has stopped")
    if status != "created":
        raise Conflict("start container", record.id, f"cannot start a container that is {status}")
    start_created(settings, record)
    return 0


def start_created(settings: Settings, record: Record) -> None:
    """Open the gate, behind which the startContainer hooks run first; then run poststart hooks.

    A hook that fails where that counts ends and removes the container (runtime-spec, lifecycle 7 and 9).
    Raises: Conflict, Internal, TimedOut.
    """
    if not record.may_have_hooks("startContainer", "poststart"):
        open_gate(record)
        return
    spec = record.spec()
    hooks = spec.get("hooks") or {}
    if not hooks.get("startContainer") and not hooks.get("poststart"):
        open_gate(record)
        return
    from casemate.runtime.cli.start_hooks import start_with_hooks

    start_with_hooks(settings, record, spec)


def open_gate(record: Record) -> None:
    """Write the byte that the child waits for, and remove the FIFO: the container is running from now on."""
    try:
        fd = os.open(record.fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            raise Conflict("start container", record.id, "its process no longer waits") from error
        raise
    try:
        os.unlink(record.fifo)
        os.write(fd, b"\0")
    finally:
        os.close(fd)
