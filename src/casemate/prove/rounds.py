"""One round: the checks one after the other against one wall, and the report."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from casemate.errors import CasemateError, Invalid, Unavailable
from casemate.prove.catalogue import CHECKS
from casemate.prove.place import private_place
from casemate.prove.processes import reaping_orphans
from casemate.prove.verdict import BROKEN, HELD, NOT_TRIED, Broken, CannotTry, Result
from casemate.prove.walls.engine import EngineLanguage
from casemate.prove.walls.oci import OciLanguage
from casemate.prove.walls.wall import Wall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casemate.prove.catalogue import Check
    from casemate.prove.place import Place

TIERS = ("container",)
SCHEMA = 1


def chosen(only: str) -> list[Check]:
    """The checks of a list such as ``C2,C4``; all of them for "". Raises: Invalid."""
    wanted = [word.strip().upper() for word in only.split(",") if word.strip()]
    known = {check.number: check for check in CHECKS}
    for word in wanted:
        if word not in known:
            raise Invalid(
                "choose checks", repr(word), "there is no such check", hint="casemate prove --list shows them"
            )
    return [check for check in CHECKS if check.number in wanted or not wanted]


def prove(checks: Sequence[Check], runtime: str, show: Callable[[Result], None]) -> list[Result]:
    """Try each check against our engine (``runtime`` "") or a runtime; ``show`` is called as each is done.

    Raises: NotFound without a static busybox or the runtime, Unavailable when not even a harmless container starts.
    """
    results = []
    with reaping_orphans(), private_place() as place:
        wall = make_wall(place, runtime)
        _start_something(wall)
        for check in checks:
            result = judge(check, wall)
            results.append(result)
            show(result)
    return results


def make_wall(place: Place, runtime: str) -> Wall:
    """The wall that is checked."""
    return Wall(OciLanguage(place, runtime) if runtime else EngineLanguage(place), place)


def _start_something(wall: Wall) -> None:
    said = wall.script("true")
    if not said.started:
        why = f"a harmless container does not start: {said.answer.last_words}"
        raise Unavailable("prove", wall.language.name, why, hint="casemate doctor says what this host lacks")


def judge(check: Check, wall: Wall) -> Result:
    """Try one check; whatever happens is a result."""
    begun = time.monotonic()
    try:
        status, found = HELD, check(wall)
    except Broken as broken:
        status, found = BROKEN, str(broken)
    except CannotTry as reason:
        status, found = NOT_TRIED, str(reason)
    except (CasemateError, OSError, ValueError) as error:
        status, found = NOT_TRIED, f"the check itself failed: {error}"
    return Result(check, status, found, time.monotonic() - begun)


def report(results: Sequence[Result], runtime: str) -> dict[str, object]:
    """The document of ``--json``; docs/prove.md describes it."""
    return {
        "schema": SCHEMA,
        "tier": TIERS[0],
        "runtime": runtime or "casemate",
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "uid": os.geteuid(),
        "checks": [result.as_dict() for result in results],
        "summary": summary(results),
    }


def summary(results: Sequence[Result]) -> dict[str, int]:
    """How many held, were broken, were not tried."""
    return {
        status.replace(" ", "_"): sum(result.status == status for result in results)
        for status in (HELD, BROKEN, NOT_TRIED)
    }
