"""``casemate rmi``."""

from __future__ import annotations

from casemate.cli.opening import for_each, hint_near_image, open_engine
from casemate.cli.streams import say
from casemate.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Remove images and print what was untagged and deleted."""
    with open_engine() as engine:

        def act(name: str) -> None:
            try:
                steps = engine.images.remove(name, force=parsed.flag("force"))
            except NotFound as error:
                hint_near_image(engine, name, error)
                raise
            for step in steps:
                for key, value in step.items():
                    say(f"{key}: {value}")

        return for_each(parsed.operands, act)
