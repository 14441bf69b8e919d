"""The bundle is a cache: it changes how fast a command starts, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import casemate

if TYPE_CHECKING:
    from pathlib import Path

START = "import sys; from casemate.quickstart import casemate; sys.exit(casemate())"
REPORT = (
    "import os, sys; from casemate.quickstart import command, Bundle\n"
    "os._exit = int  # stay, to look around\n"
    "status = command('casemate.cli.main')\n"
    "ours = [m for n, m in sys.modules.items() if n.startswith('casemate.cli')]\n"
    "print(sum(isinstance(m.__spec__.loader, Bundle) for m in ours), len(ours), file=sys.stderr)"
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, so that its cache is ours alone."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(os.path.dirname(casemate.__file__), tmp_path / "casemate", ignore=ignore)
    (tmp_path / "casemate" / "__pycache__").mkdir()
    return tmp_path


def run(package: Path, script: str = START) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(package), "PATH": "/usr/bin:/bin", "HOME": str(package)}
    argv = [sys.executable, "-c", script, "run", "--help"]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


def bundle_of(package: Path) -> Path:
    return next((package / "casemate" / "__pycache__").glob("quickstart.cpython*[0-9]"))


def test_the_second_start_takes_its_modules_from_the_bundle(package: Path) -> None:
    first = run(package)
    second = run(package, REPORT)

    assert first.returncode == 0
    assert first.stdout == second.stdout
    from_bundle, all_of_them = second.stderr.split()
    assert int(from_bundle) >= int(all_of_them) - 1  # the package casemate.cli may come either way


def test_a_changed_source_is_not_served_from_the_bundle(package: Path) -> None:
    run(package)
    main = package / "casemate" / "cli" / "main.py"
    main.write_text(main.read_text() + "\nprint('changed')\n")

    assert "changed" in run(package).stdout


@pytest.mark.parametrize("damage", [b"", b"CMQ1", b"x" * 4096])
def test_a_damaged_bundle_is_ignored(package: Path, damage: bytes) -> None:
    expected = run(package).stdout
    bundle_of(package).write_bytes(damage)

    answer = run(package)

    assert answer.returncode == 0
    assert answer.stdout == expected


def test_a_directory_that_cannot_be_written_is_no_error(package: Path) -> None:
    shutil.rmtree(package / "casemate" / "__pycache__")
    (package / "casemate" / "__pycache__").write_text("a file where the cache would be")

    assert run(package).returncode == 0
