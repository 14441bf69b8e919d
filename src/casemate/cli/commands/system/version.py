"""``casemate version``."""

from __future__ import annotations

import os
import sys

from casemate import __version__
from casemate.cli.show.detail import show_document
from casemate.cli.streams import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed

GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


def run(parsed: Parsed) -> int:
    """Show versions."""
    document = versions()
    layout = parsed.text("format")
    if layout:
        show_document(document, layout)
        return 0
    client = document["Client"]
    lines = [
        "Client: casemate",
        f" Version:           {client['Version']}",
        f" Python version:    {client['PythonVersion']}",
        f" Kernel:            {client['KernelVersion']}",
        f" OS/Arch:           {client['Os']}/{client['Arch']}",
    ]
    put("\n".join(lines) + "\n")
    return 0


def versions() -> dict[str, dict[str, str]]:
    """Return the document of ``version``, with docker's keys where they have a meaning."""
    system = os.uname()
    return {
        "Client": {
            "Version": __version__,
            "PythonVersion": sys.version.split()[0],
            "KernelVersion": system.release,
            "Os": "linux",
            "Arch": GO_NAMES.get(system.machine, system.machine),
        }
    }
