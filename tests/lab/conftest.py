"""A busybox image of the user's own, and casemate's commands as people type them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., subprocess.CompletedProcess[str]]

CASEMATE = os.path.join(os.path.dirname(sys.executable), "casemate")


@pytest.fixture(scope="session")
def casemate(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Run ``casemate WORD...`` on a store with busybox in it."""
    top = tmp_path_factory.mktemp("store")
    environment = {**os.environ, "CASEMATE_ROOT": str(top / "root"), "CASEMATE_RUN_ROOT": str(top / "run")}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        # Files, not pipes: a detached container keeps them open.
        with (
            open(top / "out", "w+", encoding="utf-8") as out,
            open(top / "err", "w+", encoding="utf-8") as err,
        ):
            found = subprocess.run(
                [CASEMATE, *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=60,
                check=False,
            )
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(found.args, found.returncode, out.read(), err.read())

    made = command("image", "bootstrap", "busybox")
    assert made.returncode == 0, made.stderr
    return command
