"""No path is looked up between the first namespace and the program, outside a golden list (SECURITY: the entering process)."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ocibundle import Runtime, made_runtime

from casemate.prove.checks.traced import BEARS, PATH, whole_calls

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root]

GOLDEN = Path(__file__).parents[1] / "golden" / "trace"
CALLS = "trace=%file,clone,clone3,fork,vfork,unshare,setns"
PROGRAM = "/bin/true"
MAKES = ("mkdirat", "mknodat", "symlinkat", "readlinkat", "newfstatat", "statx")


@pytest.fixture
def oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        yield runtime


def traced(runtime: Runtime, *words: str) -> list[str]:
    """Whole calls of casemate-oci and its children."""
    runtime.save()
    log = runtime.base / "trace"
    argv = ["strace", "-f", "-q", "-s", "300", "-o", str(log), "-e", CALLS, *runtime.command(*words)]
    done = subprocess.run(argv, cwd=runtime.bundle, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return whole_calls(log.read_text(errors="replace").splitlines())


def inside(lines: list[str]) -> list[str]:
    """Paths that the child looks up from its birth in new namespaces (or its joining them) to the program, once each.

    Left out: what openat2 confines to the root, and single names made in a directory that is a verified descriptor.
    """
    child, found = "", set()
    for line in lines:
        pid = line.split(" ", 1)[0]
        if pid == child and "execve" in line and f'"{PROGRAM}"' in line:
            return sorted(found)
        if child == "" and (born := BEARS.match(line)) and "CLONE_PIDFD" in line:
            child = born[1]
        elif pid == child and (call := PATH.match(line)) and call[2]:
            named = "/" not in call[2] and call[1] in MAKES
            if "RESOLVE_IN_ROOT" not in line and not named:
                found.add(f"{call[1]} " + re.sub(r"/\d+(?=/|$)", "/N", call[2]))
    raise AssertionError("the trace does not show the program")


def check(name: str, found: list[str]) -> None:
    path = GOLDEN / f"{name}.txt"
    text = "\n".join(found) + "\n"
    if os.environ.get("CASEMATE_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    unknown = set(found) - set(path.read_text().splitlines())
    assert not unknown, f"new look-ups inside: {sorted(unknown)}"
    assert not [
        line for line in found if re.search(r"\.(py|pyc|so)\b|/usr/|/etc/ld|nsswitch|localtime|locale", line)
    ]


def test_a_start_looks_up_nothing_but_the_golden_list(oci: Runtime) -> None:
    oci.spec["process"]["args"] = [PROGRAM]
    check("run", inside(traced(oci, "run", "c")))


def test_an_exec_looks_up_nothing_but_the_golden_list(oci: Runtime) -> None:
    oci.args("sleep", "100")
    assert oci("run", "-d", "c").returncode == 0
    time.sleep(0.1)
    check("exec", inside(traced(oci, "exec", "c", PROGRAM)))
