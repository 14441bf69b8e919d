"""``casemate help``."""

from __future__ import annotations

from casemate.cli import table
from casemate.cli.streams import put
from casemate.cli.suggest import did_you_mean
from casemate.cli.usage import UsageError
from casemate.cli.words.help import help_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Show help of the command that the operands name."""
    path = " ".join(parsed.operands)
    if path and not is_command(parsed.operands):
        names = [*(name for name in table.PARTS if name[:1] != "_"), *table.NOUNS]
        raise UsageError(
            f"show help of {path}",
            "there is no such command",
            hint=did_you_mean(parsed.operands[0], names),
            exit_code=1,
        )
    put(help_text(path))
    return 0


def is_command(words: list[str]) -> bool:
    """Return whether the words are a verb, a noun, or a noun and one of its verbs."""
    first, rest = words[0], words[1:]
    if first in table.NOUNS:
        return not rest or (len(rest) == 1 and rest[0] in table.NOUNS[first][1])
    return first in table.PARTS and not rest
