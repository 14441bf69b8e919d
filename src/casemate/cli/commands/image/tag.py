"""``casemate tag``."""

from __future__ import annotations

from casemate.cli.opening import hint_near_image, open_engine
from casemate.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Give an image another name."""
    with open_engine() as engine:
        try:
            engine.images.tag(parsed.operands[0], parsed.operands[1])
        except NotFound as error:
            hint_near_image(engine, parsed.operands[0], error)
            raise
    return 0
