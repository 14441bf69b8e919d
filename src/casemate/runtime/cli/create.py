"""`create`: everything but executing the program; it waits at a FIFO for `start`."""

from __future__ import annotations

import os

from casemate.runtime.cli.args import parse
from casemate.runtime.cli.bundle import (
    OPTIONS,
    SHORT,
    open_bundle,
    prepare,
    request_for,
    undo,
)
from casemate.runtime.cli.main import warn
from casemate.runtime.cli.program.stdio import (
    add_environment,
    announce,
    check_console,
    connect_to,
    direct_stdio,
)
from casemate.runtime.container import start_container
from casemate.runtime.plan import LEAVE
from casemate.runtime.request import KeeperOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.runtime.cli.bundle import Bundle
    from casemate.runtime.cli.main import Settings
    from casemate.runtime.running import Running


def create(settings: Settings, words: list[str]) -> int:
    """Make a container; its process waits for `start`."""
    bundle = open_bundle(settings, parse(words, OPTIONS, SHORT))
    create_container(bundle)
    return 0


def create_container(bundle: Bundle) -> None:
    """Prepare, start up to the gate, and write the pid file; undo everything when that fails."""
    done = False
    try:
        prepare(bundle)
        os.mkfifo(bundle.record.fifo, 0o600)
        running = _start_to_gate(bundle)
        warn(bundle.settings, bundle.notes + running.notes)
        announce(bundle.arguments, running.pid)
        done = True
    finally:
        if not done and hasattr(bundle, "record"):
            undo(bundle)


def _start_to_gate(bundle: Bundle) -> Running:
    gate = os.open(bundle.record.fifo, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    report = _hook_report(bundle)
    terminal = bool(bundle.spec["process"].get("terminal"))
    path = check_console(bundle.arguments, terminal=terminal, detached=True)
    console = connect_to(path) if path else None
    try:
        stdio = direct_stdio(bundle.arguments, bundle.spec["process"], console)
        add_environment(bundle.spec, bundle.spec["process"], bundle.rootfs)
        request = request_for(
            bundle,
            stdio,
            keeper=KeeperOptions(mode=LEAVE),
            gate_fd=gate,
            hook_report_fd=report,
        )
        return start_container(request)
    finally:
        os.close(gate)
        if report is not None:
            os.close(report)
        if console is not None:
            console.close()


def _hook_report(bundle: Bundle) -> int | None:
    """Return the FIFO by which startContainer hooks tell `start` how they ended, None when there are none."""
    if not (bundle.spec.get("hooks") or {}).get("startContainer"):
        return None
    os.mkfifo(bundle.record.hook_fifo, 0o600)
    return os.open(bundle.record.hook_fifo, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
