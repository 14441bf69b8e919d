"""``casemate images``."""

from __future__ import annotations

from casemate.cli.filters import filters
from casemate.cli.opening import open_engine
from casemate.cli.show.listing import SHORT_ID, Listing, show_rows
from casemate.cli.streams import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed

COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size")
DIGEST_COLUMNS = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")
TITLES = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "VIRTUAL SIZE",
}


def run(parsed: Parsed) -> int:
    """List images."""
    wanted = filters(parsed) or {}
    if parsed.operands:
        wanted.setdefault("reference", []).append(parsed.operands[0])
    with open_engine() as engine:
        rows = [row for image in engine.images.list(filters=wanted or None) for row in image.summary()]
    if not parsed.flag("no-trunc"):
        for row in rows:
            row["ID"] = row["ID"].removeprefix("sha256:")[:SHORT_ID]
    layout = parsed.text("format")
    if parsed.flag("quiet") and not layout:
        put("".join(f"{row['ID']}\n" for row in rows))
        return 0
    show_rows(Listing(DIGEST_COLUMNS if parsed.flag("digests") else COLUMNS, TITLES), rows, layout)
    return 0
