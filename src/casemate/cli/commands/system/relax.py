"""``casemate relax``."""

from __future__ import annotations

from casemate.cli.show.listing import Listing, show_rows
from casemate.cli.suggest import did_you_mean
from casemate.engine.spec.relaxations import RELAXATIONS
from casemate.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed
    from casemate.engine.spec.relaxations import Relaxation

TITLES = {
    "Name": "NAME",
    "Allows": "WHAT WORKS",
    "NeededBy": "WHO NEEDS IT",
    "GivesAway": "WHAT IT GIVES AWAY",
    "Changes": "WHAT IT CHANGES",
}
SHOWN = ("Name", "Allows", "GivesAway")


def run(parsed: Parsed) -> int:
    """Show the relaxations: all, or those named."""
    names = [word.lower().partition("=")[0] for word in parsed.operands] or list(RELAXATIONS)
    for name in names:
        if name not in RELAXATIONS:
            hint = did_you_mean(name, RELAXATIONS, otherwise="casemate relax lists them")
            raise NotFound("show relaxation", name, "there is no such relaxation", hint=hint)
    show_rows(Listing(SHOWN, TITLES), [_row(RELAXATIONS[name]) for name in names], parsed.text("format"))
    return 0


def _row(relaxation: Relaxation) -> dict[str, str]:
    changed = [*relaxation.changes, *(["Landlock"] if "landlock" in relaxation.switches else [])]
    return {
        "Name": relaxation.label,
        "Allows": relaxation.allows,
        "NeededBy": relaxation.needed_by,
        "GivesAway": relaxation.gives_away,
        "Changes": ", ".join(changed),
    }
