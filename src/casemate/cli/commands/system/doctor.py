"""``casemate doctor``."""

from __future__ import annotations

from casemate.cli.doctor.checks import exit_code, run_checks, totals
from casemate.cli.doctor.finding import FAIL, OK, WARN
from casemate.cli.streams import GREEN, RED, YELLOW, paint, printable, put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cli.args import Parsed
    from casemate.cli.doctor.finding import Finding

COLOURS = {OK: GREEN, WARN: YELLOW, FAIL: RED}
SUBJECT_WIDTH = 20


def run(parsed: Parsed) -> int:
    """Show every check; exit code 0, 1 (warnings) or 2 (failures)."""
    findings = run_checks()
    if parsed.flag("json"):
        import json  # only when asked for

        put(json.dumps([finding.as_dict() for finding in findings], indent=2, ensure_ascii=False) + "\n")
    else:
        put("\n".join(_lines(finding) for finding in findings) + f"\n\n{totals(findings)}\n")
    return exit_code(findings)


def _lines(finding: Finding) -> str:
    status = paint(f"{finding.status:<5}", COLOURS[finding.status], fd=1)
    text = f"{status} {finding.subject:<{SUBJECT_WIDTH}} {printable(finding.found)}"
    if finding.effect:
        text += f"\n      effect: {printable(finding.effect)}"
    if finding.fix:
        text += f"\n      fix:    {printable(finding.fix)}"
    return text
