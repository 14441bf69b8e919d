"""``casemate exec``."""

from __future__ import annotations

from casemate.cli.attached import Stay
from casemate.cli.opening import container, open_engine
from casemate.cli.request import exec_options
from casemate.cli.terminal import require_terminal

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
        stay = Stay(
            box.name,
            tty=options.tty,
            stdin=stdin,
            sig_proxy=not options.tty,
            detach_keys=parsed.get("detach-keys"),
        )
        attach = None if options.detach else stay.attach()
        return stay.with_program(lambda: box.exec(parsed.operands[1:], options, attach))
