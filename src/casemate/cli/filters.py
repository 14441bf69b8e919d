"""``--filter key=value`` as the engine's mapping."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def filters(parsed: Parsed) -> dict[str, list[str]] | None:
    """Return key -> values of every ``--filter``, or None."""
    found: dict[str, list[str]] = {}
    for key, value in parsed.all("filter"):
        found.setdefault(key, []).append(value)
    return found or None
