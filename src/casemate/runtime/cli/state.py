"""`state`: the runtime-spec's state object."""

from __future__ import annotations

import sys

from casemate.oci.quick_json import dumps
from casemate.runtime.cli.args import parse
from casemate.runtime.cli.record import load_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.runtime.cli.main import Settings


def state(settings: Settings, words: list[str]) -> int:
    """Print the state of a container as JSON."""
    operands = parse(words, {}, {}).expect(1, 1)
    sys.stdout.write(dumps(load_record(settings.root, operands[0]).state()) + "\n")
    return 0
