"""``casemate prove``."""

from __future__ import annotations

from casemate.cli.streams import GREEN, RED, YELLOW, paint, printable, put, say
from casemate.prove.rounds import chosen, prove, report, summary
from casemate.prove.verdict import BROKEN, HELD, NOT_TRIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from casemate.cli.args import Parsed
    from casemate.prove.catalogue import Check
    from casemate.prove.verdict import Result

COLOURS = {HELD: GREEN, BROKEN: RED, NOT_TRIED: YELLOW}


def run(parsed: Parsed) -> int:
    """Try the checks; exit code 0 when all that could be tried held, 1 when one did not."""
    checks = chosen(parsed.text("only"))
    if parsed.flag("list"):
        return _list(checks, as_json=parsed.flag("json"))
    runtime, as_json = parsed.text("runtime"), parsed.flag("json")
    results = prove(checks, runtime, _nothing if as_json else _show)
    if as_json:
        _put_json(report(results, runtime))
    else:
        say(f"\n{_totals(results)}")
    return int(any(result.status == BROKEN for result in results))


def _nothing(result: Result) -> None:
    del result


def _put_json(document: object) -> None:
    import json  # only when asked for

    put(json.dumps(document, indent=2, ensure_ascii=True) + "\n")


def _show(result: Result) -> None:
    status = paint(f"{result.status:<9}", COLOURS[result.status], fd=1)
    say(f"{status} {result.check.number:<4} {result.check.title}\n          {printable(result.found)}")


def _totals(results: Sequence[Result]) -> str:
    counts = summary(results)
    return f"{counts['held']} held, {counts['broken']} broken, {counts['not_tried']} not tried"


def _list(checks: Sequence[Check], *, as_json: bool) -> int:
    if as_json:
        rows = [
            {
                "number": c.number,
                "title": c.title,
                "invariant": c.invariant,
                "tried": c.tried,
                "absent": c.absent,
            }
            for c in checks
        ]
        _put_json(rows)
        return 0
    for check in checks:
        text = f"tried: {check.tried}" if check.runs else f"not tried: {check.absent}"
        say(f"{check.number:<4} {check.title}\n     {check.invariant}\n     {text}")
    return 0
