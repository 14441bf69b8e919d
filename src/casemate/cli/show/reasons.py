"""An explanation in words: reasons, what allows them, what that gives away."""

from __future__ import annotations

from casemate.cli import streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TIME = slice(11, 19)  # of an RFC 3339 time
_TIMES = {1: "once", 2: "twice"}


def show_reasons(document: dict[str, Any], *, everything: bool) -> None:
    """Write the explanation to stdout."""
    for line in lines_of(document, everything=everything):
        streams.say(streams.printable(line))


def note_reasons(document: dict[str, Any]) -> None:
    """Write it to stderr, where messages go: the end of ``run --explain``."""
    for line in lines_of(document, everything=False):
        streams.note(streams.printable(line))


def lines_of(document: dict[str, Any], *, everything: bool) -> list[str]:
    """The lines; without ``everything`` what programs expect and work around is only counted."""
    lines = [f"{document['Name']}: {_state(document)}"]
    findings = [found for found in document["Findings"] if everything or not found["Usual"]]
    hidden = len(document["Findings"]) - len(findings)
    if not findings:
        lines.append("  no rule of the container is known to have refused anything")
    for number, found in enumerate(findings, 1):
        lines += _reason(number, found)
    if document["Said"] and not any("Call" in found for found in findings):
        lines.append("  its output says:")
        lines += [f"    | {text}" for text in document["Said"]]
    if hidden:
        answers = "answer" if hidden == 1 else "answers"
        lines.append(f"  note: {hidden} usual {answers} that programs expect are left out; --all shows them")
    lines += [f"  note: {note}" for note in document["Notes"]]
    return lines


def _state(document: dict[str, Any]) -> str:
    if document["State"] == "exited":
        return f"exited with code {document['ExitCode']} at {document['FinishedAt'][_TIME]} UTC"
    return str(document["State"])


def _reason(number: int, found: dict[str, Any]) -> list[str]:
    probably = "" if found["Certain"] else "probably: "
    lines = [f"  {number}. {probably}{found['What']}"]
    seen = _seen(found)
    if seen:
        lines.append(f"     {seen}")
    for way in found["Allow"]:
        lines.append(f"     allow it with:  {way['Option']}")
        lines.append(f"     gives away:     {way['GivesAway']}")
    return lines


def _seen(found: dict[str, Any]) -> str:
    count = found.get("Count")
    if count is None:
        return ""
    times = _TIMES.get(count, f"{count} times")
    if "First" not in found:
        return times
    first, last = found["First"][_TIME], found["Last"][_TIME]
    return f"{times}, at {first} UTC" if first == last else f"{times}, from {first} to {last} UTC"
