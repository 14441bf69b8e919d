"""``casemate ps``."""

from __future__ import annotations

from casemate.cli.filters import filters
from casemate.cli.listing import SHORT_COMMAND, SHORT_ID, Listing, shortened, show_rows
from casemate.cli.opening import open_engine
from casemate.cli.streams import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed

COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
TITLES = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "Networks": "NETWORKS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Platform": "PLATFORM",
    "Size": "SIZE",
}


def run(parsed: Parsed) -> int:
    """List containers."""
    last = 1 if parsed.flag("latest") else max(parsed.values.get("last", 0), 0)
    whole = parsed.flag("no-trunc")
    with open_engine() as engine:
        found = engine.containers.list(all=parsed.flag("all"), filters=filters(parsed), last=last)
        layout = parsed.text("format")
        if parsed.flag("quiet") and not layout:
            put("".join(f"{(box.id if whole else box.id[:SHORT_ID])}\n" for box in found))
            return 0
        rows = [box.summary() for box in found]
    for row in rows:
        if not whole:
            _shorten(row)
    columns = (*COLUMNS, "Size") if parsed.flag("size") else COLUMNS
    show_rows(Listing(columns, TITLES), rows, layout)
    return 0


def _shorten(row: dict[str, str]) -> None:
    """Cut a row as docker does without ``--no-trunc``."""
    row["ID"] = row["ID"][:SHORT_ID]
    command = row["Command"]
    if command[:1] == '"' == command[-1:] and len(command) > 1:
        row["Command"] = f'"{shortened(command[1:-1], SHORT_COMMAND)}"'
    else:
        row["Command"] = shortened(command, SHORT_COMMAND)
