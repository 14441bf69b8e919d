"""What a command imports is what it costs to start: the modules of the quick verbs, pinned.

Written anew with CASEMATE_UPDATE_GOLDEN=1; the difference is part of the review.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import casemate
from casemate.engine.options import ContainerOptions

if TYPE_CHECKING:
    from casemate.engine.engine import Engine
    from casemate.store.paths import StorePaths

pytestmark = [pytest.mark.system, pytest.mark.needs_root]
GOLDEN = Path(__file__).parents[2] / "golden" / "modules"
SOURCE = os.path.dirname(os.path.dirname(casemate.__file__))
PROBE = """
import sys
before = set(sys.modules)
import os
sys.path.insert(0, {source!r})
sys.argv = ["casemate", *{words!r}]
from casemate import quickstart
from casemate.quickstart import Bundle, casemate
Bundle.profile = lambda bundle, target, words: []  # what earlier runs of the verb needed is not this one's choice
quickstart._renew = lambda bundle, learned: None  # nor is what writes a bundle
leave = os._exit
def tell(code):
    os.write(2, ("@" + " ".join(sorted(set(sys.modules) - before))).encode())
    leave(code)
os._exit = tell
casemate()
"""
NOT_ITS_CHOICE = (
    "casemate.cgroups.",
    "casemate.kernel.bpf",
    "casemate.kernel.const.bpf",
    "casemate.quickstart_write",
    "casemate.runtime.compile.older",
    "encodings.",
)
"""Depends on the host's version of control groups, on its kernel, on the bundle's age, on the locale."""
VERBS = {
    "run": ["run", "--rm", "--network", "none", "busybox", "true"],
    "exec": ["exec", "host", "true"],
    "ps": ["ps", "-a"],
    "stop": ["stop", "-t", "0", "host"],
    "rm": ["rm", "stopped"],
    "logs": ["logs", "host"],
}


def imported(paths: StorePaths, words: list[str]) -> set[str]:
    environment = {"CASEMATE_ROOT": paths.root, "CASEMATE_RUN_ROOT": paths.run_root, "HOME": paths.root}
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROBE.format(source=SOURCE, words=words)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
        timeout=60,
    )
    names = answer.stderr.rpartition("@")[2].split()
    return {name for name in names if not name.startswith(NOT_ITS_CHOICE)}


@pytest.mark.parametrize("verb", VERBS)
def test_a_quick_verb_imports_no_more_than_these_modules(
    verb: str, engine: Engine, paths: StorePaths
) -> None:
    for name in ("host", "stopped"):
        options = ContainerOptions(name=name, argv=["sleep", "100"], network="none")
        box = engine.containers.create("busybox", options)
        if name == "host":
            box.start()  # which also fills the caches of the first start
    found = imported(paths, VERBS[verb])
    golden = GOLDEN / f"{verb}.txt"
    if os.environ.get("CASEMATE_UPDATE_GOLDEN"):
        golden.write_text("".join(f"{name}\n" for name in sorted(found)))
    known = set(golden.read_text().split())
    assert found <= known, "every module costs a tenth of a millisecond at every start"
