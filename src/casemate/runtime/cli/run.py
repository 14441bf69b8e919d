"""`run`: create, start, wait and delete in one process; with --detach only create and start."""

from __future__ import annotations

import os

from casemate.runtime.cli import bundle as bundles
from casemate.runtime.cli.args import FLAG, parse
from casemate.runtime.cli.bundle import (
    open_bundle,
    prepare,
    request_for,
    undo,
)
from casemate.runtime.cli.group.ending import remove_group
from casemate.runtime.cli.main import warn
from casemate.runtime.cli.program.following import follow
from casemate.runtime.cli.program.stdio import add_environment, announce, check_console, direct_stdio
from casemate.runtime.container import start_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.runtime.cli.bundle import Bundle
    from casemate.runtime.cli.main import Settings
    from casemate.runtime.running import Running


OPTIONS = {**bundles.OPTIONS, "no-subreaper": FLAG, "detach": FLAG, "keep": FLAG}
SHORT = {**bundles.SHORT, "d": "detach"}


def run(settings: Settings, words: list[str]) -> int:
    """Run a container to its end; return its exit code."""
    bundle = open_bundle(settings, parse(words, OPTIONS, SHORT))
    if bundle.arguments.flag("detach"):
        return _run_detached(bundle)
    done = False
    try:
        prepare(bundle)
        running = _start(bundle)
        warn(settings, bundle.notes + running.notes)
        announce(bundle.arguments, running.pid)
        _after_start(bundle)
        code = follow(running)
        done = True
    finally:
        if not done and hasattr(bundle, "record"):
            undo(bundle)
    if not bundle.arguments.flag("keep"):
        _finish(bundle)
    return code


def _start(bundle: Bundle) -> Running:
    process = bundle.spec["process"]
    check_console(bundle.arguments, terminal=bool(process.get("terminal")), detached=False)
    stdio = direct_stdio(bundle.arguments, process, None)
    if stdio.tty and stdio.console_size is None:
        from casemate.runtime.cli.program.tty import window_size

        stdio.console_size = window_size(0)
    add_environment(bundle.spec, process, bundle.rootfs)
    request = request_for(bundle, stdio, keeper=None, gate_fd=None)
    return start_container(request)


def _run_detached(bundle: Bundle) -> int:
    from casemate.runtime.cli.create import create_container
    from casemate.runtime.cli.start import start_created

    create_container(bundle)
    started = False
    try:
        start_created(bundle.settings, bundle.record)
        started = True
    finally:
        if not started and os.path.isdir(bundle.record.directory):
            undo(bundle)
    return 0


def _after_start(bundle: Bundle) -> None:
    if (bundle.spec.get("hooks") or {}).get("poststart"):
        from casemate.runtime.cli.hooks import run_poststart

        state = bundle.record.state() | {"pid": bundle.record.pid}
        warn(bundle.settings, run_poststart(bundle.spec, state))


def _finish(bundle: Bundle) -> None:
    """Remove control group and record; poststop hooks last."""
    from casemate.runtime.cli.record import remove_directory

    if bundle.cgroup is not None:
        remove_group(bundle.cgroup)
    state = bundle.record.state()
    remove_directory(bundle.record.directory)
    if (bundle.spec.get("hooks") or {}).get("poststop"):
        from casemate.runtime.cli.hooks import run_poststop

        warn(bundle.settings, run_poststop(bundle.spec, state))
