"""``casemate kill``."""

from __future__ import annotations

from casemate.cli.opening import container, for_each, open_engine
from casemate.cli.streams import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Send a signal to containers and print the names as typed."""
    signal = parsed.text("signal", "KILL")
    with open_engine() as engine:

        def act(name: str) -> None:
            container(engine, name).kill(signal)
            say(name)

        return for_each(parsed.operands, act)
