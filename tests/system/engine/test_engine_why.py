"""`why` names the rule that refused something, and its advice works. As root and as an ordinary user."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from explanations import explained, only, reasons

from casemate.engine.options import MountOption

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casemate.engine.engine import Engine

pytestmark = pytest.mark.system

SET_USER_ID = 0o4755


def advice(found: dict[str, Any]) -> list[str]:
    assert all(way["GivesAway"] for way in found["Allow"])
    return [way["Option"] for way in found["Allow"]]


def test_a_call_that_the_filter_refuses_is_named_and_the_advice_makes_it_work(
    engine: Engine, run: Callable[..., Any]
) -> None:
    document = explained(engine, "mount", "-t", "tmpfs", "none", "/tmp")
    found = only(document, "seccomp")
    assert found["What"].startswith("the system call filter answers EPERM to mount(")
    assert found["Call"] == 'mount("none", "/tmp", "tmpfs", 0x8000)'
    assert (found["Errno"], found["Program"], found["Count"]) == ("EPERM", "mount", 1)
    assert found["First"] == found["Last"] > document["StartedAt"]
    assert advice(found) == ["--cap-add SYS_ADMIN --relax landlock"]
    assert run("mount", "-t", "tmpfs", "none", "/tmp", cap_add=["SYS_ADMIN"], relax=["landlock"]).code == 0


def test_a_missing_capability_is_named_and_the_advice_makes_it_work(
    engine: Engine, run: Callable[..., Any]
) -> None:
    found = only(explained(engine, "ping", "-c", "1", "127.0.0.1"), "capability")
    assert found["What"] == "socket(2, 3, 1) by ping: the program does not have CAP_NET_RAW"
    assert advice(found) == ["--cap-add NET_RAW"]
    assert run("ping", "-c", "1", "127.0.0.1", cap_add=["NET_RAW"]).code == 0


def test_a_namespace_is_refused_by_the_filter_and_the_relaxation_makes_it_work(
    engine: Engine, run: Callable[..., Any]
) -> None:
    found = only(explained(engine, "busybox", "unshare", "-U", "true"), "seccomp")
    assert advice(found)[0] == "--relax nested"
    assert run("busybox", "unshare", "-U", "true", relax=["nested"]).code == 0


def test_a_masked_file_that_seems_empty_is_named_though_nothing_failed(
    engine: Engine, run: Callable[..., Any]
) -> None:
    found = only(explained(engine, "cat", "/proc/kallsyms"), "masked")
    assert (
        found["What"] == "/proc/kallsyms was opened, and is empty: /proc/kallsyms is masked in the container"
    )
    assert advice(found) == ["--relax systempaths"]
    assert run("head", "-n", "1", "/proc/kallsyms", relax=["systempaths"]).out


def test_a_kernel_path_that_is_read_only_is_named(engine: Engine) -> None:
    found = only(explained(engine, "sh", "-c", "echo x > /proc/sys/kernel/hostname"), "read-only")
    assert found["What"].endswith("by sh: /proc/sys is read-only in the container")
    assert found["Errno"] == "EROFS"


def test_a_read_only_root_is_named(engine: Engine, run: Callable[..., Any]) -> None:
    found = only(explained(engine, "touch", "/home/x", read_only=True), "read-only")
    assert found["What"].endswith("the container was started with --read-only")
    assert advice(found)[0] == "--tmpfs /home"
    from casemate.engine.options import TmpfsOption

    assert run("touch", "/home/x", read_only=True, tmpfs=[TmpfsOption(target="/home")]).code == 0


def test_a_volume_that_was_mounted_read_only_is_named(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    volume = MountOption(source=str(tmp_path / "data"), target="/data", read_only=True)
    found = only(explained(engine, "touch", "/data/x", mounts=[volume]), "read-only")
    assert found["What"].endswith("/data was mounted read-only by -v or --mount")


def test_the_landlock_domain_is_named_when_the_capability_is_there(engine: Engine) -> None:
    document = explained(engine, "mount", "-t", "tmpfs", "none", "/tmp", cap_add=["SYS_ADMIN"])
    found = only(document, "landlock")
    assert found["What"].endswith("by mount: a program in a Landlock domain changes no mounts")
    assert advice(found) == ["--relax landlock"]


def test_a_set_user_id_program_without_effect_is_named(
    engine: Engine, busybox_layer: bytes, write_archive: Callable[..., str], tmp_path: Path
) -> None:
    with open("/bin/busybox", "rb") as file:
        program = file.read()
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        info = tarfile.TarInfo("bin/id")
        info.mode, info.size = SET_USER_ID, len(program)
        tar.addfile(info, io.BytesIO(program))
    layers = [busybox_layer, data.getvalue()]
    config = {"Env": ["PATH=/bin"], "Cmd": ["sh"]}
    engine.images.load(write_archive(tmp_path / "s.tar", layers, config=config, name="suid:latest"))
    found = only(explained(engine, "id", image="suid", user="1000:1000"), "no-new-privileges")
    assert found["What"].startswith("/bin/id is set-user-id, and was run as the user who called it")
    assert advice(found) == ["--relax suid"]
    assert not [r for r in reasons(explained(engine, "id", image="suid")) if r["Rule"] == "no-new-privileges"]


def test_a_file_system_from_which_nothing_is_executed_is_named(engine: Engine) -> None:
    script = "cat /bin/busybox > /dev/shm/true; busybox chmod 755 /dev/shm/true; /dev/shm/true"
    found = only(explained(engine, "sh", "-c", script), "noexec")
    assert found["What"] == 'execve("/dev/shm/true") by sh: nothing is executed from /dev/shm'


def test_the_mode_of_a_file_is_told_from_a_rule_and_not_called_certain(engine: Engine) -> None:
    found = only(explained(engine, "touch", "/etc/x", user="1000:1000"), "permissions")
    assert "the owner and mode of the file do not let this user" in found["What"]
    assert not found["Certain"]


def test_the_absent_network_is_named(engine: Engine) -> None:
    found = only(explained(engine, "busybox", "wget", "http://192.0.2.1/"), "network")
    assert "inet 192.0.2.1:80" in found["Call"]
    assert advice(found) == ["--network host"]


def test_the_limit_of_open_files_is_named(engine: Engine) -> None:
    found = only(explained(engine, "sh", "-c", "ulimit -n 4; cat < /etc/passwd | cat"), "ulimit")
    assert "the process has its 4 open files (RLIMIT_NOFILE" in found["What"]


def test_a_full_shared_memory_is_named_and_the_advice_makes_it_work(
    engine: Engine, run: Callable[..., Any]
) -> None:
    argv = ("dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=2")
    found = only(explained(engine, *argv, shm_size_bytes=1 << 20), "space")
    assert found["What"].endswith("/dev/shm is full")
    assert advice(found) == ["--shm-size SIZE"]
    assert run(*argv, shm_size_bytes=4 << 20).code == 0


def test_a_file_beyond_its_limit_is_named_by_its_call_or_its_signal(engine: Engine) -> None:
    limit = {"fsize": [4096, 4096]}
    document = explained(engine, "sh", "-c", "cat /bin/busybox > /tmp/x; exit $?", ulimits=limit)
    assert document["ExitCode"] == 128 + signal.SIGXFSZ
    assert only(document, "ulimit")["What"].startswith("SIGXFSZ")
    argv = ("dd", "if=/dev/zero", "of=/tmp/x", "bs=1M", "count=2")  # a first process ignores the signal
    found = only(explained(engine, *argv, ulimits=limit), "ulimit")
    assert found["What"] == "write(/tmp/x) by dd: the file would be larger than RLIMIT_FSIZE"


def test_a_right_over_the_host_is_told_from_a_capability_that_can_be_added(engine: Engine) -> None:
    found = only(explained(engine, "sh", "-c", "ulimit -n 2000000"), "user-namespace")
    assert "CAP_SYS_RESOURCE of the host's own root" in found["What"]
    if os.geteuid() == 0:
        assert advice(found) == ["--cap-add SYS_RESOURCE --userns host"]
    else:
        assert found["What"].endswith("which an ordinary user's container never has")
        assert not found["Allow"]


@pytest.mark.needs_root
def test_the_limit_of_processes_is_named_also_of_a_run_that_nobody_watched(engine: Engine) -> None:
    argv = ("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait")
    watched = only(explained(engine, *argv, pids_limit=5), "pids")
    assert watched["What"].endswith("by sh: the container has its 5 processes and threads")
    assert watched["Errno"] == "EAGAIN"
    unwatched = explained(engine, *argv, pids_limit=5, explain=False)
    assert not unwatched["Watched"]
    assert only(unwatched, "pids")["Count"] >= 1
    assert any("nobody watched this run" in note for note in unwatched["Notes"])


@pytest.mark.needs_root
def test_the_memory_limit_is_named(engine: Engine) -> None:
    argv = ("dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1")
    document = explained(engine, *argv, memory_bytes=10 << 20, explain=False)
    assert document["ExitCode"] == 137
    found = reasons(document)[0]
    assert found["Rule"] == "memory"
    assert "10 MiB (--memory)" in found["What"]


@pytest.mark.needs_root
def test_a_device_that_was_not_given_is_named(engine: Engine) -> None:
    options = {"cap_add": ["MKNOD"], "relax": ["landlock"], "userns": "host"}
    found = only(explained(engine, "busybox", "mknod", "/dev/kmsg", "c", "1", "11", **options), "device")
    assert advice(found) == ["--device /dev/kmsg"]


@pytest.fixture
def profile(tmp_path: Path) -> Callable[..., str]:
    """Write a profile that allows everything but sethostname."""

    def write(action: str, errno: int | None = None) -> str:
        rule: dict[str, Any] = {"names": ["sethostname"], "action": action}
        if errno is not None:
            rule["errnoRet"] = errno
        path = tmp_path / "profile.json"
        path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
        return f"seccomp={path}"

    return write


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_a_call_that_kills_is_named(engine: Engine, profile: Callable[..., str], action: str) -> None:
    document = explained(engine, "sh", "-c", "busybox hostname x; exit $?", security_opt=[profile(action)])
    assert document["ExitCode"] == 128 + signal.SIGSYS
    found = only(document, "seccomp")
    assert found["What"].startswith("SIGSYS: the filter of ")
    assert found["What"].endswith("kills for sethostname")
    assert len([r for r in reasons(document) if r["Rule"] == "seccomp"]) == 1


def test_a_killing_filter_is_suspected_when_nobody_watched(
    engine: Engine, profile: Callable[..., str]
) -> None:
    option = profile("SCMP_ACT_KILL_PROCESS")
    document = explained(engine, "hostname", "x", security_opt=[option], explain=False)
    assert only(document, "seccomp")["What"].endswith("kills for the call that was made")


def test_a_profile_of_the_user_with_an_error_of_its_own_is_named(
    engine: Engine, profile: Callable[..., str]
) -> None:
    option = profile("SCMP_ACT_ERRNO", 95)
    found = only(explained(engine, "hostname", "x", security_opt=[option]), "seccomp")
    assert found["Errno"] == "EOPNOTSUPP"
    assert option.partition("=")[2] in found["What"]
    assert advice(found) == ["--security-opt seccomp=FILE"]


def test_what_a_program_said_is_shown_when_nobody_watched(engine: Engine) -> None:
    document = explained(engine, "hostname", "x", explain=False)
    assert document["Said"] == ["hostname: sethostname: Operation not permitted"]
    assert document["Findings"] == []


def test_a_container_that_never_ran_is_told_so(engine: Engine) -> None:
    from casemate.engine.options import ContainerOptions

    document = engine.containers.create("busybox", ContainerOptions(argv=["true"])).why()
    assert (document["State"], document["Findings"]) == ("created", [])
    assert document["Notes"] == ["it has not run: an error of its start was told there"]


def test_a_program_that_fails_by_itself_is_told_so(engine: Engine) -> None:
    document = explained(engine, "sh", "-c", "exit 7")
    assert reasons(document) == []
    assert document["Notes"][0] == "the program failed by itself; casemate logs shows what it said"
