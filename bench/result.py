"""What a case gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.rounds import Row


class Result:
    """The outcome of one case: ``lost`` says why a contender is not among the rows."""

    def __init__(self, title: str, unit: str, rows: list[Row], lost: dict[str, str]) -> None:
        self.title = title
        self.unit = unit
        self.rows = rows
        self.lost = lost
