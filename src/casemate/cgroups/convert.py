"""Conversions between the units of the runtime-spec (cgroup v1's) and those of cgroup v2. All pure.

They give the same numbers as runc's cgroups library, so that a container weighs the same under either engine.
"""

from __future__ import annotations

from casemate.errors import Invalid

UNLIMITED = -1

MIN_SHARES, MAX_SHARES = 2, 262144
MIN_WEIGHT, MAX_WEIGHT = 1, 10000
MIN_BLKIO_WEIGHT, MAX_BLKIO_WEIGHT = 10, 1000
DEFAULT_PERIOD_US = 100000


def cpu_shares_to_weight(shares: int) -> int:
    """cpu.weight (1..10000) for v1 cpu.shares (2..262144); 0, which means "not set", stays 0.

    The curve through (2, 1), (1024, 100) and (262144, 10000) on logarithmic scales: the defaults of both
    versions meet. The older linear mapping made 1024 shares a weight of 39, less than any group outside had.
    Source: runc 1.3.2 (opencontainers/cgroups 20), crun 1.23.
    """
    if shares == 0:
        return 0
    if shares <= MIN_SHARES:
        return MIN_WEIGHT
    if shares >= MAX_SHARES:
        return MAX_WEIGHT
    from math import ceil, log2

    power = log2(shares)
    return ceil(10 ** ((power * power + 125 * power) / 612.0 - 7.0 / 34.0))


def blkio_weight_to_io_weight(weight: int) -> int:
    """io.weight (1..10000) for v1 blkio.weight (10..1000), linear as in runc; 0, "not set", stays 0."""
    if weight == 0:
        return 0
    return 1 + (weight - MIN_BLKIO_WEIGHT) * (MAX_WEIGHT - MIN_WEIGHT) // (
        MAX_BLKIO_WEIGHT - MIN_BLKIO_WEIGHT
    )


def swap_alone(memory: int, memory_and_swap: int) -> int | None:
    """v2's swap limit from the spec's memory+swap limit: bytes, -1 unlimited, None not set.

    Raises: Invalid when swap is limited without memory, or memory+swap is less than memory.
    Source: runc, ConvertMemorySwapToCgroupV2Value.
    """
    if memory == UNLIMITED and memory_and_swap == 0:
        return UNLIMITED  # v1's meaning of unlimited memory
    if memory_and_swap == 0:
        return None
    if memory_and_swap < 0:
        return UNLIMITED
    if memory <= 0:
        raise Invalid("limit swap", memory_and_swap, "swap cannot be limited without a memory limit")
    if memory_and_swap < memory:
        raise Invalid(
            "limit swap",
            memory_and_swap,
            f"the limit of memory and swap together is below that of memory, {memory}",
        )
    return memory_and_swap - memory


def limit_text(value: int) -> str:
    """A v2 limit: a number, or ``max`` for anything negative."""
    return "max" if value < 0 else str(value)


def cpu_max_text(quota_us: int, period_us: int) -> str:
    """The content of v2 cpu.max: quota (``max`` when not positive) and period (100 ms when not given)."""
    return f"{quota_us if quota_us > 0 else 'max'} {period_us or DEFAULT_PERIOD_US}"


def parse_cpu_list(text: str) -> set[int]:
    """The numbers of a list such as ``0-3,7`` (cpus or memory nodes).

    Raises: Invalid for anything else.
    Source: cpuset(7), "List format".
    """
    numbers: set[int] = set()
    for span in filter(None, text.strip().split(",")):
        first, dash, last = span.strip().partition("-")
        if not (_is_number(first) and (_is_number(last) or not dash)):
            raise Invalid("read cpu list", repr(text), f"{span!r} is neither a number nor a range")
        low, high = int(first), int(last or first)
        if high < low:
            raise Invalid("read cpu list", repr(text), f"{span!r} runs backwards")
        numbers.update(range(low, high + 1))
    return numbers


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5  # noqa: PLR2004 - far beyond NR_CPUS
