"""The two rooms that every container start imports stay light."""

from __future__ import annotations

import os
import subprocess
import sys

import casemate

SOURCE = os.path.dirname(os.path.dirname(casemate.__file__))

HEAVY = {
    "argparse",
    "asyncio",
    "contextlib",
    "dataclasses",
    "enum",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "pwd",
    "random",
    "re",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "traceback",
    "typing",
    "urllib",
}

IMPORT_ALL = """
import sys, os
sys.path.insert(0, sys.argv[1])
for room in ("kernel", "kernel/const", "cgroups"):
    for name in sorted(os.listdir(f"{sys.argv[1]}/casemate/{room}")):
        if name.endswith(".py"):
            __import__("casemate." + room.replace("/", ".") + "." + name[:-3])
print(*sys.modules)
"""


def test_nothing_heavy_is_imported() -> None:
    command = [sys.executable, "-I", "-S", "-c", IMPORT_ALL, SOURCE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"casemate.kernel.mount_api", "casemate.cgroups.v2"} <= loaded
    assert loaded & HEAVY == set()


def test_importing_opens_nothing_and_starts_nothing() -> None:
    script = (
        IMPORT_ALL
        + 'print(len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), file=sys.stderr)'
    )
    command = [sys.executable, "-I", "-S", "-c", script, SOURCE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, close_fds=True)
    assert done.stderr.split() == ["4", "1"]
