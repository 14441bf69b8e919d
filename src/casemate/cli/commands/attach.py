"""``casemate attach``."""

from __future__ import annotations

from casemate.cli import terminal
from casemate.cli.attached import Attached
from casemate.cli.opening import container, open_engine
from casemate.engine.options import Attach

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
        rows, columns = terminal.size(1, 0, 2) if tty else (0, 0)
        session = box.attach(Attach(stdin=stdin, stderr_fd=None if tty else 2, rows=rows, columns=columns))
        stay = Attached(
            session,
            name=box.name,
            tty=tty,
            stdin=stdin,
            sig_proxy=parsed.values.get("sig-proxy", True) and not (tty and stdin),
        )
        stay.use_detach_keys(parsed.get("detach-keys"))
        return stay.stay()
