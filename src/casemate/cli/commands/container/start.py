"""``casemate start``."""

from __future__ import annotations

from casemate.cli.attached import Stay
from casemate.cli.opening import container, for_each, open_engine
from casemate.cli.streams import say
from casemate.cli.usage import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed
    from casemate.engine.engine import Engine


def run(parsed: Parsed) -> int:
    """Start containers and print the names as typed; with ``-a`` or ``-i`` stay with the only one."""
    with open_engine() as engine:
        if parsed.flag("attach") or parsed.flag("interactive"):
            if len(parsed.operands) > 1:
                raise UsageError(
                    "start and attach several containers",
                    "only one can have this terminal",
                    hint="leave -a and -i away",
                    exit_code=1,
                )
            return _stay(engine, parsed)

        def start(name: str) -> None:
            container(engine, name).start(explain=parsed.flag("explain"))
            say(name)

        return for_each(parsed.operands, start)


def _stay(engine: Engine, parsed: Parsed) -> int:
    box = container(engine, parsed.operands[0])
    config = box.inspect()["Config"]
    tty = bool(config["Tty"])
    stdin = parsed.flag("interactive") and bool(config["OpenStdin"])
    stay = Stay(box.name, tty=tty, stdin=stdin, detach_keys=parsed.get("detach-keys"))
    return stay.with_program(lambda: box.start(stay.attach(), explain=parsed.flag("explain")))
