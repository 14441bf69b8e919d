"""What `ps` and `run` load of the store: nothing that costs more than it does."""

from __future__ import annotations

import subprocess
import sys

import pytest

COSTLY = {
    "argparse", "asyncio", "dataclasses", "datetime", "enum", "hashlib", "hmac", "inspect", "json",
    "logging", "pathlib", "random", "re", "secrets", "socket", "sqlite3", "subprocess", "tempfile",
    "threading", "typing", "urllib",
}  # fmt: skip
USES = {
    "ps": "store.containers.list(); store.images.list(); store.ranges.find('x')",
    "run": "store.snapshots.has_layer('sha256:' + '0' * 64); store.content.find('sha256:' + '0' * 64)",
}


@pytest.mark.parametrize("use", USES)
def test_nothing_costly_is_imported(use: str, tmp_path: object) -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "from casemate.store.store import Store\nfrom casemate.store.paths import StorePaths\n"
        f"with Store.open(StorePaths('{tmp_path}/root', '{tmp_path}/run')) as store:\n    {USES[use]}\n"
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & COSTLY == set()
