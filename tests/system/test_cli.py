"""The real ``casemate`` on real containers: streams, exit codes, terminals, signals, detaching."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
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
PATIENCE_S = 30


class Casemate:
    """The command, with a store of its own."""

    def __init__(self, directory: str) -> None:
        self.environment = {
            **os.environ,
            "CASEMATE_ROOT": f"{directory}/root",
            "CASEMATE_RUN_ROOT": f"{directory}/run",
            "TERM": "xterm",
            "NO_COLOR": "1",
        }

    def __call__(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end."""
        return subprocess.run(
            [*COMMAND, *words],
            input=stdin,
            capture_output=True,
            env=self.environment,
            check=False,
            timeout=PATIENCE_S,
        )

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Begin a command and do not wait."""
        return subprocess.Popen(
            [*COMMAND, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )

    def state(self, name: str) -> str:
        """Return the container's state."""
        return self("inspect", "-f", "{{.State.Status}}", name).stdout.decode().strip()

    def wait_for_log(self, name: str, text: bytes) -> None:
        """Wait until the container wrote a text."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self("logs", name).stdout:
            assert time.monotonic() < deadline, f"{name} never said {text!r}"


@pytest.fixture(scope="module")
def casemate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Casemate]:
    made = Casemate(str(tmp_path_factory.mktemp("casemate")))
    answer = made("image", "bootstrap", "busybox")
    assert answer.returncode == 0, answer.stderr
    # the parent of all containers' control groups stays: make it before the leak check looks
    assert made("run", "--rm", "busybox", "true").returncode == 0
    yield made
    for name in made("ps", "-aq").stdout.split():
        made("rm", "-f", name.decode())


@pytest.fixture
def name(casemate: Casemate, request: pytest.FixtureRequest) -> Iterator[str]:
    made = re.sub("[^a-z0-9]", "-", request.node.name.removeprefix("test_").lower())[:60].strip("-")
    yield made
    casemate("rm", "-f", made)


class Terminal:
    """A user at a terminal in front of the command."""

    def __init__(self, casemate: Casemate, *words: str, rows: int = 33, columns: int = 101) -> None:
        self.fd, inside = os.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(inside)
        self.inside = inside
        self.seen = b""
        self.process = subprocess.Popen(
            [*COMMAND, *words],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env=casemate.environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads here
        )

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.fd, keys)

    def expect(self, text: bytes) -> None:
        """Read until a text was shown."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"never saw {text!r} in {self.seen!r}"
            if select.select([self.fd], [], [], left)[0]:
                self.seen += self.read()
        self.seen = self.seen.partition(text)[2]

    def read(self) -> bytes:
        """Return what was shown; nothing when everybody has gone."""
        try:
            return os.read(self.fd, 65536)
        except OSError as error:
            assert error.errno == errno.EIO  # noqa: PT017 - a pty without a slave
            return b""

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window."""
        fcntl.ioctl(self.inside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self) -> int:
        """Return the command's exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"does not end; saw {self.seen!r}"
            if select.select([self.fd], [], [], 0.05)[0]:
                self.seen += self.read()
        return self.process.returncode

    def is_restored(self) -> bool:
        """Tell whether the terminal is as before."""
        return termios.tcgetattr(self.inside) == self.before

    def close(self) -> None:
        """Kill what still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.fd)
        os.close(self.inside)


@contextlib.contextmanager
def at_terminal(casemate: Casemate, *words: str) -> Iterator[Terminal]:
    terminal = Terminal(casemate, *words)
    try:
        yield terminal
    finally:
        terminal.close()


def test_result_goes_to_stdout_and_everything_else_to_stderr(casemate: Casemate) -> None:
    answer = casemate("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["busybox", "true"], 0),
        (["busybox", "sh", "-c", "exit 7"], 7),
        (["busybox", "nosuchprogram"], 127),
        (["busybox", "/etc"], 126),
        (["busybox", "/etc/passwd"], 126),
        (["--entrypoint", "/nosuch", "busybox"], 127),
        (["busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137),
        (["--pull", "never", "nosuchimage"], 125),
        (["--memory", "1q", "busybox"], 125),
        (["--bogus", "busybox"], 125),
        ([], 1),
    ],
)
def test_exit_codes_are_those_docker_documents(casemate: Casemate, words: list[str], code: int) -> None:
    assert casemate("run", "--rm", *words).returncode == code


def test_a_program_killed_by_a_signal_gives_128_and_the_signal(casemate: Casemate, name: str) -> None:
    casemate("run", "-d", "--name", name, "busybox", "sleep", "1000")
    casemate("kill", name)
    answer = casemate("wait", name)
    assert answer.stdout == b"137\n"
    assert casemate("start", "-a", name).returncode != 125 if casemate("rm", "-f", name).returncode else True


def test_input_reaches_the_program_and_its_end_too(casemate: Casemate) -> None:
    big = os.urandom(3_000_000)
    answer = casemate("run", "--rm", "-i", "busybox", "cat", stdin=big)
    assert answer.returncode == 0
    assert answer.stdout == big


@pytest.mark.parametrize(
    ("script", "given", "expected", "code"),
    [
        ("tr a-z A-Z", b"hello\n", b"HELLO\n", 0),
        ("exec 0<&-; echo x", b"a" * 200_000, b"x\n", 0),
        ("cat", b"z" * 400_000, b"z" * 400_000, 0),
        ("exec 1>&- 2>&-; cat >/dev/null; exit 3", b"q" * 100_000, b"", 3),
        ("(sleep 30 &) ; echo d; exit 4", b"", b"d\n", 4),
        ("head -c 3; sh -c 'kill -9 $$; true'; exit $?", b"abc", b"abc", 137),
    ],
    ids=["filter", "closes input", "more than a pipe", "closes output", "leaves a daemon", "killed"],
)
def test_whatever_happens_to_the_streams_the_command_ends(  # noqa: PLR0917 - one row of the table
    casemate: Casemate, script: str, given: bytes, expected: bytes, code: int
) -> None:
    for _ in range(3):
        answer = casemate("run", "--rm", "-i", "busybox", "sh", "-c", script, stdin=given)
        assert (answer.returncode, answer.stdout) == (code, expected), answer.stderr


def test_without_i_the_program_has_no_input(casemate: Casemate) -> None:
    assert casemate("run", "--rm", "busybox", "cat", stdin=b"unseen").stdout == b""


def test_a_program_that_reads_nothing_does_not_hold_the_command(casemate: Casemate) -> None:
    answer = casemate("run", "--rm", "-i", "busybox", "true", stdin=b"x" * 1_000_000)
    assert answer.returncode == 0


def test_detached_prints_the_id_and_the_life_goes_on(casemate: Casemate, name: str) -> None:
    answer = casemate("run", "-d", "--name", name, "busybox", "sh", "-c", "echo begun; sleep 1000")
    assert re.fullmatch(rb"[0-9a-f]{64}\n", answer.stdout)
    casemate.wait_for_log(name, b"begun")
    assert casemate.state(name) == "running"
    assert casemate("ps", "-q", "--no-trunc", "--filter", f"name={name}").stdout == answer.stdout
    assert casemate("stop", "-t", "0", name).stdout.decode().strip() == name
    assert casemate.state(name) == "exited"
    assert casemate("rm", name).returncode == 0
    assert casemate("inspect", name).returncode == 1


def test_exec_runs_beside_and_gives_its_own_code(casemate: Casemate, name: str) -> None:
    casemate("run", "-d", "--name", name, "busybox", "sleep", "1000")
    answer = casemate("exec", "-e", "A=b", name, "sh", "-c", "echo $A; echo e >&2; exit 5")
    assert (answer.returncode, answer.stdout, answer.stderr) == (5, b"b\n", b"e\n")
    assert casemate("exec", "-i", name, "cat", stdin=b"in").stdout == b"in"
    assert casemate("exec", name, "nosuchprogram").returncode == 127
    assert casemate("exec", name, "/etc").returncode == 126


def test_logs_keep_streams_apart_and_in_order(casemate: Casemate, name: str) -> None:
    casemate("run", "--name", name, "busybox", "sh", "-c", "echo a; echo b >&2; echo c")
    answer = casemate("logs", name)
    assert (answer.stdout, answer.stderr) == (b"a\nc\n", b"b\n")
    again = f"{name}-2"
    casemate("run", "--name", again, "busybox", "sh", "-c", "echo a; echo c")
    stamped = casemate("logs", "-t", "--tail", "1", again).stdout.decode()
    casemate("rm", again)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z c\n", stamped)


def test_ps_lists_as_docker_lists(casemate: Casemate, name: str) -> None:
    casemate("run", "--name", name, "-l", "k=v", "busybox", "sh", "-c", "exit 4")
    table = casemate("ps", "-a", "--filter", f"name={name}").stdout.decode().splitlines()
    assert re.split(r"\s{2,}", table[0].strip()) == [
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NAMES",
    ]
    assert re.search(r"^[0-9a-f]{12}   busybox +\"sh -c 'exit 4'\"|\"sh -c exit 4\"", table[1])
    assert "Exited (4)" in table[1]
    row = json.loads(casemate("ps", "-a", "--filter", f"name={name}", "--format", "json").stdout)
    assert row["Names"] == name
    assert row["State"] == "exited"
    assert "k=v" in row["Labels"]
    shown = casemate("ps", "-a", "--filter", f"name={name}", "--format", '{{.Names}} {{.Label "k"}}').stdout
    assert shown.decode() == f"{name} v\n"


def test_ps_measures_what_a_container_wrote(casemate: Casemate, name: str) -> None:
    casemate("run", "--name", name, "busybox", "dd", "if=/dev/zero", "of=/big", "bs=1000000", "count=3")
    shown = casemate("ps", "-a", "-s", "--filter", f"name={name}", "--format", "{{.Size}}").stdout.decode()
    assert re.fullmatch(r"3(\.\d+)?MB \(virtual [\d.]+MB\)\n", shown)


@pytest.mark.rootless
def test_limits_that_nobody_enforces_are_said_once(casemate: Casemate) -> None:
    answer = casemate("run", "--rm", "-m", "64m", "--pids-limit", "9", "busybox", "echo", "runs")
    assert (answer.returncode, answer.stdout) == (0, b"runs\n")
    assert answer.stderr.count(b"--memory, --pids-limit cannot be enforced") == 1
    assert casemate("run", "--rm", "busybox", "true").stderr == b""


@pytest.mark.rootless
def test_info_and_inspect_name_the_limits_that_do_not_hold(casemate: Casemate, name: str) -> None:
    """On a machine that delegates its control groups they hold, and both say that instead."""
    held = casemate("info", "--format", "{{.MemoryLimit}}").stdout.decode().strip()
    warnings = casemate("info", "--format", "{{json .Warnings}}").stdout.decode()
    assert ("--memory" in warnings) == (held == "false")
    casemate("run", "--name", name, "-m", "64m", "busybox", "true")
    listed = casemate("inspect", "--format", "{{json .Casemate.NotEnforced}}", name).stdout.decode()
    assert ("memory.limit" in listed) == (held == "false")
    doctor = casemate("doctor").stdout.decode()
    assert ("are not enforced" in doctor) == (held == "false")


@pytest.mark.needs_root  # freezing needs control groups
def test_pause_and_unpause(casemate: Casemate, name: str) -> None:
    casemate("run", "-d", "--name", name, "busybox", "sleep", "1000")
    assert casemate("pause", name).returncode == 0
    assert casemate.state(name) == "paused"
    assert casemate("unpause", name).returncode == 0
    assert casemate.state(name) == "running"


def test_rename_restart_and_top(casemate: Casemate, name: str) -> None:
    casemate("run", "-d", "--name", name, "busybox", "sleep", "1000")
    assert b"sleep 1000" in casemate("top", name).stdout
    assert casemate("rename", name, f"{name}-x").returncode == 0
    assert casemate("restart", "-t", "0", f"{name}-x").returncode == 0
    assert casemate.state(f"{name}-x") == "running"
    assert casemate("rename", f"{name}-x", name).returncode == 0


def test_mistyped_names_are_answered_with_the_nearest(casemate: Casemate, name: str) -> None:
    casemate("create", "--name", name, "busybox", "true")
    assert f"did you mean {name}?" in casemate("start", name[:-1] + "x").stderr.decode()
    assert "did you mean busybox:latest?" in casemate("run", "--pull", "never", "bussybox").stderr.decode()


def test_inspect_answers_templates(casemate: Casemate, name: str) -> None:
    casemate("run", "--name", name, "busybox", "sh", "-c", "exit 9")
    assert casemate("inspect", "-f", "{{.State.ExitCode}} {{.Name}}", name).stdout.decode() == f"9 /{name}\n"
    assert casemate("inspect", "-f", "{{.Nope}}", name).returncode == 1
    assert json.loads(casemate("inspect", name).stdout)[0]["Config"]["Cmd"]


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT, signal.SIGQUIT]
)
def test_signals_are_passed_on(casemate: Casemate, number: signal.Signals) -> None:
    trap = f"trap 'echo got; exit 3' {number.name[3:]}; echo ready; while :; do sleep 0.1; done"
    process = casemate.start("run", "--rm", "busybox", "sh", "-c", trap)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == b"got\n"
        assert process.wait(PATIENCE_S) == 3
    finally:
        process.kill()
        process.communicate()


def test_a_closed_pipe_ends_a_listing_in_silence(casemate: Casemate) -> None:
    program = " ".join(f"'{word}'" for word in ("ps", "--help"))
    quoted = f'"$0" -c "$1" {program} 2>&1 >&3 3>&- | cat'
    reader, writer = os.pipe()
    os.close(reader)
    answer = subprocess.run(
        ["bash", "-c", f"{{ {quoted}; }} 3>&{writer}", COMMAND[0], COMMAND[2]],
        capture_output=True,
        env=casemate.environment,
        pass_fds=(writer,),
        check=False,
        timeout=PATIENCE_S,
    )
    os.close(writer)
    assert answer.stdout == b""
    assert answer.stderr == b""


def test_a_terminal_inside_is_a_terminal_with_our_size(casemate: Casemate) -> None:
    with at_terminal(casemate, "run", "--rm", "-it", "busybox", "sh") as terminal:
        terminal.expect(b"# ")
        terminal.type(b"test -t 0 && stty size\n")
        terminal.expect(b"33 101")
        terminal.resize(44, 122)
        terminal.type(b"sleep 0.2; stty size\n")
        terminal.expect(b"44 122")
        terminal.type(b"exit 6\n")
        assert terminal.end() == 6
        assert terminal.is_restored()


def test_ctrl_c_interrupts_the_program_and_not_the_command(casemate: Casemate) -> None:
    with at_terminal(casemate, "run", "--rm", "-it", "busybox", "sh") as terminal:
        terminal.expect(b"# ")
        terminal.type(b"(echo go$((40 + 2)); exec sleep 1000)\n")
        terminal.expect(b"go42")
        terminal.type(b"\x03")
        terminal.expect(b"# ")
        terminal.type(b"exit 0\n")
        assert terminal.end() == 0
        assert terminal.is_restored()


def test_detach_keys_leave_the_container_running(casemate: Casemate, name: str) -> None:
    with at_terminal(casemate, "run", "--name", name, "-it", "busybox", "sh") as terminal:
        terminal.expect(b"# ")
        terminal.type(b"\x10\x11")
        assert terminal.end() == 0
        assert terminal.is_restored()
    assert casemate.state(name) == "running"
    with at_terminal(casemate, "attach", "--detach-keys", "ctrl-a,d", name) as terminal:
        terminal.type(b"echo back $((40 + 2))\n")
        terminal.expect(b"back 42")
        terminal.type(b"\x01d")
        assert terminal.end() == 0
        assert terminal.is_restored()
    assert casemate.state(name) == "running"


def test_the_terminal_is_restored_when_the_container_is_killed(casemate: Casemate, name: str) -> None:
    with at_terminal(casemate, "run", "--name", name, "-it", "busybox", "sh") as terminal:
        terminal.expect(b"# ")
        assert not terminal.is_restored()
        casemate("kill", name)
        assert terminal.end() == 137
        assert terminal.is_restored()


def test_exec_with_a_terminal(casemate: Casemate, name: str) -> None:
    casemate("run", "-d", "--name", name, "busybox", "sleep", "1000")
    with at_terminal(casemate, "exec", "-it", name, "sh") as terminal:
        terminal.expect(b"# ")
        terminal.type(b"tty; exit 8\n")
        terminal.expect(b"/dev/pts/")
        assert terminal.end() == 8
        assert terminal.is_restored()


def test_a_terminal_is_refused_to_a_pipe(casemate: Casemate) -> None:
    answer = casemate("run", "--rm", "-it", "busybox", "true")
    assert answer.returncode == 1
    assert b"the input is not a terminal" in answer.stderr


def test_the_absent_network_is_explained_once_to_a_person(casemate: Casemate) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{casemate.environment['CASEMATE_ROOT']}/.network-explained")
    with at_terminal(casemate, "run", "--rm", "busybox", "echo", "first") as terminal:
        terminal.expect(b"--network host")
        terminal.end()
    with at_terminal(casemate, "run", "--rm", "busybox", "echo", "second") as terminal:
        assert terminal.end() == 0
        assert b"network" not in terminal.seen


def test_cidfile_holds_the_id(casemate: Casemate, name: str, tmp_path: object) -> None:
    path = f"{tmp_path}/cid"
    answer = casemate("run", "-d", "--name", name, "--cidfile", path, "busybox", "sleep", "1000")
    with open(path, "rb") as file:
        assert file.read().strip() == answer.stdout.strip()


def test_images_tag_save_load_and_go(casemate: Casemate, tmp_path: object) -> None:
    assert casemate("tag", "busybox", "example.test/box:1").returncode == 0
    assert (
        "example.test/box" in casemate("images", "--format", "{{.Repository}}").stdout.decode().splitlines()
    )
    assert casemate("save", "-o", f"{tmp_path}/box.tar", "example.test/box:1").returncode == 0
    assert b"Untagged: " in casemate("rmi", "example.test/box:1").stdout
    loaded = casemate("load", "-i", f"{tmp_path}/box.tar")
    assert b"Loaded image: example.test/box:1\n" in loaded.stdout
    assert casemate("run", "--rm", "--pull", "never", "example.test/box:1", "echo", "x").stdout == b"x\n"
    assert casemate("rmi", "example.test/box:1").returncode == 0


def test_doctor_says_that_containers_can_run_here(casemate: Casemate) -> None:
    answer = casemate("doctor", "--json")
    findings = json.loads(answer.stdout)
    assert answer.returncode in (0, 1)
    assert {"kernel", "enter", "store", "seccomp"} <= {finding["check"] for finding in findings}
    assert all(finding["fix"] and finding["effect"] for finding in findings if finding["status"] != "ok")
