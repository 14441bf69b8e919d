"""What a command imports is what it costs to start."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SOURCE = (
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))) + "/src"
)
# each takes milliseconds at every start, and none is needed to start a container
SLOW = {
    "argparse",
    "asyncio",
    "dataclasses",
    "getopt",
    "importlib.metadata",
    "inspect",
    "logging",
    "pathlib",
    "rich",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "typing",
    "urllib",
    "urllib3",
    "xml",
}
PROBE = """
import sys
before = set(sys.modules)
sys.path.insert(0, {source!r})
sys.argv = ["casemate", *{words!r}]
from casemate.cli.main import main
main()
sys.stderr.write("\\n@ " + " ".join(sorted(set(sys.modules) - before)))
"""
BARE = {
    "__future__",
    "_collections_abc",
    "_stat",
    "casemate",
    "casemate.quickstart",
    "gc",
    "genericpath",
    "os",
    "os.path",
    "posixpath",
    "stat",
}


def imported(tmp_path: object, *words: str) -> set[str]:
    environment = {
        "CASEMATE_ROOT": f"{tmp_path}/root",
        "CASEMATE_RUN_ROOT": f"{tmp_path}/run",
        "HOME": f"{tmp_path}",
    }
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROBE.format(source=SOURCE, words=list(words))],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
        timeout=60,
    )
    return set(answer.stderr.rpartition("@ ")[2].split())


def test_version_imports_next_to_nothing(tmp_path: object) -> None:
    found = imported(tmp_path, "--version")
    own = {
        "casemate.cli",
        "casemate.cli.main",
        "casemate.cli.failure",
        "casemate.cli.streams",
        "casemate.cli.table",
    }
    assert found == BARE | own | {"casemate.errors"}


@pytest.mark.parametrize(
    "words",
    [
        ["ps", "-a"],
        ["ps", "-q"],
        ["run", "--rm", "--pull", "never", "-v", "/tmp:/t", "-m", "64m", "absent", "true"],
        ["exec", "absent", "true"],
        ["start", "absent"],
        ["stop", "absent"],
        ["rm", "absent"],
        ["logs", "absent"],
        ["wait", "absent"],
        ["inspect", "absent"],
        ["run", "--help"],
    ],
    ids=lambda words: "-".join(words[:2]),
)
def test_quick_verbs_import_nothing_slow(words: list[str], tmp_path: object) -> None:
    found = imported(tmp_path, *words)
    slow = {name for name in found if name in SLOW or name.partition(".")[0] in SLOW}
    assert not slow


@pytest.mark.parametrize("verb", ["ps", "stop", "rm", "logs"])
def test_a_verb_imports_its_own_command_and_no_other(verb: str, tmp_path: object) -> None:
    found = imported(tmp_path, verb, *(["absent"] if verb != "ps" else []))
    commands = {name.rpartition(".")[2] for name in found if name.startswith("casemate.cli.commands.")}
    assert commands == {"container", verb}
    parts = {name.rpartition(".")[2] for name in found if name.startswith("casemate.cli.tables.")}
    assert parts == {"container"}


def test_listing_containers_imports_no_rooms_that_start_them(tmp_path: object) -> None:
    found = imported(tmp_path, "ps")
    assert not {
        name
        for name in found
        if name.startswith(("casemate.registry", "casemate.cli.template", "casemate.runtime.compile"))
    }


def test_templates_are_imported_only_when_asked_for(tmp_path: object) -> None:
    assert "casemate.cli.template.evaluate" in imported(tmp_path, "ps", "--format", "{{.ID}}")
