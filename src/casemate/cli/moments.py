"""Points in time, as people write them and as logs show them."""

from __future__ import annotations

import time

from casemate.cli.usage import ValueProblem

SECOND_NS = 1_000_000_000
UNITS_NS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "ms": 1_000_000,
    "s": SECOND_NS,
    "m": 60 * SECOND_NS,
    "h": 3600 * SECOND_NS,
}
DIGITS = "0123456789"
FORMS = "write for example 10m, 2026-01-02, 2026-01-02T15:04:05Z or 1700000000"


def parse_moment(text: str, *, now_ns: int | None = None) -> int:
    """Return ns since the epoch of a time (RFC 3339, local without a zone), seconds since the epoch.

    Or a duration before now.

    Source: docker's timetypes.GetTimestamp.
    """
    duration = _duration_ns(text)
    if duration is not None:
        return (time.time_ns() if now_ns is None else now_ns) - duration
    seconds, _, fraction = text.partition(".")
    if seconds and not (seconds + fraction).strip(DIGITS):
        return int(seconds) * SECOND_NS + int(fraction.ljust(9, "0")[:9] or 0)
    return _calendar_ns(text)


def _duration_ns(text: str) -> int | None:
    """Return the ns of ``1h30m``, or None when the text is no duration."""
    total, rest = 0.0, text
    while rest:
        number = rest[: len(rest) - len(rest.lstrip(DIGITS + "."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("nuµmsh"))]
        rest = rest[len(unit) :]
        if unit not in UNITS_NS or not number.strip(".") or number.count(".") > 1:
            return None
        total += float(number) * UNITS_NS[unit]
    return int(total) if text else None


def _calendar_ns(text: str) -> int:
    import datetime as dt  # only calendar times need it

    body, fraction = text, ""
    if "." in text:
        body, _, rest = text.partition(".")
        tail = rest.lstrip(DIGITS)
        fraction, body = rest[: len(rest) - len(tail)], body + tail
    try:
        moment = dt.datetime.fromisoformat(body)
        if moment.tzinfo is None:
            moment = moment.astimezone()
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        raise ValueProblem("it is not a point in time", FORMS) from None
    return seconds * SECOND_NS + int(fraction.ljust(9, "0")[:9] or 0)


def nanosecond_time(time_ns: int) -> str:
    """Return ``2026-01-02T15:04:05.123456789Z``."""
    seconds, rest = divmod(time_ns, SECOND_NS)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"
