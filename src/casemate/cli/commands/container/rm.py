"""``casemate rm``."""

from __future__ import annotations

from casemate.cli.opening import container, for_each, open_engine
from casemate.cli.streams import say
from casemate.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Remove containers and print the names as typed."""
    force, volumes = parsed.flag("force"), parsed.flag("volumes")
    with open_engine() as engine:

        def act(name: str) -> None:
            try:
                box = container(engine, name)
            except NotFound:
                if force:
                    return
                raise
            box.remove(force=force, volumes=volumes)
            say(name)

        return for_each(parsed.operands, act)
