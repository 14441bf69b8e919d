"""`casemate why` and `--explain` as they are typed: words, JSON, exit codes, streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMAND = [
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {TOP + '/src'!r}); from casemate.cli.main import main; sys.exit(main())",
]
Say = "Callable[..., subprocess.CompletedProcess[str]]"


@pytest.fixture(scope="module")
def say(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Say]:
    work = tmp_path_factory.mktemp("why")
    environment = {**os.environ, "CASEMATE_ROOT": f"{work}/root", "CASEMATE_RUN_ROOT": f"{work}/run"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *words]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    assert run("image", "bootstrap", "busybox").returncode == 0
    assert run("run", "--rm", "busybox", "true").returncode == 0
    yield run
    for name in run("ps", "-aq").stdout.split():
        run("rm", "-f", name)


def test_run_explain_tells_the_reason_on_stderr_and_keeps_the_exit_code(say: Say) -> None:
    answer = say("run", "--rm", "--explain", "busybox", "sh", "-c", "echo out; hostname x; exit 7")
    assert (answer.returncode, answer.stdout) == (7, "out\n")
    assert '1. the system call filter answers EPERM to sethostname("x") by ' in answer.stderr
    assert "allow it with:  --cap-add SYS_ADMIN" in answer.stderr
    assert say("ps", "-aq").stdout == ""


def test_run_explain_says_nothing_of_a_program_that_succeeds(say: Say) -> None:
    answer = say("run", "--rm", "--explain", "busybox", "true")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_why_tells_an_unwatched_run_apart_and_restart_explain_watches_the_next(say: Say) -> None:
    assert say("run", "--name", "job", "busybox", "hostname", "x").returncode == 1
    answer = say("why", "job")
    assert answer.returncode == 3
    assert "| hostname: sethostname: Operation not permitted" in answer.stdout
    assert "nobody watched this run" in answer.stdout
    assert say("restart", "--explain", "job").returncode == 0
    assert say("wait", "job").stdout == "1\n"
    answer = say("why", "job")
    assert answer.returncode == 0
    assert answer.stdout.startswith("job: exited with code 1 at ")
    assert "once, at " in answer.stdout
    document = json.loads(say("why", "--json", "job").stdout)
    assert [found["Call"] for found in document["Findings"]] == ['sethostname("x")']
    assert say("start", "-a", "--explain", "job").returncode == 1
    say("rm", "job")


def test_a_running_container_is_watched_for_as_long_as_asked(say: Say) -> None:
    script = "while :; do hostname x; sleep 0.1; done"
    say("run", "-d", "--name", "web", "busybox", "sh", "-c", script)
    answer = say("why", "--watch", "1", "web")
    assert answer.returncode == 0
    assert answer.stdout.startswith("web: running\n")
    assert "sethostname" in answer.stdout
    say("rm", "-f", "web")


def test_why_refuses_what_is_not_there_or_does_not_run(say: Say) -> None:
    answer = say("why", "nobody")
    assert answer.returncode == 1
    assert "cannot find container nobody" in answer.stderr
    say("create", "--name", "idle", "busybox", "true")
    answer = say("why", "-w", "1", "idle")
    assert answer.returncode == 1
    assert "fix: casemate start idle" in answer.stderr
    answer = say("why", "-w", "-1", "idle")
    assert answer.returncode == 1
    assert "a time is not negative" in answer.stderr
    say("rm", "idle")


def test_completion_knows_the_verb_its_options_and_containers(say: Say) -> None:
    say("create", "--name", "known", "busybox", "true")
    assert "why" in say("__complete", "wh").stdout
    assert "--watch" in say("__complete", "why", "--w").stdout
    assert "known" in say("__complete", "why", "kn").stdout
    say("rm", "known")
