"""docs/reference/oci.md has every field of the schema, each once, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from ocispecs import field_paths

from casemate.runtime.schema.config import CONFIG, NEWEST

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "oci.md"


def rows() -> list[tuple[list[str], str]]:
    """The fields of each row of the first table, and what becomes of them."""
    table = DOCUMENT.read_text().partition("| --- | --- | --- |\n")[2].partition("\n\n")[0]
    found = []
    for line in table.splitlines():
        fields, verdict, _ = [cell.strip() for cell in line.strip("|").split("|")]
        found.append(([name for text in re.findall(r"`([^`]+)`", fields) for name in spread(text)], verdict))
    return found


def spread(text: str) -> list[str]:
    """`a.{b,c}` as `a.b` and `a.c`."""
    head, brace, rest = text.partition("{")
    if not brace:
        return [text]
    inner, _, tail = rest.partition("}")
    return [f"{head}{name}{tail}" for name in inner.split(",")]


def test_the_table_has_every_field_of_the_schema_once_and_no_other() -> None:
    named = [name for fields, _ in rows() for name in fields]
    assert sorted(named) == sorted(set(named)), "a field is listed twice"
    assert set(field_paths(CONFIG)) - set(named) == set()
    assert set(named) - set(field_paths(CONFIG)) == set()


def test_every_row_says_what_becomes_of_its_fields() -> None:
    for fields, verdict in rows():
        assert verdict.startswith(("honoured", "refused", "ignored", "kept")), fields


def test_it_names_the_version_of_the_specification() -> None:
    assert f"runtime-spec {NEWEST}" in DOCUMENT.read_text()
