"""`casemate prove`: what it promises holds here, its checks can fail, and a killed round is cleaned by the next."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from casemate.prove.catalogue import CHECKS

pytestmark = [pytest.mark.system, pytest.mark.slow]

PROGRAM = os.path.join(os.path.dirname(sys.executable), "casemate")


def prove(*words: str, temporary: Path) -> tuple[int, dict[str, Any], str]:
    """Exit code, report, and what was said."""
    done = subprocess.run(
        [PROGRAM, "prove", "--json", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


@pytest.fixture
def temporary() -> Any:
    """A short path that containers' ids may pass through."""
    path = Path(f"/tmp/casemate-prove-test-{os.getpid()}-{time.monotonic_ns()}")
    path.mkdir(mode=0o711)
    path.chmod(0o711)
    yield path
    left = [name.name for name in path.iterdir()]
    shutil.rmtree(path, ignore_errors=True)
    assert left == [], "a round left its private place"


def broken(document: dict[str, Any]) -> dict[str, str]:
    return {row["number"]: row["found"] for row in document["checks"] if row["status"] == "broken"}


def not_tried(document: dict[str, Any]) -> dict[str, str]:
    return {row["number"]: row["found"] for row in document["checks"] if row["status"] == "not tried"}


FOR_GOOD = {"C29", "C33", "T4", "T7", "T9"}


@pytest.mark.parametrize("runtime", ["", "casemate-oci"])
def test_everything_that_can_be_tried_holds(runtime: str, temporary: Path) -> None:
    code, document, err = prove(*(["--runtime", runtime] if runtime else []), temporary=temporary)
    assert (code, broken(document)) == (0, {}), err
    missing = not_tried(document)
    if os.geteuid() == 0:
        assert set(missing) == FOR_GOOD
    else:
        # one id only with casemate-oci; strace cannot read what an ordinary user may not
        assert set(missing) <= FOR_GOOD | {"T1", "C10"}, missing
    assert document["uid"] == os.geteuid()


def test_a_killed_round_is_cleaned_by_the_next(temporary: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [PROGRAM, "prove", "--only", "C31,C6"], env=environment, stdout=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 20
        while not list(temporary.glob("casemate-prove-*/volume-*")):
            assert time.monotonic() < deadline, "the round did not begin"
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
    assert list(temporary.iterdir())
    time.sleep(2.1)  # a place is not looked at while it is new
    code, document, err = prove("--only", "C34", temporary=temporary)
    assert (code, broken(document)) == (0, {}), err


FAULTS = {
    "no_masks": "C2",
    "no_read_only": "C2",
    "follows_links": "C1",
    "settings_into_files": "C3",
    "leaks_descriptor": "C4",
    "runs_itself": "C5",
    "makes_mount_points_by_path": "C6",
    "open_groups": "C7",
    "one_capability_more": "C8",
    "another_exec": "C9",
    "one_group_more": "C10",
    "drops_settings": "C11",
    "helper_from_the_image": "C12",
    "listens": "C30",
    "buffers": "C31",
    "any_name": "C32",
    "shares_the_network": "C34",
    "looks_up_inside": "T1",
    "imports_the_image": "T2",
    "passes_the_environment": "T3",
    "leaves_a_process": "T5",
    "enters_visibly": "T8",
}
"""Fault of tests/support/broken_runtime.py -> the check that finds it."""
ALWAYS = ("C2", "C3", "C7", "C8", "C10", "C34")
"""Checks that are tried with every fault: they must hold, unless the fault is theirs."""


@pytest.mark.needs_root
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_broken_runtime_breaks_exactly_the_check_of_its_fault(fault: str, temporary: Path) -> None:
    runtime = temporary / "runtime"
    script = Path(__file__).parents[1] / "support" / "broken_runtime.py"
    runtime.write_text(f'#!/bin/sh\nexec {sys.executable} -I {script} {fault} {PROGRAM}-oci "$@"\n')
    runtime.chmod(0o755)
    numbers = ",".join(sorted({FAULTS[fault], *ALWAYS}))
    code, document, err = prove("--only", numbers, "--runtime", str(runtime), temporary=temporary)
    runtime.unlink()
    assert (code, set(broken(document))) == (1, {FAULTS[fault]}), (broken(document), err)
    assert not_tried(document) == {}


def test_every_check_has_a_runtime_that_breaks_it() -> None:
    """The interrupted start (T6) looks for the same remains as T5."""
    assert {check.number for check in CHECKS if check.runs} - set(FAULTS.values()) == {"T6"}
