"""The README's commands work as they stand there."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REGISTRY_PORT = 5000
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A newcomer's environment after `./dev demo`: casemate on PATH, a Debian with Python in a new store."""
    work = tmp_path_factory.mktemp("front")
    found = {
        **os.environ,
        "PATH": f"{os.path.dirname(sys.executable)}:/usr/sbin:/usr/bin:/sbin:/bin",
        "CASEMATE_ROOT": str(work / "root"),
        "CASEMATE_RUN_ROOT": str(work / "run"),
    }
    say(found, "casemate image bootstrap debian:bookworm --include python3")
    yield found
    say(found, "casemate rm -f $(casemate ps -aq) 2>/dev/null || true")


def say(environment: dict[str, str], command: str, *, cwd: str | None = None) -> str:
    """Run a shell line and return its output; a failure shows both streams."""
    answer = subprocess.run(
        ["sh", "-c", command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=300,
    )
    assert answer.returncode == 0, f"{command}\n{answer.stdout}\n{answer.stderr}"
    return answer.stdout


def front_page_commands() -> list[str]:
    """Lines of the README's first block of casemate commands."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        block = re.findall(r"```sh\n(casemate.*?)```", file.read(), re.DOTALL)[0]
    return [line.partition("     #")[0] for line in block.splitlines()]


def test_the_commands_tested_here_are_those_of_the_front_page() -> None:
    verbs = [line.split()[1] for line in front_page_commands()]

    assert verbs == ["run", "run", "run", "ps;", "run", "pull", "images;"]


def test_a_program_of_the_image_runs(environment: dict[str, str]) -> None:
    output = say(environment, front_page_commands()[0])

    assert "VERSION_CODENAME=bookworm" in output


def test_bash_runs_on_a_terminal(environment: dict[str, str]) -> None:
    output, status = on_a_terminal(environment, front_page_commands()[1], prompt="# ", answer="tty; exit 7\n")

    assert "/dev/pts/0" in output
    assert status == 7


def on_a_terminal(
    environment: dict[str, str], command: str, *, prompt: str = "", answer: str = ""
) -> tuple[str, int]:
    """Run a shell line on a terminal, give one answer; return everything it showed and its exit code."""
    pid, master = pty.fork()
    if pid == 0:
        os.execvpe("sh", ["sh", "-c", command], {**environment, "TERM": "xterm"})  # noqa: S606 - the child of forkpty
    try:
        seen = converse(master, prompt, answer) if prompt else ""
        seen += converse(master, None, "")
    finally:
        os.close(master)
    return seen, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def converse(master: int, prompt: str | None, answer: str) -> str:
    """Read until ``prompt`` (None: the end), then type ``answer``; return what was read."""
    seen, deadline = "", time.monotonic() + PATIENCE_S
    while prompt is None or prompt not in seen:
        assert time.monotonic() < deadline, seen
        if not select.select([master], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(master, 4096)
        except OSError:
            data = b""
        if not data:
            assert prompt is None, seen
            break
        seen += data.decode(errors="replace")
    os.write(master, answer.encode()) if answer else None
    return seen


def test_a_web_server_lives_a_whole_life(environment: dict[str, str]) -> None:
    commands = front_page_commands()
    identity = say(environment, commands[2]).strip()
    listing = say(environment, "casemate ps")
    uid = say(environment, "casemate exec web id")
    limits = say(environment, "casemate inspect -f '{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}' web")
    say(environment, "casemate stop -t 1 web; casemate rm web")

    assert re.fullmatch("[0-9a-f]{64}", identity)
    assert "web" in listing
    assert "uid=0(root)" in uid
    assert limits.split() == ["67108864", "50"]
    assert "web" not in say(environment, "casemate ps -a")


def test_logs_follow_until_the_program_ends(environment: dict[str, str]) -> None:
    say(
        environment,
        "casemate run -d --name talk debian:bookworm sh -c 'for i in 1 2 3; do echo $i; sleep 0.1; done'",
    )

    output = say(environment, "casemate logs -f talk; casemate rm talk >/dev/null")

    assert output.split() == ["1", "2", "3"]


def test_the_callers_files_are_there_and_stay_the_callers(
    environment: dict[str, str], tmp_path: object
) -> None:
    with open(f"{tmp_path}/hello", "w", encoding="utf-8") as file:
        file.write("x")
    os.chmod(str(tmp_path), 0o755)

    output = say(environment, front_page_commands()[4], cwd=str(tmp_path))

    assert "uid=1000" in output
    assert "hello" in output


def test_the_library_example_runs(environment: dict[str, str]) -> None:
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        example = re.findall(r"```python\n(.*?)```", file.read(), re.DOTALL)[0]

    answer = subprocess.run(
        [sys.executable, "-c", example], env=environment, capture_output=True, text=True, check=False
    )

    assert answer.returncode == 0, answer.stderr
    assert "VERSION_CODENAME=bookworm" in answer.stdout


def test_images_inspect_and_doctor_answer(environment: dict[str, str]) -> None:
    say(environment, "casemate create --name seen debian:bookworm true")
    images = say(environment, "casemate images")
    inspected = say(environment, "casemate inspect seen")
    doctor = subprocess.run(
        ["casemate", "doctor"], env=environment, capture_output=True, text=True, check=False
    )
    say(environment, "casemate rm seen")

    assert "debian" in images
    assert '"State"' in inspected
    assert doctor.returncode in {0, 1}, doctor.stdout


def test_an_image_comes_from_a_real_registry(environment: dict[str, str], tmp_path: object) -> None:
    config = f"{tmp_path}/config.yml"
    with open(config, "w", encoding="utf-8") as file:
        file.write(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\n")
        file.write(f"http: {{addr: '127.0.0.1:{REGISTRY_PORT}'}}\n")
    server = subprocess.Popen(
        ["/usr/bin/docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        say(environment, f"casemate save -o {tmp_path}/image.tar debian:bookworm")
        target = f"docker://127.0.0.1:{REGISTRY_PORT}/debian:bookworm"
        copy = "skopeo --insecure-policy copy --dest-tls-verify=false"
        push = f"{copy} docker-archive:{tmp_path}/image.tar {target}"
        say(environment, f"for i in 1 2 3 4 5; do {push} && exit 0; sleep 0.3; done; exit 1")
        shown, status = on_a_terminal(environment, front_page_commands()[5])
        output = say(environment, f"casemate run --rm 127.0.0.1:{REGISTRY_PORT}/debian:bookworm echo pulled")
    finally:
        server.terminate()
        server.wait()

    assert status == 0
    assert "Pull complete" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor stays hidden"
    assert output == "pulled\n"
