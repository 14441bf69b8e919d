"""Interleaved timing: every contender once a round in rotating order, so that drift hits all alike."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Step = Callable[[int], float]


class Row:
    """What one contender took: samples in the unit of the case."""

    def __init__(self, name: str, samples: list[float]) -> None:
        self.name = name
        self.samples = samples

    @property
    def median(self) -> float:
        """Return the median sample."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """Return the first and third quartile."""
        if len(self.samples) < 2:  # noqa: PLR2004 - quartiles need two samples
            return self.samples[0], self.samples[0]
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return low, high


class CommandError(Exception):
    """A contender's command failed: its time would mean nothing."""


def timed(argv: list[str], environment: dict[str, str] | None = None) -> float:
    """Run ``argv`` to its end; return the wall time in milliseconds. Raises CommandError with its stderr."""
    started = time.perf_counter()
    answer = subprocess.run(argv, capture_output=True, env=environment, check=False, stdin=subprocess.DEVNULL)
    elapsed = (time.perf_counter() - started) * 1000
    if answer.returncode:
        tail = answer.stderr.decode(errors="replace")[-600:]
        message = f"{' '.join(argv)} exited with {answer.returncode}: {tail}"
        raise CommandError(message)
    return elapsed


def interleave(steps: dict[str, Step], rounds: int, warmup: int = 1) -> tuple[list[Row], dict[str, str]]:
    """Run every step once a round; return the rows, and why a contender fell out."""
    samples: dict[str, list[float]] = {name: [] for name in steps}
    lost: dict[str, str] = {}
    names = list(steps)
    for number in range(warmup + rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            if name in lost:
                continue
            try:
                value = steps[name](number)
            except (CommandError, OSError) as error:
                lost[name] = str(error)
                continue
            if number >= warmup:
                samples[name].append(value)
    return [Row(name, samples[name]) for name in names if name not in lost], lost


def table(title: str, unit: str, rows: list[Row], lost: dict[str, str]) -> str:
    """Render one case: median, quartiles, and casemate's ratio to each peer."""
    ours = next((row for row in rows if row.name.startswith("casemate")), None)
    lines = [f"\n{title}  [{unit}]", f"  {'':24}{'median':>10}{'q1':>10}{'q3':>10}{'casemate/it':>13}"]
    for row in rows:
        low, high = row.spread
        ratio = f"{ours.median / row.median:.2f}" if ours and row is not ours and row.median else ""
        lines.append(f"  {row.name:24}{row.median:>10.1f}{low:>10.1f}{high:>10.1f}{ratio:>13}")
    lines += [f"  {name:24}left out: {why.strip().splitlines()[-1][:150]}" for name, why in lost.items()]
    return "\n".join(lines)


def load_average() -> str:
    """Return the machine's load, which every reader of a figure should know."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())
