"""Hooks of casemate-oci: all six kinds, where and when each runs, what it is told, and how it fails."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ocibundle import Runtime, made_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox-static"),
]
INSIDE = {"createContainer", "startContainer"}
BEFORE_PROGRAM = ("prestart", "createRuntime", "createContainer", "startContainer")
STAGES = (*BEFORE_PROGRAM, "poststart", "poststop")
STATUS = dict(zip(STAGES, ["creating"] * 3 + ["created", "running", "stopped"], strict=True))


@pytest.fixture(params=["root", "rootless"])
def oci(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with made_runtime(rootless=request.param == "rootless") as runtime:
        runtime.args("true")
        yield runtime


@pytest.fixture
def root_oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        runtime.args("true")
        yield runtime


def hook(oci: Runtime, stage: str, script: str, **more: Any) -> None:
    """Add a hook: a shell of the host, or of the image for startContainer. `$LOG` is a file that both see."""
    log = "/log" if stage == "startContainer" else str(oci.rootfs / "log")
    entry = {"path": "/bin/sh", "args": ["sh", "-c", f"LOG={log}; {script}"], **more}
    oci.spec.setdefault("hooks", {}).setdefault(stage, []).append(entry)


def log(oci: Runtime) -> list[str]:
    path = oci.rootfs / "log"
    return path.read_text().splitlines() if path.exists() else []


def records(oci: Runtime) -> list[str]:
    return [item["id"] for item in json.loads(oci("list", "--format", "json").stdout)]


@pytest.mark.parametrize("way", ["run", "detached", "create"])
def test_every_kind_runs_in_its_order_with_the_state_of_its_moment(oci: Runtime, way: str) -> None:
    for stage in STAGES:
        for number in (1, 2):
            hook(oci, stage, f'echo "{stage} {number} $(cat)" >> $LOG')
    oci.spec["annotations"] = {"org.example": 'a"b'}
    oci.args("sh", "-c", "echo program >> /log; sleep 1")
    if way == "run":
        assert oci("run", "c").returncode == 0
    elif way == "detached":
        assert oci("run", "-d", "c").returncode == 0
        _wait_stopped(oci)
        assert oci("delete", "c").returncode == 0
    else:
        made = oci("create", "c")
        assert made.returncode == 0, made.stderr
        assert [line.split()[0] for line in log(oci)] == [
            stage for stage in BEFORE_PROGRAM[:3] for _ in (1, 2)
        ]
        assert oci("start", "c").returncode == 0
        _wait_stopped(oci)
        assert oci("delete", "c").returncode == 0
    lines = [line.split(" ", 2) for line in log(oci) if line != "program"]
    assert [(stage, number) for stage, number, _ in lines] == [(stage, n) for stage in STAGES for n in "12"]
    assert log(oci).index("program") in (8, 9, 10)  # beside poststart
    for stage, _, text in lines:
        state = json.loads(text)
        pid = state.pop("pid")
        assert (pid == 1) if stage in INSIDE else (pid > 1) if stage != "poststop" else (pid == 0), stage
        assert state == {
            "ociVersion": oci.spec["ociVersion"],
            "id": "c",
            "status": STATUS[stage],
            "bundle": str(oci.bundle),
            "annotations": {"org.example": 'a"b'},
        }


def test_each_kind_runs_in_its_namespaces(oci: Runtime) -> None:
    for stage in STAGES:
        hook(
            oci,
            stage,
            f"echo {stage} $(for n in mnt pid net uts ipc; do readlink /proc/self/ns/$n; done) >> $LOG",
        )
    script = "for n in mnt pid net uts ipc; do readlink /proc/self/ns/$n; done > /mine"
    found = oci.run("sh", "-c", script)
    assert found.returncode == 0, found.stderr
    inside = (oci.rootfs / "mine").read_text().split()
    ours = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "net", "uts", "ipc")]
    for line in log(oci):
        stage, *found_in = line.split()
        assert found_in == (inside if stage in INSIDE else ours), stage


def test_the_environment_is_exactly_the_given_one(oci: Runtime) -> None:
    oci.spec["process"]["env"] += ["LD_PRELOAD=/evil.so", "SECRET=image"]
    for stage in STAGES:
        hook(
            oci,
            stage,
            f"printf '{stage}: ' >> $LOG; cat < /proc/self/environ >> $LOG; echo >> $LOG",
            env=["A=b c", "E="],
        )
        hook(oci, stage, f"printf '{stage}: ' >> $LOG; wc -c < /proc/self/environ >> $LOG")
    (oci.rootfs / "bin/printf").symlink_to("busybox")
    found = oci("run", "c", env={"LD_LIBRARY_PATH": "/caller", "PATH": "/usr/bin:/bin"})
    assert found.returncode == 0, found.stderr
    assert log(oci) == [line for stage in STAGES for line in (f"{stage}: A=b c\0E=\0", f"{stage}: 0")]


@pytest.mark.parametrize("stage", BEFORE_PROGRAM)
@pytest.mark.parametrize("way", ["run", "create"])
def test_a_hook_that_fails_before_the_program_undoes_the_container(
    oci: Runtime, stage: str, way: str
) -> None:
    hook(oci, stage, "echo first >> $LOG")
    hook(oci, stage, "echo no such luck >&2; exit 3")
    hook(oci, stage, "echo third >> $LOG")
    hook(oci, "poststop", "echo stopped >> $LOG")
    oci.args("touch", "/ran")
    found = oci("run", "c") if way == "run" else _create_and_start(oci)
    assert found.returncode == 1
    assert f"run {stage} hook /bin/sh: exit status 3: no such luck" in found.stderr
    assert log(oci) == ["first", "stopped"]
    assert not (oci.rootfs / "ran").exists()
    assert records(oci) == []
    assert not (oci.base / "state/c").exists()


@pytest.mark.parametrize("stage", BEFORE_PROGRAM)
def test_a_hook_that_hangs_is_killed_with_its_process_group(oci: Runtime, stage: str) -> None:
    mark = str(2_000_000 + os.getpid())
    hook(oci, stage, f"sleep {mark} & sleep {mark}", timeout=1)
    began = time.monotonic()
    found = _create_and_start(oci)
    assert found.returncode == 1
    assert f"run {stage} hook /bin/sh: it took longer than 1 s and was killed" in found.stderr
    assert time.monotonic() - began < 10
    assert not _processes_with(mark)
    assert records(oci) == []


@pytest.mark.parametrize("stage", ["poststart", "poststop"])
def test_poststart_and_poststop_only_warn_before_version_1_3(oci: Runtime, stage: str) -> None:
    oci.spec["ociVersion"] = "1.2.1"
    hook(oci, stage, "exit 4")
    hook(oci, stage, "sleep 50", timeout=1)
    hook(oci, stage, "echo third >> $LOG")
    oci.args("sleep", "0.3")
    found = oci("--log", str(oci.base / "log"), "run", "c")
    assert found.returncode == 0, found.stderr
    said = (oci.base / "log").read_text()
    assert f"run {stage} hook /bin/sh: exit status 4" in said
    assert f"run {stage} hook /bin/sh: it took longer than 1 s" in said
    assert log(oci) == ["third"]


@pytest.mark.parametrize("way", ["run", "create"])
def test_since_version_1_3_a_failing_poststart_hook_ends_the_container(oci: Runtime, way: str) -> None:
    oci.spec["ociVersion"] = "1.3.0"
    hook(oci, "poststart", "exit 4")
    hook(oci, "poststop", "echo stopped >> $LOG")
    oci.args("sleep", "100")
    found = oci("run", "c") if way == "run" else _create_and_start(oci)
    assert (found.returncode, log(oci)) == (1, ["stopped"])
    assert "run poststart hook /bin/sh: exit status 4" in found.stderr
    assert records(oci) == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_hook_that_does_not_exist_is_named(oci: Runtime, stage: str) -> None:
    oci.spec["hooks"] = {stage: [{"path": "/no/such/hook"}]}
    found = oci("--log", str(oci.base / "log"), "run", "c")
    assert f"run {stage} hook /no/such/hook: No such file or directory" in (oci.base / "log").read_text()
    assert found.returncode == (0 if stage.startswith("post") else 1)
    assert records(oci) == []


BROKEN: dict[str, dict[str, Any]] = {
    "must be an absolute path": {"path": "hook"},
    "must be a list": {"path": "/hook", "args": "x"},
    "must be a string": {"path": "/hook", "env": [1]},
    "is not NAME=value": {"path": "/hook", "env": ["A"]},
    "must be a whole number from 1": {"path": "/hook", "timeout": 0},
}


@pytest.mark.parametrize("why", sorted(BROKEN))
def test_a_malformed_hook_is_refused_before_anything_is_made(oci: Runtime, why: str) -> None:
    hook(oci, "prestart", "echo ran >> $LOG")
    oci.spec["hooks"]["poststop"] = [BROKEN[why]]
    found = oci("create", "c")
    assert found.returncode == 1
    assert why in found.stderr
    assert "hooks.poststop" in found.stderr
    assert (log(oci), records(oci)) == ([], [])


def test_create_container_sees_the_mounts_and_can_add_one(root_oci: Runtime) -> None:
    rootfs = root_oci.rootfs
    (rootfs / "mnt").mkdir()
    script = f"grep -c ' {rootfs}/proc ' /proc/self/mountinfo >> $LOG; pwd >> $LOG;"
    script += f"mount -t tmpfs hooked {rootfs}/mnt; echo x > {rootfs}/mnt/file"
    hook(root_oci, "createContainer", script, env=["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
    found = root_oci.run("sh", "-c", "cat /mnt/file; grep -c hooked /proc/self/mountinfo")
    assert found.stdout.split() == ["x", "1"], found.stderr
    assert log(root_oci) == ["1", "/"]
    assert "hooked" not in Path("/proc/self/mountinfo").read_text()
    assert os.listdir(rootfs / "mnt") == []


def test_create_container_executes_nothing_of_the_image(oci: Runtime) -> None:
    """SECURITY.md C12: same names, loader, libraries and preload list in the image; each would leave a trace."""
    trap = "#!/bin/busybox sh\n/bin/busybox touch /trapped\n"
    for name in (
        "bin/true",
        "usr/bin/true",
        "usr/bin/env",
        "lib64/ld-linux-x86-64.so.2",
        "lib/x86_64-linux-gnu/libc.so.6",
    ):
        path = oci.rootfs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(trap)
        path.chmod(0o755)
    (oci.rootfs / "etc/ld.so.preload").write_text("/lib/x86_64-linux-gnu/libc.so.6\n")
    oci.spec["process"]["env"] += ["LD_PRELOAD=./evil.so", "PATH=/usr/bin:/bin"]
    oci.spec["hooks"] = {
        "createContainer": [{"path": "/usr/bin/env", "args": ["env", "true"]}, {"path": "/bin/true"}]
    }
    found = oci.run("sh", "-c", "ls /trapped")
    assert "createContainer" not in found.stderr
    assert not (oci.rootfs / "trapped").exists()


@pytest.mark.parametrize("sealed", [True, False])
def test_a_start_hook_is_confined_exactly_like_the_program(root_oci: Runtime, *, sealed: bool) -> None:
    root_oci.spec["process"]["noNewPrivileges"] = sealed
    root_oci.spec["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [7]}
    root_oci.spec["process"]["capabilities"] = {}
    dump = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; umask; pwd"
    (root_oci.rootfs / "tmp").chmod(0o1777)
    hook(root_oci, "startContainer", f"({dump}) > /tmp/hook; echo /proc/self/fd/* >> /tmp/fds")
    found = root_oci.run("sh", "-c", dump)
    assert (root_oci.rootfs / "tmp/hook").read_text() == found.stdout, found.stderr
    assert "CapEff:\t0000000000000000" in found.stdout
    assert "Seccomp:\t2" in found.stdout


def test_a_start_hook_gets_no_descriptor_that_the_program_inherits(root_oci: Runtime) -> None:
    hook(root_oci, "startContainer", "cd /proc/self/fd && echo * > $LOG")
    fds = [os.open("/", os.O_RDONLY) for _ in range(3)]
    root_oci.args("true")
    found = root_oci("run", "--preserve-fds", "10", "c", pass_fds=fds)
    for fd in fds:
        os.close(fd)
    assert found.returncode == 0, found.stderr
    assert set(log(root_oci)[0].split()) <= {"0", "1", "2", "3"}


def test_a_hook_may_take_longer_than_a_start(root_oci: Runtime) -> None:
    from casemate.runtime import container

    assert container.start_container.__kwdefaults__["deadline_s"] == 60.0
    hook(root_oci, "createContainer", "sleep 2", timeout=30)
    assert root_oci.run("true").returncode == 0


def test_the_runtime_killed_in_a_hook_leaves_no_hook(root_oci: Runtime) -> None:
    import signal
    import subprocess

    mark = str(3_000_000 + os.getpid())
    hook(root_oci, "createContainer", f"sleep {mark} & sleep {mark}")
    root_oci.save()
    process = subprocess.Popen(root_oci.command("create", "c"), cwd=root_oci.bundle, stdin=subprocess.DEVNULL)
    _wait_for(lambda: len(_processes_with(mark)) >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert root_oci("delete", "--force", "c").returncode == 0
    _wait_for(lambda: not _processes_with(mark))


def _create_and_start(oci: Runtime) -> Any:
    made = oci("create", "c")
    return oci("start", "c") if made.returncode == 0 else made


def _processes_with(mark: str) -> list[str]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words:
            found.append(name)
    return found


def _wait_stopped(oci: Runtime) -> None:
    _wait_for(lambda: oci.state()["status"] == "stopped")


def _wait_for(condition: Any, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
