"""What a check found."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.prove.catalogue import Check

HELD, BROKEN, NOT_TRIED = "held", "broken", "not tried"


class Broken(Exception):
    """The invariant does not hold; the text says what was seen."""


class CannotTry(Exception):
    """The check cannot be made here; the text says why, and what would help."""


class Result:
    """One check's verdict: what was tried, and what held, did not hold, or stood in the way."""

    __slots__ = ("check", "found", "seconds", "status")

    def __init__(self, check: Check, status: str, found: str, seconds: float) -> None:
        self.check = check
        self.status = status
        self.found = found
        self.seconds = seconds

    def as_dict(self) -> dict[str, object]:
        """The result for ``--json``."""
        return {
            "number": self.check.number,
            "title": self.check.title,
            "invariant": self.check.invariant,
            "tried": self.check.tried,
            "status": self.status,
            "found": self.found,
            "seconds": round(self.seconds, 2),
        }


def require(*, held: bool, otherwise: str) -> None:
    """Raise Broken with the words ``otherwise`` unless ``held``."""
    if not held:
        raise Broken(otherwise)
