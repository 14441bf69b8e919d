"""``casemate __docs``: manual pages and reference, made from the table."""

from __future__ import annotations

import os

from casemate.cli.streams import say
from casemate.cli.words import manpages, reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Write the files and print their paths."""
    if "man" in parsed.values:
        _write(parsed.text("man"), manpages.pages())
    if "reference" in parsed.values:
        _write(parsed.text("reference"), reference.pages())
    return 0


def _write(directory: str, files: Mapping[str, str]) -> None:
    os.makedirs(directory, exist_ok=True)
    for name, text in files.items():
        path = f"{directory}/{name}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        say(path)
