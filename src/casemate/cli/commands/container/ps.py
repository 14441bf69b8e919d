"""``casemate ps``."""

from __future__ import annotations

from casemate.cli.filters import filters
from casemate.cli.opening import open_engine
from casemate.cli.show.listing import SHORT_COMMAND, SHORT_ID, Listing, shortened, show_rows
from casemate.cli.streams import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed
    from casemate.engine.containers import Container
    from casemate.engine.engine import Engine

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
        if parsed.flag("size"):
            for row, box in zip(rows, found, strict=True):
                row["Size"] = _size(engine, box)
    for row in rows:
        if not whole:
            _shorten(row)
    columns = (*COLUMNS, "Size") if parsed.flag("size") else COLUMNS
    show_rows(Listing(columns, TITLES), rows, layout)
    return 0


def _size(engine: Engine, box: Container) -> str:
    """Return what the container wrote, and that with its image: ``12kB (virtual 2.06MB)``."""
    from casemate.cli.show.sizes import human_size  # only with --size
    from casemate.errors import NotFound

    try:
        written = engine.store.snapshots.usage(box.id).size_bytes
    except NotFound:
        return "0B"  # it runs a directory of the host
    try:
        image = int(engine.images.get(box.inspect()["Image"]).inspect()["Size"])
    except NotFound:
        return human_size(written)
    return f"{human_size(written)} (virtual {human_size(written + image)})"


def _shorten(row: dict[str, str]) -> None:
    """Cut a row as docker does without ``--no-trunc``."""
    row["ID"] = row["ID"][:SHORT_ID]
    command = row["Command"]
    if command[:1] == '"' == command[-1:] and len(command) > 1:
        row["Command"] = f'"{shortened(command[1:-1], SHORT_COMMAND)}"'
    else:
        row["Command"] = shortened(command, SHORT_COMMAND)
