"""The explanation of a container: everything that is known, the likeliest reason first."""

from __future__ import annotations

import errno

from casemate.engine.show.times import rfc3339
from casemate.engine.why import ending
from casemate.engine.why.denied import because_of_rule
from casemate.engine.why.filtered import because_of_filter
from casemate.engine.why.finding import Finding
from casemate.engine.why.prices import relaxed
from casemate.engine.why.scene import Scene
from casemate.engine.why.watch import last_ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store

_UP = ("running", "paused")


def explain(store: Store, row: ContainerRow, *, ended_with: int | None = None) -> dict[str, Any]:
    """Id, Name, State, ExitCode, StartedAt, FinishedAt, Watched, Findings, Said, Notes.

    ``ended_with``: the exit code, when the caller has just seen the end and the row does not say so yet.
    """
    end = ending.document_of_end(store, row, ended_with)
    is_up = end["State"] in _UP
    ledger = last_ledger(store, row, ended=not is_up)
    scene = Scene(row, ledger)
    findings = [found for entry in (ledger or {}).get("entries", ()) if (found := _seen(entry, scene))]
    findings.sort(key=lambda found: (found["Usual"], not found["Certain"], found["Rule"] == "permissions"))
    record = None if is_up else ending.exit_record(store, row)
    events = ending.group_events(row, record)
    limits = [
        finding.document(Count=count)
        for finding, count in ending.because_of_limits(scene, events)
        if not any(found["Rule"] == finding.rule for found in findings)
    ]
    if not is_up and end["State"] != "created":
        explained = any(found["Rule"] == "seccomp" and "SIGSYS" in found["What"] for found in findings)
        last = ending.because_of_end(
            scene, end["ExitCode"], oom=bool(events.get("oom_kill")), explained=explained
        )
        limits += [last.document()] if last is not None else []
    return {
        "Id": row.id,
        "Name": row.name,
        **end,
        "Watched": ledger is not None,
        "Findings": [*limits, *findings] if _ended_by_force(end) else [*findings, *limits],
        "Said": ending.last_words(ending.output_of(store, row)),
        "Notes": _notes(scene, ledger, end, findings=bool(findings or limits)),
    }


def _ended_by_force(end: dict[str, Any]) -> bool:
    return bool(end["ExitCode"] > 128)  # noqa: PLR2004 - 128 + signal


def _seen(entry: dict[str, Any], scene: Scene) -> dict[str, Any] | None:
    """One entry of the ledger as a finding; None when no rule is behind it."""
    finding = _judge(entry, scene)
    if finding is None:
        return None
    seen = {
        "Program": entry["comm"],
        "Count": entry["count"],
        "First": rfc3339(entry["first_ns"]),
        "Last": rfc3339(entry["last_ns"]),
    }
    if entry["kind"] == "failed":
        seen["Call"] = _call(entry)
        seen["Errno"] = _errno_name(entry["errno"])
    return finding.document(**seen)


def _judge(entry: dict[str, Any], scene: Scene) -> Finding | None:
    kind = entry["kind"]
    if kind == "masked":
        path = entry["paths"][0]
        return Finding(
            "masked",
            f"{path} was opened, and is empty: {scene.listed(path, 'masked')} is masked in the container",
            [relaxed("systempaths")],
        )
    if kind == "suid":
        return Finding(
            "no-new-privileges",
            f"{entry['path']} is set-user-id, and was run as the user who called it: no_new_privs is set",
            [relaxed("suid")],
        )
    if kind == "sigsys":
        return _killed(entry, scene)
    said = f"{_call(entry)} by {entry['comm'] or 'a program'}"
    if entry["filtered"]:
        return because_of_filter(entry, scene, said=said, error=_errno_name(entry["errno"]))
    return because_of_rule(entry, scene, said)


def _killed(entry: dict[str, Any], scene: Scene) -> Finding:
    call = entry["call"] or f"system call {entry['number']} of a foreign ABI ({entry['arch']:#x})"
    if scene.wall.seccomp_file:
        return Finding(
            "seccomp",
            f"SIGSYS: the filter of {scene.wall.seccomp_file} kills for {call}",
            [("--security-opt seccomp=FILE", f"what you add to the profile: allow {call}")],
        )
    return Finding(
        "seccomp",
        f"SIGSYS: the system call filter kills for {call}",
        [relaxed("abi32")],
    )


def _call(entry: dict[str, Any]) -> str:
    name = entry["call"] or f"system call {entry['number']}"
    return f"{name}({', '.join(entry['shown'])})"


def _errno_name(number: int) -> str:
    return "EOPNOTSUPP" if number == errno.EOPNOTSUPP else errno.errorcode.get(number, str(number))


def _notes(scene: Scene, ledger: dict[str, Any] | None, end: dict[str, Any], *, findings: bool) -> list[str]:
    """What the reader should know about the explanation itself."""
    notes = list(scene.record.get("notes", ()))
    if end["State"] == "created":
        notes.append("it has not run: an error of its start was told there")
    elif ledger is None:
        notes.append(
            "nobody watched this run, so only its end, its limits and its output are known: "
            "casemate restart --explain CONTAINER watches the next one, casemate why --watch 10 CONTAINER a running one"
        )
    elif not ledger["ended"] and end["State"] not in _UP:
        notes.append(
            "the watching process was killed before the container ended: what came later is not known"
        )
    elif not findings and end["ExitCode"]:
        notes.append("the program failed by itself; casemate logs shows what it said")
    if ledger is not None and ledger["others"]:
        notes.append(f"{ledger['others']} more refusals of other kinds were counted, not kept")
    if scene.is_rootless:
        unenforced = scene.record.get("unenforced", [])
        if unenforced:
            notes.append(
                f"limits that are not enforced for an ordinary user cannot be the reason: {', '.join(unenforced)}"
            )
    return notes
