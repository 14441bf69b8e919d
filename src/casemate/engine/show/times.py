"""Times and sizes in docker's words."""

from __future__ import annotations

import time

ZERO_TIME = "0001-01-01T00:00:00Z"


def rfc3339(time_ns: int) -> str:
    """UTC with nanoseconds, docker's zero time for 0."""
    if not time_ns:
        return ZERO_TIME
    seconds, rest = divmod(time_ns, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


def local(time_ns: int) -> str:
    """Go's default format, as in docker's CreatedAt."""
    now = time.localtime(time_ns // 10**9)
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", now)


def human_duration(seconds: float) -> str:
    """go-units' HumanDuration: "Less than a second", "5 seconds", "About a minute", "2 hours", "3 weeks"."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:  # noqa: PLR2004 - a minute
        return f"{whole} seconds"
    minutes, hours = whole // 60, int(whole / 3600 + 0.5)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    for limit_h, unit_h, word in (
        (48, 1, "hours"),
        (24 * 14, 24, "days"),
        (24 * 60, 168, "weeks"),
        (24 * 730, 720, "months"),
    ):
        if hours < limit_h:
            return f"{hours // unit_h} {word}"
    return f"{hours // (24 * 365)} years"


def ago(time_ns: int) -> str:
    """How long ago ``time_ns`` was."""
    return f"{human_duration((time.time_ns() - time_ns) / 1e9)} ago"


def human_size(size_bytes: float) -> str:
    """go-units' HumanSize: four significant digits, decimal units."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":  # noqa: PLR2004 - decimal units
            return f"{value:.4g}{unit}"
        value /= 1000
    return ""
