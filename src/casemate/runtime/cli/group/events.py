"""`events`: one JSON object a line, in runc's words: figures every --interval (or once, --stats), kills by lack of memory."""

from __future__ import annotations

import select
import sys
import time

from casemate.errors import Invalid
from casemate.oci.quick_json import dumps
from casemate.runtime.cli.args import FLAG, VALUE, parse
from casemate.runtime.cli.group.figures import event_data
from casemate.runtime.cli.group.oom import OomWatch
from casemate.runtime.cli.group.resources import open_group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.cgroups.manager import Cgroup
    from casemate.runtime.cli.main import Settings
    from casemate.runtime.cli.record import Record

OPTIONS = {"stats": FLAG, "interval": VALUE}
SHORT: dict[str, str] = {}
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def events(settings: Settings, words: list[str]) -> int:
    """Print what the container uses."""
    arguments = parse(words, OPTIONS, SHORT)
    arguments.expect(1, 1)
    interval_s = parse_duration(arguments.value("interval", "5s"))
    record, group = open_group(settings, arguments)
    if arguments.flag("stats"):
        _tell("stats", record, event_data(group.stats()))
        return 0
    pidfd = record.open_first()
    if pidfd is not None:
        with pidfd:
            _follow(record, group, pidfd.fileno(), interval_s)
    return 0


def _follow(record: Record, group: Cgroup, pidfd: int, interval_s: float) -> None:
    """Tell figures every ``interval_s`` seconds, and kills by lack of memory at once, until the container has ended."""
    watch = OomWatch(group)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if watch.fd >= 0:
        poll.register(watch.fd, watch.events)
    try:
        due = time.monotonic() + interval_s
        while True:
            ready = dict(poll.poll(max(0.0, due - time.monotonic()) * 1000))
            for _ in range(watch.take()):  # asked in each round: the last kill and the end come together
                _tell("oom", record)
            if pidfd in ready:
                return
            if time.monotonic() >= due:
                _tell("stats", record, event_data(group.stats()))
                due += interval_s
    finally:
        watch.close()


def _tell(kind: str, record: Record, data: dict[str, Any] | None = None) -> None:
    event = {"type": kind, "id": record.id} | ({} if data is None else {"data": data})
    sys.stdout.write(dumps(event) + "\n")
    sys.stdout.flush()


def parse_duration(text: str) -> float:
    """Return the seconds of a duration as Go writes it: 5s, 1m30s, 1.5h, 250ms. Raises: Invalid."""
    total, rest = 0.0, text
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("hmsunµ"))]
        rest = rest[len(unit) :]
        if unit not in _UNITS_S or number.count(".") > 1 or not number.strip("."):
            raise Invalid(
                "read command line", f"--interval {text}", "it is not a duration", hint="as in 5s or 500ms"
            )
        total += float(number) * _UNITS_S[unit]
    if not total:
        raise Invalid("read command line", f"--interval {text}", "it must be greater than 0")
    return total
