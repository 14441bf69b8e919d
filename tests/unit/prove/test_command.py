"""Programs that the checks start end when their time is over, with whatever they had started."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from casemate.prove.command import run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_program_that_hangs_in_a_child_leaves_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "never")
    script = f"cat {tmp_path}/never & echo $!; wait"

    answer = run(["/bin/sh", "-c", script], cwd=str(tmp_path), timeout_s=0.3)

    assert answer.code is None
    deadline = time.monotonic() + 5
    while is_alive(int(answer.out)):
        assert time.monotonic() < deadline, "the child still hangs"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs, reaping it if it has become ours (conftest.py)."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return os.path.exists(f"/proc/{pid}")
