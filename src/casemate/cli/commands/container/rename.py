"""``casemate rename``."""

from __future__ import annotations

from casemate.cli.opening import container, open_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Give a container another name."""
    with open_engine() as engine:
        container(engine, parsed.operands[0]).rename(parsed.operands[1])
    return 0
