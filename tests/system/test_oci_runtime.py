"""casemate-oci on busybox bundles: life cycle, confinement, hostile root file systems, death of the runtime."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ocibundle import Runtime, made_runtime
from terminal import on_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox-static"),
]


@pytest.fixture(params=["root", "rootless"])
def oci(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with made_runtime(rootless=request.param == "rootless") as runtime:
        yield runtime


@pytest.fixture
def root_oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        yield runtime


def test_run_returns_output_and_exit_code(oci: Runtime) -> None:
    found = oci.run("sh", "-c", "id -u; hostname; exit 7")
    assert (found.stdout.split(), found.returncode) == (["0", "casemate"], 7), found.stderr
    assert json.loads(oci("list", "--format", "json").stdout) == []


def test_a_program_that_is_missing_or_not_executable_is_said_so(oci: Runtime) -> None:
    missing, denied = oci.run("nosuch"), oci.run("/etc/passwd")
    assert (missing.returncode, denied.returncode) == (1, 1)  # as runc: the program's own codes stay apart
    assert "no such file or directory" in missing.stderr
    assert "permission denied" in denied.stderr


def test_death_by_signal_is_128_and_its_number(oci: Runtime) -> None:
    assert oci.run("sh", "-c", "kill -9 $$").returncode in (
        137,
        0,
    )  # a pid namespace's first process ignores itself
    assert oci.run("sh", "-c", "sh -c 'kill -9 $$'; exit $?").returncode == 137


def test_create_start_exec_kill_delete(oci: Runtime) -> None:
    oci.args("sleep", "100")
    pid_file = oci.base / "pid"
    made = oci("create", "--pid-file", str(pid_file), "c")
    assert made.returncode == 0, made.stderr
    assert oci.state()["status"] == "created"
    assert oci.state()["pid"] == int(pid_file.read_text())
    assert oci("create", "c").returncode == 1
    assert oci("start", "c").returncode == 0
    assert oci.state()["status"] == "running"
    assert oci("start", "c").returncode == 1
    found = oci("exec", "c", "sh", "-c", "echo $$; exit 9")
    assert found.returncode == 9, found.stderr
    assert oci("exec", "c", "nosuch").returncode == 255
    assert oci("delete", "c").returncode == 1
    assert oci("kill", "c", "KILL").returncode == 0
    _wait_for(lambda: oci.state()["status"] == "stopped")
    assert "container not running" in oci("kill", "c", "TERM").stderr
    assert oci("delete", "c").returncode == 0
    assert "does not exist" in oci("state", "c").stderr
    assert oci("delete", "--force", "c").returncode == 0


DUMP = (
    "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; "
    "cat /proc/self/limits /proc/self/attr/current 2>/dev/null;"
    "for n in mnt pid net ipc uts cgroup user; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup;"
    "ls -l /proc/self/fd | wc -l; umask; pwd"
)


@pytest.mark.parametrize("uid", [0, 1000])
def test_exec_is_confined_exactly_as_the_start_was(root_oci: Runtime, uid: int) -> None:
    root_oci.spec["process"]["user"] = {"uid": uid, "gid": uid, "additionalGids": [7]}
    if uid:
        root_oci.spec["process"]["capabilities"] = {}
    root_oci.args("sh", "-c", f"({DUMP}) > /tmp/dump; sleep 100")
    (root_oci.rootfs / "tmp").chmod(0o1777)
    assert root_oci("run", "--detach", "c").returncode == 0
    dump = root_oci.rootfs / "tmp/dump"
    _wait_for(lambda: dump.exists() and dump.read_text().rstrip().endswith("/"))
    found = root_oci("exec", "c", "sh", "-c", f"({DUMP}) > /tmp/dump2")
    assert found.returncode == 0, found.stderr
    assert (root_oci.rootfs / "tmp/dump2").read_text() == dump.read_text()


def test_only_the_standard_descriptors_and_no_host_path_are_left(root_oci: Runtime) -> None:
    leaked = [os.open("/", os.O_RDONLY) for _ in range(20)]
    root_oci.args("sh", "-c", "cd /proc/self/fd && echo *")
    found = root_oci("run", "c", pass_fds=leaked)
    for fd in leaked:
        os.close(fd)
    assert found.stdout.split() in (
        ["0", "1", "2"],
        ["0", "1", "2", "3"],
    )  # 3 is the shell's own open directory


@pytest.mark.parametrize(
    "cwd",
    [f"/proc/self/fd/{number}" for number in range(3, 12)]
    + ["/proc/self/cwd/..", "/proc/thread-self/root/../.."],
)
def test_a_working_directory_outside_the_root_is_refused(root_oci: Runtime, cwd: str) -> None:
    root_oci.spec["process"]["cwd"] = cwd
    found = root_oci.run("pwd")
    assert found.returncode != 0 or found.stdout == "/\n", found


HOSTILE = {
    "proc": "proc",
    "sys": "sys",
    "dev": "dev",
    "dev/pts": "dev/pts",
    "etc/hosts": "etc/hosts",
    "mnt": "mnt",
}


@pytest.mark.parametrize("place", sorted(HOSTILE))
@pytest.mark.parametrize("kind", ["outside", "dangling", "parents"])
def test_a_mount_target_that_is_a_link_never_leads_outside(root_oci: Runtime, place: str, kind: str) -> None:
    canary = root_oci.base / "canary"
    canary.mkdir()
    (canary / "token").write_text("secret")
    before = _fingerprint(canary)
    target = {
        "outside": str(canary),
        "dangling": "/nowhere/at/all",
        "parents": "../" * 12 + str(canary).lstrip("/"),
    }[kind]
    link = root_oci.rootfs / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    if place in ("etc/hosts", "mnt"):
        source = root_oci.base / ("hosts" if place == "etc/hosts" else "volume")
        source.write_text("x") if place == "etc/hosts" else source.mkdir()
        root_oci.spec["mounts"].append(
            {"destination": f"/{place}", "source": str(source), "type": "bind", "options": ["bind"]}
        )
    found = root_oci.run("sh", "-c", f"cat /{place}/token; ls /; touch /{place}/new")
    assert "secret" not in found.stdout
    assert _fingerprint(canary) == before
    assert sorted(path.name for path in canary.iterdir()) == ["token"]


def test_masks_come_from_our_own_inodes(root_oci: Runtime) -> None:
    canary = root_oci.base / "canary"
    canary.write_text("secret")
    root_oci.spec["mounts"] = [
        mount for mount in root_oci.spec["mounts"] if not mount["destination"].startswith("/dev")
    ]
    root_oci.spec["linux"]["maskedPaths"] = [
        "/proc/kallsyms",
        "/proc/timer_list",
        "/sys/firmware",
        "/etc/hidden",
    ]
    (root_oci.rootfs / "etc/hidden").write_text("secret")
    (root_oci.rootfs / "dev").mkdir()
    for name in ("null", "console"):
        (root_oci.rootfs / "dev" / name).symlink_to(canary)
    script = "cat /proc/kallsyms /proc/timer_list /etc/hidden | wc -c; ls /sys/firmware | wc -l;"
    script += "echo x > /proc/kallsyms; head -c 9 /dev/null; true"
    found = root_oci.run("sh", "-c", script)
    assert canary.read_text() == "secret"
    assert found.returncode != 0 or found.stdout.split()[:2] == ["0", "0"]


def test_fake_procfs_files_cannot_catch_a_sysctl(root_oci: Runtime) -> None:
    fake = root_oci.rootfs / "proc/sys/net/ipv4"
    fake.mkdir(parents=True)
    (fake / "ip_forward").write_text("untouched")
    root_oci.spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    found = root_oci.run("cat", "/proc/sys/net/ipv4/ip_forward")
    assert found.stdout == "1\n", found.stderr
    assert (fake / "ip_forward").read_text() == "untouched"
    root_oci.spec["mounts"].append({"destination": "/proc/sys/net", "type": "tmpfs", "source": "tmpfs"})
    assert root_oci.run("true").returncode == 1


def test_groups_are_exactly_those_of_the_spec(root_oci: Runtime) -> None:
    secret = root_oci.rootfs / "etc/negative"
    secret.write_text("secret")
    os.chown(secret, 0, 1234)
    secret.chmod(0o604)
    root_oci.spec["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [1234]}
    root_oci.spec["process"]["capabilities"] = {}
    found = root_oci.run("cat", "/etc/negative")
    assert (found.returncode, found.stdout) == (1, "")


@pytest.mark.parametrize("uid", [1000, 0])
def test_capability_sets_are_those_of_the_spec(root_oci: Runtime, uid: int) -> None:
    root_oci.spec["process"]["user"] = {"uid": uid, "gid": uid}
    if uid:
        root_oci.spec["process"]["capabilities"] = {}
    found = root_oci.run("grep", "^Cap", "/proc/self/status")
    sets = dict(line.split(":\t") for line in found.stdout.splitlines())
    eight = "00000000000004fb" if uid == 0 else "0000000000000000"
    assert sets == {"CapInh": "0" * 16, "CapPrm": eight, "CapEff": eight, "CapBnd": eight, "CapAmb": "0" * 16}


def test_a_terminal_is_the_containers_own(root_oci: Runtime) -> None:
    root_oci.spec["process"]["terminal"] = True
    root_oci.args("sh", "-c", "readlink /proc/self/fd/0; stat -c %t:%T /dev/console; exit 3")
    root_oci.save()
    code, shown = on_terminal(root_oci.command("run", "c"), cwd=root_oci.bundle)
    assert code == 3
    assert shown.split() == ["/dev/pts/0", "88:0"]


def test_hooks_get_the_state_and_nothing_of_the_caller(root_oci: Runtime) -> None:
    log = root_oci.base / "log"
    hook = root_oci.base / "hook"
    hook.write_text(f"#!/bin/sh\necho $1 $(cat) ${{LD_PRELOAD-none}} >> {log}\n")
    hook.chmod(0o755)
    stages = ["prestart", "createRuntime", "poststart", "poststop"]
    root_oci.spec["hooks"] = {stage: [{"path": str(hook), "args": ["hook", stage]}] for stage in stages}
    found = root_oci.run("true")
    assert found.returncode == 0, found.stderr
    lines = log.read_text().splitlines()
    assert [line.split()[0] for line in lines] == stages
    assert all('"id":"c"' in line and line.endswith(" none") for line in lines)


def test_a_start_hook_runs_inside_before_the_program(root_oci: Runtime) -> None:
    script = "cat > /state; hostname > /host; echo $SECRET >> /host"
    root_oci.spec["hooks"] = {
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=b"]}]
    }
    found = root_oci.run("sh", "-c", 'grep -o \'"status":"[a-z]*\' /state; cat /host')
    assert found.stdout == '"status":"created\ncasemate\n\n', found.stderr
    root_oci.spec["hooks"]["startContainer"][0]["args"][2] = "exit 3"
    found = root_oci.run("touch", "/ran")
    assert found.returncode == 1
    assert "startContainer" in found.stderr
    assert not (root_oci.rootfs / "ran").exists()


def test_tmpcopyup_reads_nothing_outside_the_image(root_oci: Runtime, tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("secret")
    inside = root_oci.rootfs / "data"
    (inside / "deep").mkdir(parents=True)
    (inside / "deep/file").write_text("text")
    (inside / "file").symlink_to(tmp_path / "canary")
    (inside / "dir").symlink_to(tmp_path)
    os.mkfifo(inside / "fifo")
    (root_oci.rootfs / "away").symlink_to(tmp_path)
    for place in ("/data", "/away"):
        options = ["nosuid", "nodev", "tmpcopyup", "size=1m"]
        root_oci.spec["mounts"].append(
            {"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options}
        )
    found = root_oci.run(
        "sh",
        "-c",
        "cat /data/deep/file; ls /data; cat /data/file /data/dir/canary; ls /away; echo x > /data/x",
    )
    assert "secret" not in found.stdout
    assert found.stdout == "textdeep\ndir\nfile\n", found.stderr
    assert not (inside / "x").exists()
    assert os.listdir(tmp_path) == ["canary"]


def test_tmpcopyup_has_an_end(root_oci: Runtime) -> None:
    (root_oci.rootfs / "data").mkdir()
    (root_oci.rootfs / "data/big").write_bytes(bytes(3 << 20))
    options = ["tmpcopyup", "size=1m"]
    root_oci.spec["mounts"].append({"destination": "/data", "type": "tmpfs", "options": options})
    found = root_oci.run("true")
    assert found.returncode == 1
    assert "No space left" in found.stderr
    assert not (root_oci.base / "state/c").exists()


def test_exec_as_another_user_has_no_capability_in_reach(root_oci: Runtime) -> None:
    root_oci.args("sleep", "100")
    assert root_oci("run", "-d", "c").returncode == 0
    found = root_oci(
        "exec", "--user", "1000:1000", "c", "grep", "-E", "Cap(Bnd|Eff|Prm)", "/proc/self/status"
    )
    assert set(found.stdout.split()[1::2]) == {"0" * 16}, found.stderr
    found = root_oci("exec", "c", "grep", "CapEff", "/proc/self/status")
    assert found.stdout.split()[1] != "0" * 16


def test_a_failing_hook_stops_the_start_and_leaves_nothing(root_oci: Runtime) -> None:
    root_oci.spec["hooks"] = {"prestart": [{"path": "/bin/false"}]}
    found = root_oci.run("true")
    assert found.returncode == 1
    assert "prestart" in found.stderr
    assert json.loads(root_oci("list", "-f", "json").stdout) == []


@pytest.mark.parametrize("delay_ms", [5, 15, 25, 30, 35, 40, 50, 70, 100, 150])
def test_a_killed_runtime_leaves_nothing_after_delete(oci: Runtime, delay_ms: int) -> None:
    program = ["sleep", str(1_000_000 + os.getpid())]  # like no other program on this machine
    oci.args(*program)
    oci.save()
    process = subprocess.Popen(
        oci.command("create", "c"), cwd=oci.bundle, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with suppress(subprocess.TimeoutExpired):
        process.wait(delay_ms / 1000)  # it may be done already: then there is a container to delete
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert oci("delete", "--force", "c").returncode == 0
    assert not (oci.base / "state/c").exists()
    _wait_for(lambda: not _processes_of("\x00".join(program)))


def test_what_is_not_possible_is_refused_before_anything_is_made(oci: Runtime) -> None:
    oci.spec["linux"]["intelRdt"] = {"closID": "x"}
    found = oci.run("true")
    assert found.returncode == 1
    assert "linux.intelRdt" in found.stderr
    assert not (oci.base / "state/c").exists()


def _fingerprint(path: Path) -> list[tuple[Any, ...]]:
    return [
        (
            item.name,
            item.lstat().st_mode,
            item.lstat().st_uid,
            item.lstat().st_nlink,
            item.read_bytes() if item.is_file() else b"",
        )
        for item in [path, *sorted(path.rglob("*"))]
    ]


def _processes_of(command: str) -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                text = Path(f"/proc/{name}/cmdline").read_text()
            except OSError:
                continue
            if text.startswith(command):
                found.append(name)
    return found


def _wait_for(condition: Any, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        _reap()
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def _reap() -> None:
    """Collect orphans that fell to us: a pid namespace ends only when its last zombie is gone."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
