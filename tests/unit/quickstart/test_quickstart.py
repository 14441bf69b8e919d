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
VERSION = ("version",)
PROFILED = (
    "import os, sys; from casemate import quickstart\n"
    "quickstart.LEARN_EVERY = 1 << 30  # not this time\n"
    "preload = quickstart.Bundle.preload\n"
    "def tell(bundle, names):\n"
    "    preload(bundle, names)\n"
    "    print(len(names), sum(n in sys.modules for n in names), len(bundle.done), file=sys.stderr)\n"
    "quickstart.Bundle.preload = tell\n"
    "leave = os._exit\n"
    "def end(status):\n"
    "    odd = [n for n, m in sys.modules.items() if n.startswith('casemate.') and (\n"
    "        m.__spec__.name != n or not os.path.exists(m.__file__)\n"
    "        or m.__package__ != (n if hasattr(m, '__path__') else n.rpartition('.')[0])\n"
    "        or getattr(sys.modules[n.rpartition('.')[0]], n.rpartition('.')[2], m) is not m)]\n"
    "    print('odd', odd, file=sys.stderr)\n"
    "    leave(status)\n"
    "os._exit = end\n"
    "quickstart.casemate()"
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, so that its cache is ours alone."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(os.path.dirname(casemate.__file__), tmp_path / "casemate", ignore=ignore)
    (tmp_path / "casemate" / "__pycache__").mkdir()
    return tmp_path


def run(
    package: Path, script: str = START, words: tuple[str, ...] = ("run", "--help")
) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(package), "PATH": "/usr/bin:/bin", "HOME": str(package)}
    argv = [sys.executable, "-c", script, *words]
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


def learn(package: Path) -> str:
    """Write the code, then the profile; what the command says."""
    script = START.replace(
        "from casemate", "from casemate import quickstart; quickstart.LEARN_EVERY = 1; from casemate"
    )
    assert run(package, words=VERSION).returncode == 0
    return run(package, script, VERSION).stdout


def test_the_third_start_runs_all_modules_before_the_command(package: Path) -> None:
    expected = learn(package)

    third = run(package, PROFILED, VERSION)

    assert third.returncode == 0
    assert third.stdout == expected
    known, *_ = lines = third.stderr.splitlines()
    names, present, done = (int(word) for word in known.split())
    assert names == present
    assert done > 10
    assert lines[1:] == ["odd []"]


def test_a_changed_source_ends_the_early_part_and_no_more(package: Path) -> None:
    learn(package)
    main = package / "casemate" / "cli" / "streams.py"
    main.write_text(main.read_text() + "\nprint('changed')\n")

    third = run(package, PROFILED, VERSION)

    assert third.returncode == 0
    assert "changed\n" in third.stdout
    names, present, _ = (int(word) for word in third.stderr.splitlines()[0].split())
    assert present < names


def test_a_package_that_imports_its_own_modules_comes_whole(package: Path) -> None:
    learn(package)
    script = (
        "import sys; from casemate import quickstart\n"
        "bundle = quickstart.Bundle(); bundle.index = {}; sys.meta_path.insert(0, bundle)\n"
        "import ast, enum, re, json; quickstart._renew(bundle, '')\n"
        "from casemate.quickstart_write import renew; renew(bundle)\n"
    )
    assert run(package, script).returncode == 0
    script = (
        "import sys; from casemate import quickstart\n"
        "bundle = quickstart.Bundle(); bundle.open(); sys.meta_path.insert(0, bundle)\n"
        "for name in [n for n in sys.modules if n.partition('.')[0] in ('re', 'json', 'enum')]: del sys.modules[name]\n"
        "bundle.preload(['enum', 're._constants', 're._parser', 're', 'json.decoder', 'json'])\n"
        "import re, json; print(bool(re.match('a', 'a')), json.loads('[1]'), re.__spec__.loader is bundle)\n"
    )

    answer = run(package, script)

    assert answer.stdout == "True [1] True\n", answer.stderr


def test_a_module_of_the_standard_library_keeps_its_behaviour(package: Path) -> None:
    learn(package)
    script = (
        "import sys; from casemate import quickstart\n"
        "bundle = quickstart.Bundle(); bundle.open(); sys.meta_path.insert(0, bundle)\n"
        "theirs = [name for name in bundle.index if not name.startswith('casemate.')]\n"
        "for name in theirs: __import__(name)\n"
        "import struct\n"
        "print(len(theirs), struct.unpack('<H', bytes(2)), struct.__spec__.origin)\n"
    )

    answer = run(package, script)

    assert answer.returncode == 0, answer.stderr
    count, *rest = answer.stdout.split()
    assert int(count) > 0
    assert rest == ["(0,)", os.path.join(os.path.dirname(os.__file__), "struct.py")]


def test_a_changed_source_is_not_served_from_the_bundle(package: Path) -> None:
    run(package)
    main = package / "casemate" / "cli" / "main.py"
    main.write_text(main.read_text() + "\nprint('changed')\n")

    assert "changed" in run(package).stdout


@pytest.mark.parametrize("damage", [b"", b"CMQ2", b"x" * 4096])
def test_a_damaged_bundle_is_ignored(package: Path, damage: bytes) -> None:
    expected = run(package).stdout
    bundle_of(package).write_bytes(damage)

    answer = run(package)

    assert answer.returncode == 0
    assert answer.stdout == expected


def test_a_bundle_cut_short_is_ignored(package: Path) -> None:
    expected = run(package).stdout
    bundle = bundle_of(package)
    bundle.write_bytes(bundle.read_bytes()[:-1])

    assert run(package).stdout == expected


def test_a_directory_that_cannot_be_written_is_no_error(package: Path) -> None:
    shutil.rmtree(package / "casemate" / "__pycache__")
    (package / "casemate" / "__pycache__").write_text("a file where the cache would be")

    assert run(package).returncode == 0
