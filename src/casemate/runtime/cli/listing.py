"""`list`: the containers below --root."""

from __future__ import annotations

import os
import sys

from casemate.errors import CasemateError, Invalid
from casemate.oci.quick_json import dumps
from casemate.runtime.cli.args import FLAG, VALUE, parse
from casemate.runtime.cli.log import write_line
from casemate.runtime.cli.record import load_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.cli.main import Settings

OPTIONS = {"format": VALUE, "quiet": FLAG}
SHORT = {"f": "format", "q": "quiet"}
_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")
_NARROWEST, _GAP = 9, 3  # runc's: a cell of 12 characters at least, 3 of them its gap


def list_containers(settings: Settings, words: list[str]) -> int:
    """Print the containers as a table, as JSON, or only their ids."""
    arguments = parse(words, OPTIONS, SHORT)
    form = arguments.value("format", "table")
    if form not in ("table", "json"):
        raise Invalid("read command line", f"--format {form}", "it is table or json")
    states = _states(settings)
    if arguments.flag("quiet"):
        text = "".join(f"{item['id']}\n" for item in states)
    elif form == "json":
        text = dumps(states) + "\n"
    else:
        text = _table(states)
    sys.stdout.write(text)
    return 0


def _states(settings: Settings) -> list[dict[str, Any]]:
    try:
        names = sorted(os.listdir(settings.root))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        directory = f"{settings.root}/{name}"
        if name.startswith(".") or not os.path.isdir(directory):
            continue  # not a container
        try:
            record = load_record(settings.root, name)
            found.append({**record.state(), "owner": _user_name(os.stat(directory).st_uid)})
        except (CasemateError, OSError) as error:
            write_line(settings, "error", f"container {name} is left out: {error}")
    return found


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _table(states: list[dict[str, Any]]) -> str:
    rows = [[name.upper() for name in _COLUMNS], *([str(item[key]) for key in _COLUMNS] for item in states)]
    widths = [max(_NARROWEST, *(len(row[column]) for row in rows)) + _GAP for column in range(len(_COLUMNS))]
    widths[-1] = 0  # nothing follows the last column
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + "\n" for row in rows
    )
