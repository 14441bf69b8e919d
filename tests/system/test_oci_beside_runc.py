"""casemate-oci and runc side by side: the same bundle, the same words, the same exit codes and the same shape of output."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ocibundle import Runtime, made_runtime, reap

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root]


class Runc(Runtime):
    """runc with the bundle of a casemate-oci and a state directory of its own."""

    def __init__(self, ours: Runtime) -> None:
        self.__dict__.update(ours.__dict__)
        self.state_root = ours.base / "runc-state"

    def command(self, *words: str) -> list[str]:
        return ["runc", "--root", str(self.state_root), *words]


@contextmanager
def both() -> Iterator[list[Runtime]]:
    """(casemate-oci, runc) on one bundle that sleeps."""
    with made_runtime(rootless=False) as ours:
        runc = Runc(ours)
        ours.args("sleep", "100")
        ours.spec["linux"].pop("seccomp")  # runc 1.1 knows fewer of its actions
        try:
            yield [ours, runc]
        finally:
            runc("delete", "--force", "c")


@pytest.fixture
def pair() -> Iterator[list[Runtime]]:
    assert shutil.which("runc"), "tools/packages.txt names it"
    with both() as found:
        yield found


def codes(pair: list[Runtime], *words: str) -> tuple[int, int]:
    """The exit codes of both."""
    ours, theirs = (runtime(*words) for runtime in pair)
    return ours.returncode, theirs.returncode


MISUSE = [
    ["nosuch"],
    ["--nosuch"],
    ["--log-format", "xml", "list"],
    ["state"],
    ["state", "nosuch"],
    ["state", "a/b"],
    ["state", ".."],
    ["state", "a b"],
    ["create", "a", "b"],
    ["create", "--nosuch", "a"],
    ["create", "--detach", "a"],
    ["create", "--console-socket", "/nosuch", "a"],
    ["create", "--preserve-fds", "x", "a"],
    ["run", "--bundle", "/nosuch", "a"],
    ["start", "nosuch"],
    ["kill", "nosuch", "KILL"],
    ["delete", "nosuch"],
    ["delete", "--force", "nosuch"],
    ["exec", "nosuch", "true"],
    ["exec"],
    ["ps", "nosuch"],
    ["pause", "nosuch"],
    ["resume", "nosuch"],
    ["update", "nosuch"],
    ["events", "nosuch"],
    ["events", "--interval", "0s", "nosuch"],
    ["list", "--format", "xml"],
    ["list", "--quiet"],
    ["spec", "a"],
    ["spec", "--help"],
    ["--help"],
    ["run", "--help"],
]


def test_misuse_has_the_same_exit_code(pair: list[Runtime]) -> None:
    found = {" ".join(words): codes(pair, *words) for words in MISUSE}
    assert {words: code for words, code in found.items() if code[0] != code[1]} == {}


LIFE = [
    ["run", "--detach", "c"],
    ["run", "--detach", "c"],
    ["create", "c"],
    ["start", "c"],
    ["state", "c"],
    ["list"],
    ["ps", "c"],
    ["ps", "c", "aux"],
    ["ps", "c", "-o", "comm"],
    ["ps", "--format", "json", "c"],
    ["ps", "--format", "xml", "c"],
    ["delete", "c"],
    ["exec", "c"],
    ["exec", "c", "true"],
    ["exec", "c", "false"],
    ["exec", "c", "nosuch"],
    ["exec", "c", "/etc"],
    ["exec", "--cwd", "/tmp", "c", "sh", "-c", "exit 7"],
    ["exec", "c", "sh", "-c", "kill -9 $$"],
    ["exec", "--tty", "--detach", "c", "true"],
    ["exec", "--detach", "c", "true"],
    ["exec", "--user", "x", "c", "true"],
    ["exec", "--cgroup", "nosuch", "c", "true"],
    ["exec", "--preserve-fds", "3", "c", "true"],
    ["pause", "c"],
    ["pause", "c"],
    ["exec", "c", "true"],
    ["kill", "c", "0"],
    ["resume", "c"],
    ["resume", "c"],
    ["kill", "c", "BOGUS"],
    ["kill", "c", "99"],
    ["kill", "c", "CONT", "x"],
    ["kill", "c", "SIGCONT"],
    ["kill", "c", "cont"],
    ["kill", "--all", "c", "18"],
    ["update", "--memory", "512m", "c"],
    ["update", "--memory", "abc", "c"],
    ["update", "--cpu-share", "1", "c"],
    ["update", "--cpu-quota", "x", "c"],
    ["update", "--resources", "/nosuch", "c"],
    ["update", "--pids-limit", "20", "--cpu-period", "100000", "--cpu-quota", "50000", "c"],
    ["events", "--stats", "c"],
    ["events", "--interval", "0s", "c"],
    ["kill", "c", "KILL"],
]
DEAD = [
    ["kill", "c", "TERM"],
    ["start", "c"],
    ["exec", "c", "true"],
    ["pause", "c"],
    ["resume", "c"],
    ["ps", "c"],
    ["state", "c"],
    ["delete", "c"],
    ["delete", "c"],
    ["delete", "--force", "c"],
]


def test_a_life_has_the_same_exit_codes_at_each_step(pair: list[Runtime]) -> None:
    different = []
    for words in LIFE:
        found = codes(pair, *words)
        if found[0] != found[1]:
            different.append((" ".join(words), *found))
    for runtime in pair:
        wait_stopped(runtime)
    for words in DEAD:
        found = codes(pair, *words)
        if found[0] != found[1]:
            different.append((" ".join(words), *found))
    assert different == []


def wait_stopped(runtime: Runtime) -> None:
    deadline = time.monotonic() + 10
    while runtime.state()["status"] != "stopped":
        reap()
        assert time.monotonic() < deadline, "it never stopped"


def test_state_and_list_have_the_same_keys_and_values(pair: list[Runtime]) -> None:
    states, lists = [], []
    for runtime in pair:
        runtime.spec["annotations"] = {"org.example": "a"}
        for status in ("created", "running", "paused", "stopped"):
            if status == "created":
                assert runtime("create", "c").returncode == 0
            else:
                words = {
                    "running": ["start", "c"],
                    "paused": ["pause", "c"],
                    "stopped": ["delete", "--force", "c"],
                }
                if status != "stopped":
                    assert runtime(*words[status]).returncode == 0
            if status != "stopped":
                state = runtime.state()
                assert state["status"] == status
        states.append(state)
        lists.append(json.loads(runtime("list", "--format", "json").stdout))
        table = runtime("list").stdout.splitlines()
        assert table[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
        assert table[1].index(str(state["pid"])) == table[0].index("PID")
        assert runtime("list", "--quiet").stdout == "c\n"
        assert runtime("delete", "--force", "c").returncode == 0
    for ours, theirs in ((states[0], states[1]), (lists[0][0], lists[1][0])):
        assert list(ours) == list(theirs)
        same = {"id", "status", "bundle", "rootfs", "annotations", "owner"}
        assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}


def test_a_pid_file_holds_the_same_bytes(pair: list[Runtime], tmp_path: Path) -> None:
    for number, runtime in enumerate(pair):
        path = tmp_path / f"pid{number}"
        assert runtime("run", "--detach", "--pid-file", str(path), "c").returncode == 0
        assert path.read_text() == str(runtime.state()["pid"])
        assert [item.name for item in tmp_path.iterdir()] == [path.name]
        assert runtime("delete", "--force", "c").returncode == 0
        path.unlink()


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_has_the_same_fields(pair: list[Runtime], tmp_path: Path, form: str) -> None:
    seen = []
    for number, runtime in enumerate(pair):
        log = tmp_path / f"log{number}"
        assert runtime("--log", str(log), "--log-format", form, "state", "nosuch").returncode == 1
        line = log.read_text().splitlines()[-1]
        seen.append(
            sorted(json.loads(line))
            if form == "json"
            else [part.partition("=")[0] for part in line.split()[:3]]
        )
        assert "container does not exist" in line
    assert seen[0] == seen[1]


def test_ps_shows_the_same_table(pair: list[Runtime]) -> None:
    for runtime in pair:
        assert runtime("run", "--detach", "c").returncode == 0
    tables = [runtime("ps", "c", "-o", "pid,comm").stdout.splitlines() for runtime in pair]
    assert (
        [line.split()[1] for line in tables[0]]
        == [line.split()[1] for line in tables[1]]
        == ["COMMAND", "sleep"]
    )
    pids = [json.loads(runtime("ps", "--format", "json", "c").stdout) for runtime in pair]
    assert pids == [[runtime.state()["pid"]] for runtime in pair]
    assert pair[0]("delete", "--force", "c").returncode == 0


def test_update_from_standard_input_sets_the_same_limits(pair: list[Runtime]) -> None:
    resources = {"memory": {"limit": 64 << 20}, "pids": {"limit": 33}, "cpu": {"shares": 512}}
    seen = []
    for runtime in pair:
        assert runtime("run", "--detach", "c").returncode == 0
        command = runtime.command("update", "--resources", "-", "c")
        subprocess.run(command, input=json.dumps(resources).encode(), check=True, timeout=30)
        seen.append(limits(runtime))
        assert runtime("delete", "--force", "c").returncode == 0
    assert seen[0] == seen[1] == [f"{64 << 20}\n", "33\n", "512\n"]


def limits(runtime: Runtime) -> list[str]:
    """Three limits of container c, from the groups that the kernel names."""
    lines = Path(f"/proc/{runtime.state()['pid']}/cgroup").read_text().splitlines()
    groups = dict(line.split(":", 2)[1:] for line in lines)
    files = {"memory": "memory.limit_in_bytes", "pids": "pids.max", "cpu": "cpu.shares"}
    return [Path(f"/sys/fs/cgroup/{name}{groups[name]}/{file}").read_text() for name, file in files.items()]


def shape(value: object) -> object:
    """The keys of a document at every depth, without its values; pressure is what only later versions of runc tell."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key != "psi"}
    return type(value).__name__


# What is zero is left out on both sides, and which of these are zero is chance.
BY_CHANCE = {"total", "percpu", "percpu_kernel", "percpu_user", "cache", "max"}
WHOLLY_BY_CHANCE = {"throttling", "blkio"}


def certain(value: object) -> object:
    """A shape without what may be zero on one side only."""
    if not isinstance(value, dict):
        return value
    return {
        key: {} if key in WHOLLY_BY_CHANCE else certain(item)
        for key, item in value.items()
        if key not in BY_CHANCE and (key != "usage" or isinstance(item, dict))
    }


def test_events_have_the_same_keys_for_the_same_group(pair: list[Runtime]) -> None:
    seen = []
    for runtime in pair:
        runtime.spec["linux"]["resources"] |= {
            "memory": {"limit": 32 << 20},
            "cpu": {"quota": 50000, "period": 100000, "cpus": "0"},
        }
        runtime.args("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 100")
        assert runtime("run", "--detach", "c").returncode == 0
        told = json.loads(runtime("events", "--stats", "c").stdout)
        assert (told["type"], told["id"]) == ("stats", "c")
        seen.append(told["data"])
        assert runtime("delete", "--force", "c").returncode == 0
    ours, theirs = seen
    assert list(ours) == list(theirs)
    assert certain(shape(ours)) == certain(shape(theirs))
    assert ours["memory"]["usage"]["limit"] == theirs["memory"]["usage"]["limit"] == 32 << 20
    assert ours["cpuset"]["cpus"] == theirs["cpuset"]["cpus"] == [0]
    assert ours["pids"]["limit"] == theirs["pids"]["limit"]
    assert set(ours["memory"]["raw"]) == set(theirs["memory"]["raw"])


def test_an_out_of_memory_kill_is_the_same_event(pair: list[Runtime]) -> None:
    seen = []
    for runtime in pair:
        runtime.spec["linux"]["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
        runtime.args("sh", "-c", "sleep 1; x=a; while :; do x=$x$x; done")
        assert runtime("run", "--detach", "c").returncode == 0
        with subprocess.Popen(
            runtime.command("events", "--interval", "700ms", "c"), stdout=subprocess.PIPE, text=True
        ) as events:
            try:
                assert events.stdout is not None
                lines = []
                while not lines or json.loads(lines[-1])["type"] != "oom":
                    lines.append(events.stdout.readline())
            finally:
                events.kill()
        assert {json.loads(line)["type"] for line in lines[:-1]} <= {"stats"}
        seen.append(lines[-1])
        assert runtime("delete", "--force", "c").returncode == 0
    assert seen == ['{"type":"oom","id":"c"}\n'] * 2


def test_events_end_with_the_container(pair: list[Runtime]) -> None:
    ours = pair[0]
    ours.args("sleep", "0.5")
    assert ours("run", "--detach", "c").returncode == 0
    found = ours("events", "--interval", "100ms", "c")
    assert found.returncode == 0
    assert {json.loads(line)["type"] for line in found.stdout.splitlines()} == {"stats"}
