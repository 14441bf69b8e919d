"""One reason, and what would remove it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class Finding:
    """``rule`` is a word from RULES, ``what`` a sentence, ``allow`` pairs of (option, what it gives away).

    ``certain``: the kernel's answer can have no other cause. ``usual``: programs expect this answer and go another way.
    """

    __slots__ = ("allow", "certain", "rule", "usual", "what")

    def __init__(
        self,
        rule: str,
        what: str,
        allow: Iterable[tuple[str, str]] = (),
        *,
        certain: bool = True,
        usual: bool = False,
    ) -> None:
        self.rule = rule
        self.what = what
        self.allow = list(allow)
        self.certain = certain
        self.usual = usual

    def document(self, **seen: Any) -> dict[str, Any]:
        """As JSON; ``seen`` is what is known of the occurrences."""
        return {
            "Rule": self.rule,
            "What": self.what,
            **seen,
            "Certain": self.certain,
            "Usual": self.usual,
            "Allow": [{"Option": option, "GivesAway": price} for option, price in self.allow],
        }


RULES = {
    "seccomp": "the system call filter",
    "capability": "a capability that the program does not have",
    "user-namespace": "a right that only the host's own root has",
    "no-new-privileges": "set-user-id bits and file capabilities are ignored",
    "landlock": "the Landlock domain",
    "read-only": "a read-only file system or path",
    "masked": "a masked path",
    "device": "a device that the container was not given",
    "noexec": "a file system from which nothing is executed",
    "permissions": "the file's own owner and mode",
    "network": "the container's network",
    "pids": "the limit of processes",
    "memory": "the memory limit",
    "space": "a full file system",
    "ulimit": "a resource limit",
    "kernel": "this kernel",
    "signal": "a signal",
    "program": "the program itself",
}
