"""``casemate history``."""

from __future__ import annotations

from casemate.cli.opening import image, open_engine
from casemate.cli.show.listing import Listing, shortened, show_rows
from casemate.cli.streams import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed

COLUMNS = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")
TITLES = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
SHORT_STEP = 45


def run(parsed: Parsed) -> int:
    """List the steps that made an image, newest first."""
    with open_engine() as engine:
        rows = [
            {key: str(value) for key, value in step.items()}
            for step in image(engine, parsed.operands[0]).history()
        ]
    for row in rows:
        row.setdefault("CreatedSince", row.get("Created", ""))
        if not parsed.flag("no-trunc"):
            row["CreatedBy"] = shortened(" ".join(row["CreatedBy"].split()), SHORT_STEP)
            row["ID"] = row["ID"].removeprefix("sha256:")[:12]
    layout = parsed.text("format")
    if parsed.flag("quiet") and not layout:
        put("".join(f"{row['ID']}\n" for row in rows))
        return 0
    show_rows(Listing(COLUMNS, TITLES), rows, layout)
    return 0
