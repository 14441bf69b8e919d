"""Wait for a program in the foreground: signals go to it, its terminal to ours, its exit code to our caller."""

from __future__ import annotations

import os

from casemate.kernel.procfs import parent_pid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.runtime.running import Running


def follow(running: Running) -> int:
    """Forward signals, relay the terminal if there is one, and return the exit code: 128 and the signal when killed."""
    with running:
        if running.stdin is not None and running.tty:
            from casemate.runtime.cli.program.tty import relay

            relay(running)
        else:
            forward_signals(running)
        status = running.wait()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def forward_signals(running: Running) -> None:
    """Send every signal that asks something of us to the program instead, and never to a stranger with its old pid."""
    import _signal  # type: ignore[import-not-found]  # signal.py brings enum

    try:
        pidfd = os.pidfd_open(running.pid)
    except ProcessLookupError:
        return  # it has ended
    if parent_pid(running.pid) != running.keeper_pid:  # it has ended, and the number is somebody else's
        os.close(pidfd)
        return

    def forward(number: int, _frame: object) -> None:
        try:
            _signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return

    for number in (1, 2, 3, 10, 12, 14, 15, 18, 28):
        _signal.signal(number, forward)
