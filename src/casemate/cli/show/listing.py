"""Listings: rows with docker's keys as a table, JSON lines, or by a template."""

from __future__ import annotations

from casemate.cli.show.columns import align
from casemate.cli.streams import printable, put, put_foreign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHORT_ID = 12
SHORT_COMMAND = 20


class Listing:
    """What a verb lists: the columns shown by default, and the title of every key."""

    __slots__ = ("columns", "titles")

    def __init__(self, columns: Sequence[str], titles: Mapping[str, str]) -> None:
        self.columns = columns
        self.titles = titles


def show_rows(listing: Listing, rows: Sequence[Mapping[str, str]], layout: str) -> None:
    """Write rows to stdout as ``--format`` says.

    Nothing or ``table``, ``json``, ``table TEMPLATE``, ``TEMPLATE``.

    Raises: TemplateError.
    """
    if layout in ("", "table"):
        lines = [[listing.titles[column] for column in listing.columns]]
        lines += [[printable(row.get(column, "")) for column in listing.columns] for row in rows]
        put(align(lines))
    elif layout == "json":
        from casemate.cli.template.functions import to_json  # only when asked for

        put("".join(to_json(dict(sorted(row.items()))) + "\n" for row in rows))
    else:
        put_foreign(_by_template(listing, rows, layout))


def _by_template(listing: Listing, rows: Sequence[Mapping[str, str]], layout: str) -> str:
    from casemate.cli.template.evaluate import Row, Template  # only when asked for

    is_table = layout.startswith("table")
    source = layout[len("table") :].strip() if is_table else layout
    template = Template(source.replace("\\t", "\t").replace("\\n", "\n"))
    lines = [template.execute(Row(row)) for row in rows]
    if not is_table:
        return "".join(f"{line}\n" for line in lines)
    cells = [printable(line).split("\t") for line in (template.headings(listing.titles), *lines)]
    return align(cells)


def shortened(text: str, width: int) -> str:
    """Return at most ``width`` characters, the last an ellipsis when something was cut.

    Source: docker's formatter.Ellipsis.
    """
    return text if len(text) <= width else text[: width - 1] + "…"
