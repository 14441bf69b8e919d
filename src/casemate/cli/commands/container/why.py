"""``casemate why``."""

from __future__ import annotations

from casemate.cli.opening import container, open_engine
from casemate.cli.show.reasons import show_reasons
from casemate.cli.streams import put, safe_json
from casemate.cli.usage import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed

NOTHING_FOUND = 3


def run(parsed: Parsed) -> int:
    """Say which rule made the program fail; exit code 3 when no rule is known to have refused anything."""
    watch_s = parsed.get("watch")
    if watch_s is not None and watch_s < 0:
        raise UsageError("watch a container", "a time is not negative", exit_code=1)
    with open_engine() as engine:
        document = container(engine, parsed.operands[0]).why(watch_s=watch_s)
    if parsed.flag("json"):
        import json

        put(safe_json(json.dumps(document, indent=4, ensure_ascii=False)) + "\n")
    else:
        show_reasons(document, everything=parsed.flag("all"))
    return 0 if any(not found["Usual"] for found in document["Findings"]) else NOTHING_FOUND
