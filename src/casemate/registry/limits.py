"""How long a registry may take and how often it is asked again."""

from __future__ import annotations

import email.utils
import random
import time

RETRIED_STATUS = frozenset((408, 425, 429, 500, 502, 503, 504))


class Limits:
    """Patience in seconds and in attempts; tests lower it."""

    __slots__ = (
        "attempts",
        "connect_s",
        "first_pause_s",
        "longest_pause_s",
        "read_s",
        "slow_bytes",
        "slow_window_s",
    )

    def __init__(  # noqa: PLR0913 - plain numbers, each by name
        self,
        *,
        connect_s: float = 10.0,
        read_s: float = 30.0,
        attempts: int = 5,
        first_pause_s: float = 0.25,
        longest_pause_s: float = 60.0,
        slow_window_s: float = 60.0,
        slow_bytes: int = 16 << 10,
    ) -> None:
        self.connect_s = connect_s
        self.read_s = read_s
        """Longest silence while a reply is awaited or read."""
        self.attempts = attempts
        self.first_pause_s = first_pause_s
        self.longest_pause_s = longest_pause_s
        self.slow_window_s = slow_window_s
        """Within each window of this length at least ``slow_bytes`` must arrive: a trickle is a stall."""
        self.slow_bytes = slow_bytes

    def pause_s(self, attempt: int, retry_after: str = "") -> float:
        """Return how long to wait before attempt ``attempt`` + 1 (the first is 1).

        A server's Retry-After wins.
        """
        asked = parse_retry_after(retry_after)
        if asked is not None:
            return min(asked, self.longest_pause_s)
        pause = min(self.first_pause_s * float(1 << (attempt - 1)), self.longest_pause_s)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients, hides nothing


class RateWatch:
    """Tells when a transfer has become too slow to wait for."""

    __slots__ = ("_bytes", "_limits", "_window_end")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes = 0
        self._window_end = time.monotonic() + limits.slow_window_s

    def is_stalled(self, received_bytes: int) -> bool:
        """Count ``received_bytes`` and tell whether the window that just ended held too few."""
        self._bytes += received_bytes
        now = time.monotonic()
        if now < self._window_end:
            return False
        too_slow = self._bytes < self._limits.slow_bytes
        self._bytes = 0
        self._window_end = now + self._limits.slow_window_s
        return too_slow


def parse_retry_after(text: str) -> float | None:
    """Return the seconds that a Retry-After header asks for, None when there is none.

    Source: RFC 9110, 10.2.3.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())
