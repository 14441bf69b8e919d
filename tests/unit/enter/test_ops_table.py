"""Python's table of operations is the one that ``enter`` was compiled with."""

from __future__ import annotations

import re
from pathlib import Path

from casemate.runtime.ops import OPERATIONS

OPS_DEF = Path(__file__).parents[3] / "src" / "enter" / "ops.def"
ROW = re.compile(r'^OP\((\d+),\s*(\w+),\s*"(\w*)",\s*([PBIA|]+)\)', re.MULTILINE)


def test_both_tables_are_equal() -> None:
    c_table = {
        name: (int(number), kinds, where.replace("|", ""))
        for number, name, kinds, where in ROW.findall(OPS_DEF.read_text())
    }
    assert c_table == {name: (number, kinds, where) for name, (number, kinds, _, where) in OPERATIONS.items()}


def test_every_row_of_the_c_table_is_understood() -> None:
    assert OPS_DEF.read_text().count("\nOP(") == len(OPERATIONS)


def test_numbers_are_unique_and_arguments_are_named() -> None:
    assert len({row[0] for row in OPERATIONS.values()}) == len(OPERATIONS)
    for name, (_, kinds, names, _) in OPERATIONS.items():
        assert len(names.split()) == len(kinds) <= 6, name
