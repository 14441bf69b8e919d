"""``casemate pull``."""

from __future__ import annotations

from casemate.cli.opening import open_engine
from casemate.cli.show.progress import progress_for
from casemate.cli.streams import note, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Fetch an image; its full name is the result, progress and digest are for people."""
    quiet = parsed.flag("quiet")
    with progress_for(quiet=quiet) as progress, open_engine(progress) as engine:
        image = engine.images.pull(parsed.operands[0], platform=parsed.get("platform"))
        progress.finish()
    if not quiet:
        note(f"Digest: {image.digest}")
    from casemate.oci.reference import parse_reference  # after the transfer

    say(parse_reference(parsed.operands[0]).canonical())
    return 0
