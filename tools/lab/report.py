"""Bring the guest's junit files home, and write one for each selection that the guest did not finish."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.lab.machine import Paths
    from tools.lab.selections import Selection

PASSED, NOTHING_TO_RUN = 0, 5
TAIL_BYTES = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one selection ended."""

    name: str
    passed: bool
    words: str


def collect(results: dict[str, bytes], chosen: list[Selection], trouble: str, paths: Paths) -> list[Outcome]:
    """Write NAME.xml for every selection beside the logs and tell how each ended."""
    directory = os.path.dirname(paths.console)
    statuses = json.loads(results.get("status.json", b"{}"))
    outcomes = []
    for selection in chosen:
        name = selection.name
        data = results.get(f"{name}.xml")
        status = statuses.get(name, {}).get("status")
        words = _words(status, trouble)
        if data is None and status != NOTHING_TO_RUN:
            data = _failure(name, words, _tail(paths.output) + _tail(paths.console))
        if data is not None:
            with open(os.path.join(directory, f"{name}.xml"), "wb") as file:
                file.write(data)
        passed = status in {PASSED, NOTHING_TO_RUN}
        seconds = statuses.get(name, {}).get("seconds", 0)
        outcomes.append(Outcome(name=name, passed=passed, words=f"{_counts(data)}{words} in {seconds:.0f} s"))
    return outcomes


def tell(outcomes: list[Outcome], trouble: str, paths: Paths) -> int:
    """Print the verdicts; 0 when all passed."""
    for outcome in outcomes:
        print(f"lab: {outcome.name:16} {outcome.words}")
    if trouble:
        print(f"lab: {trouble}; the end of its console ({paths.console}):")
        print(_tail(paths.console))
    return 0 if all(outcome.passed for outcome in outcomes) and not trouble else 1


def _words(status: int | None, trouble: str) -> str:
    if status is None:
        return f"FAILED, not finished: {trouble or 'the guest gave no status'}"
    known = {PASSED: "passed", NOTHING_TO_RUN: "has no test for this user", 124: "FAILED, out of time"}
    return known.get(status, f"FAILED ({status})")


def _counts(data: bytes | None) -> str:
    if data is None:
        return ""
    try:
        suite = ET.fromstring(data).find(".//testsuite")  # noqa: S314 - written by our own guest
    except ET.ParseError:
        return ""
    if suite is None:
        return ""
    total, bad = int(suite.get("tests", 0)), int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return f"{total} tests, {bad} bad, {suite.get('skipped', 0)} skipped: "


def _failure(name: str, words: str, log: str) -> bytes:
    """A junit file with one failed test, for whoever reads only these."""
    suite = ET.Element("testsuite", name=name, tests="1", failures="0", errors="1", skipped="0")
    case = ET.SubElement(suite, "testcase", classname="lab", name="guest")
    ET.SubElement(case, "error", message=words).text = log
    root = ET.Element("testsuites")
    root.append(suite)
    return ET.tostring(root, xml_declaration=True, encoding="utf-8")


def _tail(path: str) -> str:
    """The last lines of a log, without what XML cannot carry."""
    try:
        with open(path, "rb") as file:
            data = file.read()[-TAIL_BYTES:]
    except OSError:
        return ""
    text = data.decode("utf-8", "replace")
    return "".join(c if c in "\n\t" or c.isprintable() else " " for c in text)
