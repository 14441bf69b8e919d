"""What a check found."""

from __future__ import annotations

OK, WARN, FAIL = "ok", "warn", "fail"


class Finding:
    """One line of ``casemate doctor``: what was found, what that means for containers, and the exact fix."""

    __slots__ = ("effect", "fix", "found", "status", "subject")

    def __init__(self, subject: str, status: str, found: str, *, effect: str = "", fix: str = "") -> None:
        self.subject = subject
        self.status = status
        self.found = found
        self.effect = effect
        self.fix = fix

    def as_dict(self) -> dict[str, str]:
        """Return the finding for ``--json``."""
        return {
            "check": self.subject,
            "status": self.status,
            "found": self.found,
            "effect": self.effect,
            "fix": self.fix,
        }


def read_text(path: str) -> str | None:
    """Return a small file's text without line end, or None when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65536).strip()
    except OSError:
        return None
