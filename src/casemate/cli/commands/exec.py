"""``casemate exec``."""

from __future__ import annotations

from casemate.cli import terminal
from casemate.cli.attached import Attached
from casemate.cli.commands.run import require_terminal
from casemate.cli.opening import container, open_engine
from casemate.cli.request import exec_options
from casemate.engine.options import Attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed


def run(parsed: Parsed) -> int:
    """Run another program in a container; return its exit code."""
    options = exec_options(parsed)
    stdin = options.interactive and not options.detach
    require_terminal(tty=options.tty, stdin=stdin)
    with open_engine() as engine:
        box = container(engine, parsed.operands[0])
        rows, columns = terminal.size(1, 0, 2) if options.tty else (0, 0)
        attach = Attach(stdin=stdin, stderr_fd=None if options.tty else 2, rows=rows, columns=columns)
        session = box.exec(parsed.operands[1:], options, None if options.detach else attach)
        if session is None:
            return 0
        stay = Attached(session, name=box.name, tty=options.tty, stdin=stdin, sig_proxy=not options.tty)
        stay.use_detach_keys(parsed.get("detach-keys"))
        return stay.stay()
