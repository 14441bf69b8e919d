"""Columns of text, aligned as docker aligns them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# docker's tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
NARROWEST = 10
PADDING = 3


def align(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as text; every cell but the last of its line is padded to its column."""
    widths: list[int] = []
    for cells in lines:
        for i, cell in enumerate(cells[:-1]):
            if i == len(widths):
                widths.append(NARROWEST)
            widths[i] = max(widths[i], len(cell) + PADDING)
    return "".join(
        "".join(cell.ljust(widths[i]) for i, cell in enumerate(cells[:-1])) + cells[-1] + "\n"
        for cells in lines
    )
