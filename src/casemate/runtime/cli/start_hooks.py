"""`start` with hooks: those inside run behind the gate and report through a FIFO, then poststart hooks run here."""

from __future__ import annotations

import os
import select

from casemate.errors import CasemateError, Conflict, Internal
from casemate.kernel.pidfd import open_same
from casemate.runtime.cli.delete import delete_record
from casemate.runtime.cli.hooks import run_poststart
from casemate.runtime.cli.main import warn
from casemate.runtime.cli.start import open_gate
from casemate.runtime.compile.hooks import REPORT, WENT_WELL, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.cli.main import Settings
    from casemate.runtime.cli.record import Record


def start_with_hooks(settings: Settings, record: Record, spec: dict[str, Any]) -> None:
    """Start the program after its hooks; when one fails that must not, the container is removed. Raises: Internal, TimedOut."""
    hooks = spec["hooks"]
    state = record.state()
    try:
        if hooks.get("startContainer"):
            _open_gate_and_follow(record)
        else:
            open_gate(record)
        if hooks.get("poststart"):
            warn(settings, run_poststart(spec, state))
    except Conflict:
        raise  # somebody else starts it
    except CasemateError:
        delete_record(settings, record)
        raise


def _open_gate_and_follow(record: Record) -> None:
    """Open the gate and wait for the report of the hooks. The container is "created" until they have ended."""
    try:
        report = os.open(record.hook_fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.unlink(record.hook_fifo)
    except FileNotFoundError:
        raise Conflict("start container", record.id, "it is being started already") from None
    try:
        data = _report_after(record, report)
    finally:
        os.close(report)
    failure = told(data, "run startContainer hook")
    if failure is not None:
        raise failure
    if data != WENT_WELL:
        raise Internal("start container", record.id, "it ended while its startContainer hooks ran")


def _report_after(record: Record, report: int) -> bytes:
    """Return what comes through the FIFO once the gate is open; nothing when the process ends without a word."""
    pidfd = open_same(record.pid, int(record.data.get("start_time") or 0))
    if pidfd is None:
        raise Internal("start container", record.id, "its process has ended")
    with pidfd:
        gate = os.open(record.fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(gate, b"\0")
            poll = select.poll()
            poll.register(report, select.POLLIN)
            poll.register(pidfd.fileno(), select.POLLIN)
            poll.poll()
            os.unlink(record.fifo)
        finally:
            os.close(gate)
    try:
        return os.read(report, REPORT.size)
    except BlockingIOError:
        return b""
