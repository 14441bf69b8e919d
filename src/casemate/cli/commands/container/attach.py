"""``casemate attach``."""

from __future__ import annotations

from casemate.cli.attached import Stay
from casemate.cli.opening import container, open_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Join a running container; return its exit code, or 0 after the detach keys."""
    with open_engine() as engine:
        box = container(engine, parsed.operands[0])
        config = box.inspect()["Config"]
        tty = bool(config["Tty"])
        stdin = bool(config["OpenStdin"]) and not parsed.flag("no-stdin")
        proxy = parsed.values.get("sig-proxy", True) and not (tty and stdin)
        stay = Stay(box.name, tty=tty, stdin=stdin, sig_proxy=proxy, detach_keys=parsed.get("detach-keys"))
        return stay.with_program(lambda: box.attach(stay.attach()))
