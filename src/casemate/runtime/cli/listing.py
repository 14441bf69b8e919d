"""`list`: the containers below --root."""

from __future__ import annotations

import os
import sys

from casemate.errors import CasemateError
from casemate.oci.quick_json import dumps
from casemate.runtime.cli.args import FLAG, VALUE, parse
from casemate.runtime.cli.record import load_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.cli.main import Settings

_COLUMNS = (("ID", "id"), ("PID", "pid"), ("STATUS", "status"), ("BUNDLE", "bundle"), ("CREATED", "created"))


def list_containers(settings: Settings, words: list[str]) -> int:
    """Print the containers as a table, as JSON, or only their ids."""
    arguments = parse(words, {"format": VALUE, "quiet": FLAG}, {"f": "format", "q": "quiet"})
    states = _states(settings.root)
    if arguments.flag("quiet"):
        text = "".join(f"{item['id']}\n" for item in states)
    elif arguments.value("format") == "json":
        text = dumps(states) + "\n"
    else:
        text = _table(states)
    sys.stdout.write(text)
    return 0


def _states(root: str) -> Any:
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            found.append(load_record(root, name).state())
        except (CasemateError, OSError):
            continue  # not a container, or deleted meanwhile
    return found


def _table(states: Any) -> str:
    rows = [[title for title, _ in _COLUMNS], *([str(item[key]) for _, key in _COLUMNS] for item in states)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return "".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in rows
    )
