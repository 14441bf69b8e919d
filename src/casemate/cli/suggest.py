"""The nearest known word to a mistyped one."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


SHORT = 3
"""Letters of a word that bears only one slip."""


def distance(one: str, other: str, *, limit: int) -> int:
    """Return the number of insertions, deletions, replacements and swaps of neighbours between two words.

    Anything past ``limit`` is returned as ``limit + 1``.
    Source: optimal string alignment distance (Damerau 1964, restricted).
    """
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, right in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Return the known word that ``word`` was most likely meant to be, or None when nothing is near.

    An unfinished word (``doct``) finds its shortest completion; else one slip is allowed in a short word,
    and one more for every three further letters.
    """
    starting = [candidate for candidate in known if candidate.startswith(word)] if len(word) >= SHORT else []
    if starting:
        return min(starting, key=len)
    limit = 1 if len(word) <= SHORT else min(1 + len(word) // SHORT, 4)
    best: str | None = None
    for candidate in known:
        away = distance(word.lower(), candidate.lower(), limit=limit)
        if away <= limit and away < len(candidate):
            limit, best = away - 1, candidate
            if away <= 0:
                break
    return best


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """Return a hint: ``did you mean ...?`` when a known word is near, else ``otherwise``."""
    best = nearest(word, list(known))
    return f"did you mean {best}?" if best else otherwise
