"""``casemate top``."""

from __future__ import annotations

from casemate.cli.opening import container, open_engine
from casemate.cli.show.columns import align
from casemate.cli.streams import printable, put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Show the processes of a container."""
    with open_engine() as engine:
        titles, rows = container(engine, parsed.operands[0]).top()
    put(align([titles, *([printable(cell) for cell in row] for row in rows)]))
    return 0
