"""Sizes for people."""

from __future__ import annotations

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
STEP = 1000.0


def human_size(count: float) -> str:
    """Return ``77.8MB``: three digits, powers of 1000.

    Source: docker's units.HumanSizeWithPrecision(size, 3).
    """
    unit = 0
    while count >= STEP and unit < len(UNITS) - 1:
        count, unit = count / STEP, unit + 1
    return f"{count:.3g}{UNITS[unit]}"
