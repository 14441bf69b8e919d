"""``casemate completion``."""

from __future__ import annotations

from casemate.cli.streams import put
from casemate.cli.suggest import did_you_mean
from casemate.cli.usage import UsageError
from casemate.cli.words.shells import script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed

SHELLS = ("bash", "zsh", "fish")


def run(parsed: Parsed) -> int:
    """Print a completion script."""
    shell = parsed.operands[0]
    if shell not in SHELLS:
        raise UsageError(
            f"complete for {shell}",
            f"shells are {', '.join(SHELLS)}",
            hint=did_you_mean(shell, SHELLS),
            exit_code=1,
        )
    put(script(shell))
    return 0
