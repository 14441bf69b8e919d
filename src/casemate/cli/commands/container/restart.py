"""``casemate restart``."""

from __future__ import annotations

from casemate.cli.opening import container, for_each, open_engine
from casemate.cli.streams import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Stop and start containers; print the names as typed."""
    timeout_s = parsed.get("timeout") if parsed.get("timeout") is not None else parsed.get("time")
    signal = parsed.get("signal")
    with open_engine() as engine:

        def act(name: str) -> None:
            box = container(engine, name)
            if signal is not None and box.state == "running":
                box.kill(signal)
            box.stop(timeout_s)
            box.start(explain=parsed.flag("explain"))
            say(name)

        return for_each(parsed.operands, act)
