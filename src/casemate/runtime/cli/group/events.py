"""`events`: resource use as one JSON object a line, once (--stats) or every --interval, until the container has ended."""

from __future__ import annotations

import sys

from casemate.errors import Invalid
from casemate.oci.quick_json import dumps
from casemate.runtime.cli.args import FLAG, VALUE, parse
from casemate.runtime.cli.group.resources import open_group

TYPE_CHECKING = False
if TYPE_CHECKING:
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
    while True:
        sys.stdout.write(dumps({"type": "stats", "id": record.id, "data": group.stats()}) + "\n")
        sys.stdout.flush()
        if arguments.flag("stats"):
            return 0
        _wait(record, interval_s)
        if not record.is_alive():
            return 0


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


def _wait(record: Record, seconds: float) -> None:
    """Wait for the time to pass or the container to end."""
    from casemate.kernel.pidfd import wait_ended

    pidfd = record.open_first()
    if pidfd is not None:
        with pidfd:
            wait_ended(pidfd.fileno(), seconds)
