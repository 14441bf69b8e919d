"""``casemate wait``."""

from __future__ import annotations

from casemate.cli.opening import container, for_each, open_engine
from casemate.cli.streams import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Wait for containers and print their exit codes."""
    with open_engine() as engine:

        def act(name: str) -> None:
            code = container(engine, name).wait()
            say(str(code))

        return for_each(parsed.operands, act)
