"""``casemate logs``."""

from __future__ import annotations

from casemate.cli.moments import nanosecond_time
from casemate.cli.opening import container, open_engine
from casemate.cli.streams import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from casemate.cli.args import Parsed
    from casemate.engine.life.logs import LogLine

ENOUGH_BYTES = 65536
FD_OF = {1: 1, 2: 2}


def run(parsed: Parsed) -> int:
    """Show a container's output: its stdout on stdout, its stderr on stderr."""
    follow = parsed.flag("follow")
    with open_engine() as engine:
        lines = container(engine, parsed.operands[0]).logs(
            follow=follow,
            tail=parsed.get("tail"),
            since_ns=parsed.get("since"),
            until_ns=parsed.get("until"),
        )
        if parsed.flag("timestamps"):
            _write_with_times(lines)
        else:
            _write(lines, at_once=follow)
    return 0


def _write(lines: Iterable[LogLine], *, at_once: bool) -> None:
    """Write pieces in their order; neighbours of one stream go out together unless somebody follows."""
    pending, stream = bytearray(), 1
    for line in lines:
        if pending and (line.stream != stream or len(pending) >= ENOUGH_BYTES):
            write_all(FD_OF[stream], pending)
            pending.clear()
        stream = line.stream
        pending += line.data
        if at_once:
            write_all(FD_OF[stream], pending)
            pending.clear()
    if pending:
        write_all(FD_OF[stream], pending)


def _write_with_times(lines: Iterable[LogLine]) -> None:
    """Put the time before each line; a line that was written in pieces has the time of its first."""
    begun = {1: False, 2: False}
    for line in lines:
        stamp = f"{nanosecond_time(line.time_ns)} ".encode()
        done = bytearray()
        for part in _split(bytes(line.data)):
            if not begun[line.stream]:
                done += stamp
            done += part
            begun[line.stream] = part[-1:] != b"\n"
        write_all(FD_OF[line.stream], done)


def _split(data: bytes) -> list[bytes]:
    """Return the lines of ``data``; only a line feed ends one."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
