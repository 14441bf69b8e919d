"""``casemate pull``."""

from __future__ import annotations

from casemate.cli.opening import open_engine
from casemate.cli.show.progress import progress_for
from casemate.cli.streams import note, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed
    from casemate.engine.images import Image


def run(parsed: Parsed) -> int:
    """Fetch an image; its full name is the result, progress and digest are for people."""
    quiet = parsed.flag("quiet")
    with progress_for(quiet=quiet) as progress, open_engine(progress) as engine:
        image = engine.images.pull(parsed.operands[0], platform=parsed.get("platform"))
        progress.finish()
    if not quiet:
        note(f"Digest: {image.digest}")
    say(full_name(parsed.operands[0], image))
    return 0


def full_name(reference: str, image: Image) -> str:
    """Return the full name of what was asked for; of ``oci:DIRECTORY`` and its like the name that the image got."""
    from casemate.errors import Invalid  # after the transfer
    from casemate.oci.reference import parse_reference

    try:
        return parse_reference(reference).canonical()
    except Invalid:
        return image.record.name or image.names[0]
