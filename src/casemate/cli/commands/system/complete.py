"""``casemate __complete``: the words that may come next, one a line with a tab and a description."""

from __future__ import annotations

from casemate.cli.streams import put
from casemate.cli.words.complete import candidates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Print the candidates for the last word; the words before it are the line so far."""
    put(
        "".join(
            f"{word}\t{meaning}\n" if meaning else f"{word}\n"
            for word, meaning in candidates(parsed.operands)
        )
    )
    return 0
