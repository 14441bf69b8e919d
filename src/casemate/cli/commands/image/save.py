"""``casemate save``."""

from __future__ import annotations

from casemate.cli.opening import hint_near_image, open_engine
from casemate.cli.streams import is_terminal
from casemate.cli.suggest import did_you_mean
from casemate.cli.usage import UsageError
from casemate.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed

FORMATS = ("docker-archive", "oci-archive")


def run(parsed: Parsed) -> int:
    """Write images to one archive."""
    target, layout = parsed.text("output"), parsed.text("format", FORMATS[0])
    if layout not in FORMATS:
        raise UsageError(
            f'use "{layout}" for --format',
            f"formats are {' and '.join(FORMATS)}",
            hint=did_you_mean(layout, FORMATS),
        )
    if not target and is_terminal(1):
        raise UsageError(
            "save an image to a terminal", "an archive is not text", hint="use -o FILE or a pipe", exit_code=1
        )
    with open_engine() as engine:
        try:
            engine.images.save(parsed.operands, target or 1, format=layout)
        except NotFound as error:
            hint_near_image(engine, parsed.operands[0], error)
            raise
    return 0
