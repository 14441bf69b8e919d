"""Every system call of ``enter`` fails in turn, in a normal start and in a normal exec, on the real kernel.

Either the program does not run, the user reads one clean error, and nothing is left; or it runs, confined exactly as if
nothing had failed. The calls are failed by ``failing_calls.c``, which is compiled with enter's own sources.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from ocibundle import Runtime

from casemate.runtime import sealed
from casemate.runtime.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.needs_root]

TOP = Path(__file__).parents[2]
ENTER = TOP / "src" / "enter"
MAGIC = b"CHOOSE A FAILURE"
CHOICE = struct.Struct("<16sQQq128s")
PARENT, CHILD = 0, 1
LONGEST_S = 15
MOST_CALLS = 1500
LONGEST_ERROR = 4
LEAKED = 5
HARMLESS = {
    # What the program is, the child decides. The parent's words and what it hears of the child are asked for again or lost.
    PARENT: "close rt_sigaction rt_sigprocmask chdir getpid wait4 ppoll sendto recvmsg",
    # A part of a path that statx could not tell from a link is opened with RESOLVE_NO_SYMLINKS.
    CHILD: "close rt_sigprocmask statx",
}
"""Calls that may fail and the program run all the same: close(2) closes anyway, inherited signals are no part of the wall."""
DISARM = ["prctl", 1, 0]
"""PR_SET_PDEATHSIG, 0: when it fails the program ends with its parent."""
DUMP = """
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status
cat /proc/self/limits /proc/self/oom_score_adj /proc/self/cgroup /proc/self/uid_map /proc/self/gid_map; umask; pwd; hostname; env
cut -d' ' -f4-6 /proc/self/mountinfo; stat -c '%n %A %u %g %t %T' /dev/*
for f in /proc/$$/fd/*; do [ -L $f ] && echo ${f##*/}; done
for n in mnt pid net ipc uts cgroup user time; do readlink /proc/self/ns/$n; done
head -c 9 /proc/kcore /proc/timer_list; (: >> /proc/sys/kernel/panic) && echo writable; echo end
"""


@pytest.fixture(scope="session")
def failing_enter(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """``enter`` with the choice in it."""
    spec = importlib.util.spec_from_file_location("enter_build", ENTER / "build.py")
    assert spec
    assert spec.loader
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    made = tmp_path_factory.mktemp("failing")
    command = [*build.compiler(), *build.FREESTANDING, f"-I{ENTER}"]
    subprocess.run([*command, "-Dsys6=kernel_call", "-c", ENTER / "sys.c", "-o", made / "sys.o"], check=True)
    others = [path for path in build.sources() if path.name != "sys.c"]
    harness = Path(__file__).with_name("failing_calls.c")
    subprocess.run(
        [*command, *build.LINKING, harness, *others, made / "sys.o", "-o", made / "enter"], check=True
    )
    return (made / "enter").read_bytes()


def numbers_of(names: str) -> dict[str, int]:
    """Numbers of system calls on this machine."""
    text = "#include <asm/unistd.h>\n" + "".join(f"__NR_{name}\n" for name in names.split())
    done = subprocess.run(["cc", "-E", "-P", "-"], input=text, capture_output=True, text=True, check=True)
    return dict(zip(names.split(), (int(line) for line in done.stdout.split()), strict=True))


def not_harmless(seen: Seen, role: int) -> list[list[int]]:
    """Calls that failed without effect although they should have had one: number and first two arguments."""
    fine = set(numbers_of(HARMLESS[role]).values())
    disarm = [numbers_of("prctl")["prctl"], *DISARM[1:]]
    return [call for call in seen.harmless if call[0] not in fine and call != disarm]


class Failures:
    """Starts in this process, each with one system call that fails."""

    def __init__(self, base: Path, program: bytes) -> None:
        self.base = base
        self.program = program
        self.report = base / "report"
        self.runtime = Runtime(base, rootless=False)
        self.runtime.spec["process"]["env"] = ["PATH=/bin"]
        for name in ("cut", "hostname", "umask"):
            with suppress(FileExistsError):
                (self.runtime.rootfs / "bin" / name).symlink_to("busybox")
        self.known: set[str] = set()

    def choose(self, role: int, at: int, error: int) -> None:
        """Let the next ``enter`` fail its call number ``at``; 0: none."""
        choice = CHOICE.pack(MAGIC, role, at, error, os.fsencode(self.report))
        start = self.program.index(MAGIC)
        path = self.base / "enter"
        with suppress(FileNotFoundError):
            path.unlink()
        path.write_bytes(self.program[:start] + choice + self.program[start + CHOICE.size :])
        path.chmod(0o755)
        self.report.write_bytes(b"")
        if sealed._sealed_fd >= 0:
            os.close(sealed._sealed_fd)
        sealed._sealed_fd = -1

    def failed(self) -> list[int]:
        """Number and first two arguments of the system call that failed; nothing when there are not so many."""
        return [int(word) for word in self.report.read_text().split()[:3]]

    def do(self, *words: str) -> tuple[int, str, str]:
        """A command of casemate-oci in a fork of this process: exit code, output, errors."""
        with (self.base / "out").open("w+b") as out, (self.base / "err").open("w+b") as err:
            pid = os.fork()
            if not pid:
                self._be_command(out.fileno(), err.fileno(), words)
            deadline = time.monotonic() + LONGEST_S
            while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    return -1, (self.base / "out").read_text(), f"it hangs; call {self.failed()} had failed"
                time.sleep(0.001)
            code = os.waitstatus_to_exitcode(ended[1])
        return code, (self.base / "out").read_text(), (self.base / "err").read_text()

    def _be_command(self, out: int, err: int, words: tuple[str, ...]) -> NoReturn:
        code = 99
        try:
            os.dup2(out, 1)
            os.dup2(err, 2)
            for _ in range(LEAKED):
                os.set_inheritable(os.open("/etc", os.O_RDONLY), True)  # noqa: FBT003 - its only form
            sys.stdout = sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - not pytest's
            code = main(["--root", str(self.base / "state"), *words])
            sys.stderr.flush()
        except BaseException:  # noqa: BLE001 - a traceback is what the test looks for
            os.write(2, traceback.format_exc().encode())
        os._exit(code)

    def left(self) -> list[str]:
        """What the last start left behind."""
        state = self.base / "state"
        found = [f"record {path.name}" for path in state.iterdir() if not path.name.startswith((".", "d"))]
        groups = [f"group {path}" for path in Path("/sys/fs/cgroup").glob("*/casemate-oci/c")]
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return found + groups + [f"process {pid}" for pid in children if pid not in self.known]


def confinement(out: str) -> list[str]:
    """The dump, with numbers of namespaces as "own" or "the host's"."""
    hosts = {os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
    return [
        ("host's" if line in hosts else "own") + line.partition(":")[0]
        if line.endswith("]") and ":[" in line
        else line
        for line in out.splitlines()
    ]


@pytest.fixture
def failures(failing_enter: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Failures]:
    base = Path(f"/tmp/casemate-failures-{os.getpid()}-{time.monotonic_ns()}")
    base.mkdir(mode=0o755)
    monkeypatch.setattr(sealed, "enter_path", lambda: str(base / "enter"))
    made = Failures(base, failing_enter)
    yield made
    made.choose(PARENT, 0, 0)
    for name in ("c", "d"):
        made.do("delete", "--force", name)
    if sealed._sealed_fd >= 0:
        os.close(sealed._sealed_fd)
        sealed._sealed_fd = -1
    shutil.rmtree(base)


class Seen:
    """What came of each call that failed: numbers of those that stop the start, and of those that do not matter."""

    def __init__(self) -> None:
        self.stops: list[list[int]] = []
        self.harmless: list[list[int]] = []
        self.wrong: list[str] = []


def each_fails(failures: Failures, role: int, error: int, words: tuple[str, ...]) -> Seen:
    """Do it once as it should be, then fail each call of ``role`` in turn."""
    failures.choose(PARENT, 0, 0)
    code, out, err = failures.do(*words)
    assert (code, out.split()[-1:]) == (0, ["end"]), err
    expected, seen = confinement(out), Seen()
    for at in range(1, MOST_CALLS):
        failures.choose(role, at, error)
        code, out, err = failures.do(*words)
        call = failures.failed()
        if not call:
            return seen
        problem = judge(code, out, err, expected)
        left = failures.left()
        if problem or left:
            seen.wrong.append(f"call {at}, {call}: {problem} {' '.join(left)}")
        (seen.harmless if "end" in out.split() else seen.stops).append(call)
    raise AssertionError("the start never ended")


def judge(code: int, out: str, err: str, expected: list[str]) -> str:
    """What is wrong with an outcome, "" when nothing is."""
    if "Traceback" in err:
        return err
    if code < 0:
        return err
    if "end" in out.split():
        changed = sorted(set(confinement(out)) ^ set(expected))
        return f"the program ran, but differs: {changed}" if changed else ""
    if code not in {1, 125, 126, 127, 255} or not err.strip() or err.count("\n") > LONGEST_ERROR:
        return f"exit code {code}, said {err!r}"
    return ""


@pytest.mark.parametrize(
    ("role", "error"), [(PARENT, errno.EIO), (CHILD, errno.EPERM)], ids=["parent", "child"]
)
def test_a_start_fails_cleanly_or_is_confined_as_ever(failures: Failures, role: int, error: int) -> None:
    failures.runtime.args("sh", "-c", DUMP)
    failures.runtime.save()
    seen = each_fails(failures, role, error, ("run", "--bundle", str(failures.runtime.bundle), "c"))
    assert seen.wrong == []
    assert not_harmless(seen, role) == []
    assert len(seen.stops) > (15 if role == PARENT else 60)


@pytest.mark.parametrize("role", [PARENT, CHILD], ids=["parent", "child"])
def test_an_exec_fails_cleanly_or_is_confined_as_ever(failures: Failures, role: int) -> None:
    failures.runtime.args("sleep", "600")
    failures.runtime.save()
    failures.choose(PARENT, 0, 0)
    code, _, err = failures.do("run", "--detach", "--bundle", str(failures.runtime.bundle), "d")
    assert code == 0, err
    failures.known = set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    seen = each_fails(failures, role, errno.EIO, ("exec", "d", "sh", "-c", DUMP))
    assert seen.wrong == []
    assert not_harmless(seen, role) == []
    assert len(seen.stops) >= 10
