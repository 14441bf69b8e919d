"""A program that is to join a container which ends meanwhile is refused: it must never start in the host's namespaces."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from casemate.errors import Conflict
from casemate.runtime.compile.build import Build
from casemate.runtime.compile.namespaces import joined_flags
from casemate.runtime.exec import plan_exec
from casemate.runtime.request import ExecRequest, Stdio


def exec_request(pid: int, pidfd: int) -> ExecRequest:
    return ExecRequest(
        id="c", pid=pid, pidfd=pidfd, process={"args": ["true"], "cwd": "/"}, spec={}, keyring=False
    )


@pytest.mark.parametrize("reaped", [False, True])
def test_a_container_that_has_ended_is_not_joined(*, reaped: bool) -> None:
    with subprocess.Popen(["true"]) as process:
        pidfd = os.pidfd_open(process.pid)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | (0 if reaped else os.WNOWAIT))
        with pytest.raises(Conflict, match="container not running"):
            plan_exec(exec_request(process.pid, pidfd))
        os.close(pidfd)
        process.returncode = 0 if reaped else None


def test_a_reused_pid_is_not_joined() -> None:
    with subprocess.Popen(["true"]) as ended, subprocess.Popen(["sleep", "10"]) as stranger:
        pidfd = os.pidfd_open(ended.pid)
        ended.wait()
        with pytest.raises(Conflict, match="container not running"):
            plan_exec(exec_request(stranger.pid, pidfd))
        os.close(pidfd)
        stranger.kill()


def test_a_zombie_has_no_namespaces_to_compare() -> None:
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not Path(f"/proc/{process.pid}/ns/mnt").exists()
        build = Build(title="t", spec={}, process={}, stdio=Stdio())
        with pytest.raises(Conflict):
            joined_flags(build, process.pid)
