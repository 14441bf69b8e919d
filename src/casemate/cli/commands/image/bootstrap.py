"""``casemate image bootstrap``."""

from __future__ import annotations

from casemate.cli.opening import open_engine
from casemate.cli.show.progress import progress_for
from casemate.cli.streams import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Make an image from Debian's packages and print its id."""
    include = [name.strip() for words in parsed.all("include") for name in words.split(",")]
    mirror = parsed.get("mirror") or ""
    refresh = bool(parsed.get("refresh"))
    with progress_for(quiet=False) as progress, open_engine(progress) as engine:
        image = engine.images.bootstrap(parsed.operands[0], include=include, mirror=mirror, refresh=refresh)
        progress.finish()
    say(image.id)
    return 0
