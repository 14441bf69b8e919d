"""The numbers are those of the runtime-spec and of runc."""

from __future__ import annotations

import pytest

from casemate.cgroups.convert import (
    blkio_weight_to_io_weight,
    cpu_max_text,
    cpu_shares_to_weight,
    parse_cpu_list,
    swap_alone,
)
from casemate.errors import Invalid


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(0, 0), (1, 1), (2, 1), (1024, 100), (262144, 10000), (262145, 10000), (1 << 40, 10000)],
)
def test_cpu_shares_become_the_weight_that_runc_gives(shares: int, weight: int) -> None:
    assert cpu_shares_to_weight(shares) == weight


def test_more_shares_never_weigh_less() -> None:
    weights = [cpu_shares_to_weight(shares) for shares in range(2, 262145, 97)]
    assert weights == sorted(weights)
    assert 1 <= weights[0] <= weights[-1] <= 10000


@pytest.mark.parametrize(("weight", "expected"), [(0, 0), (10, 1), (500, 4950), (1000, 10000)])
def test_block_io_weights(weight: int, expected: int) -> None:
    assert blkio_weight_to_io_weight(weight) == expected


@pytest.mark.parametrize(
    ("memory", "both", "swap"),
    [
        (0, 0, None),
        (-1, 0, -1),
        (-1, -1, -1),
        (2000, 1000 + 1000, 0),
        (1000, 3000, 2000),
        (1000, 0, None),
        (1000, -1, -1),
    ],
)
def test_swap_is_what_memory_leaves_of_both(memory: int, both: int, swap: int | None) -> None:
    assert swap_alone(memory, both) == swap


@pytest.mark.parametrize(("memory", "both"), [(0, 1000), (-1, 1000), (2000, 1000)])
def test_impossible_swap_limits_are_refused(memory: int, both: int) -> None:
    with pytest.raises(Invalid):
        swap_alone(memory, both)


@pytest.mark.parametrize(
    ("quota", "period", "text"),
    [(0, 50000, "max 50000"), (-1, 50000, "max 50000"), (5000, 0, "5000 100000"), (5000, 5000, "5000 5000")],
)
def test_cpu_max(quota: int, period: int, text: str) -> None:
    assert cpu_max_text(quota, period) == text


@pytest.mark.parametrize(
    ("text", "numbers"), [("", set()), ("0", {0}), ("0-2,5\n", {0, 1, 2, 5}), ("1-1", {1}), ("3,1", {1, 3})]
)
def test_cpu_lists(text: str, numbers: set[int]) -> None:
    assert parse_cpu_list(text) == numbers


@pytest.mark.parametrize("text", ["a", "1-", "-1", "2-1", "1-2-3", "0x1", "1;2", "999999", "\u0661"])
def test_malformed_cpu_lists_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_cpu_list(text)
