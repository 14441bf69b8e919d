"""``casemate image bootstrap``."""

from __future__ import annotations

from casemate.cli.opening import open_engine
from casemate.cli.progress import progress_for
from casemate.cli.streams import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Make an image from Debian's packages and print its id."""
    given: dict[str, Any] = {
        name: value
        for name, value in (
            ("suite", parsed.get("suite")),
            ("mirror", parsed.get("mirror")),
            ("packages", parsed.all("package")),
        )
        if value
    }
    with progress_for(quiet=False) as progress, open_engine(progress) as engine:
        image = engine.images.bootstrap(parsed.operands[0], **given)
        progress.finish()
    say(image.id)
    return 0
