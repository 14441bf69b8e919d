"""Running programs: streams, exit codes, users, environment, mounts, limits."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from casemate.engine.options import ContainerOptions, MountOption, TmpfsOption
from casemate.errors import AlreadyExists, Invalid, NotExecutable, NotFound, ProgramNotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casemate.engine.engine import Engine

pytestmark = pytest.mark.system
IS_ROOT = os.geteuid() == 0


def test_output_goes_to_the_two_streams_it_was_written_to(run: Callable[..., object]) -> None:
    result = run("sh", "-c", "echo one; echo two >&2")
    assert (result.out, result.err, result.code) == ("one\n", "two\n", 0)


def test_input_is_read_to_its_end(run: Callable[..., object]) -> None:
    assert run("cat", stdin=b"hello\n").out == "hello\n"


def test_exit_code_is_the_programs(run: Callable[..., object]) -> None:
    assert run("sh", "-c", "exit 42").code == 42


def test_killed_program_gives_128_plus_signal(run: Callable[..., object]) -> None:
    assert run("sh", "-c", "sh -c 'kill -9 $$'; exit $?").code == 137


def test_missing_program_is_127_and_leaves_no_container(engine: Engine, run: Callable[..., object]) -> None:
    with pytest.raises(ProgramNotFound) as caught:
        run("no-such-program")
    assert caught.value.exit_code == 127
    assert engine.containers.list(all=True) == []


def test_program_without_execute_permission_is_126(run: Callable[..., object]) -> None:
    with pytest.raises(NotExecutable) as caught:
        run("/etc/passwd")
    assert caught.value.exit_code == 126


def test_auto_remove_leaves_nothing_in_the_store(engine: Engine, run: Callable[..., object]) -> None:
    run("true")
    paths = engine.store.paths
    assert os.listdir(paths.containers) == []
    assert engine.store.snapshots.roots() == []
    assert engine.store.ranges.holders() == set()
    assert os.listdir(f"{paths.run_root}/locks") == []
    assert os.listdir(f"{paths.run_root}/attach") == []


def test_environment_is_image_then_caller_and_never_the_hosts(
    run: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_SECRET", "token")
    monkeypatch.setenv("PASSED_ON", "value")
    found = dict(
        line.split("=", 1) for line in run("env", env=["A=1", "PASSED_ON", "ABSENT"]).out.splitlines()
    )
    assert found["FROM_IMAGE"] == "yes"
    assert found["A"] == "1"
    assert found["PASSED_ON"] == "value"
    assert found["HOME"] == "/root"
    assert "HOST_SECRET" not in found
    assert "ABSENT" not in found


def test_host_name_is_the_short_id_and_can_be_chosen(run: Callable[..., object]) -> None:
    assert len(run("hostname").out.strip()) == 12
    assert run("hostname", hostname="box").out == "box\n"
    assert "\tbox\n" in run("cat", "/etc/hosts", hostname="box").out


def test_working_directory_is_made_when_missing(run: Callable[..., object]) -> None:
    assert run("sh", "-c", "pwd", workdir="/made/for/it").out == "/made/for/it\n"


def test_named_user_gets_its_groups_and_no_capability(run: Callable[..., object]) -> None:
    text = run("sh", "-c", "id; grep Cap /proc/self/status", user="user").out
    assert text.startswith("uid=1000(user) gid=1000(user) groups=")
    assert "2000(extra)" in text
    assert {line.split("\t")[1] for line in text.splitlines()[1:]} == {"0" * 16}


def test_numeric_user_needs_no_account(run: Callable[..., object]) -> None:
    assert run("id", user="4711:4712").out.startswith("uid=4711 gid=4712")


@pytest.mark.parametrize(
    "user", ["-1", "0x1", " 1", "4294967295", "4294967296", "99999999999", "1:", ":1", "+0"]
)
def test_malformed_user_is_refused_and_never_a_name(run: Callable[..., object], user: str) -> None:
    with pytest.raises(Invalid):
        run("id", user=user)


def test_unknown_user_is_not_found(run: Callable[..., object]) -> None:
    with pytest.raises(NotFound, match="no matching entries in passwd file"):
        run("id", user="nobody-here")


def test_user_outside_the_range_is_refused(run: Callable[..., object]) -> None:
    with pytest.raises(Invalid, match="outside"):
        run("id", user="70000")


def test_root_holds_eight_capabilities_behind_seccomp_and_no_new_privs(run: Callable[..., object]) -> None:
    fields = dict(
        line.split(":\t", 1) for line in run("cat", "/proc/self/status").out.splitlines() if ":\t" in line
    )
    assert fields["CapEff"] == fields["CapPrm"] == fields["CapBnd"] == "00000000000004fb"
    assert fields["CapInh"] == fields["CapAmb"] == "0" * 16
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"


def test_exec_is_confined_exactly_like_start(
    engine: Engine, run: Callable[..., object], execute: Callable[..., object]
) -> None:
    command = ("grep", "-E", "^(Cap|NoNew|Seccomp|Groups|Uid|Gid)", "/proc/self/status")
    container = engine.containers.create("busybox", ContainerOptions(argv=["sleep", "100"]))
    container.start()
    limits = ("sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c")
    assert execute(container, *command).out == run(*command).out
    assert execute(container, *limits).out == run(*limits).out


def test_relaxations_are_recorded_and_shown(engine: Engine, run: Callable[..., object]) -> None:
    options = ContainerOptions(
        argv=["true"], cap_add=["NET_RAW"], security_opt=["seccomp=unconfined", "label=disable"]
    )
    shown = engine.containers.create("busybox", options).inspect()["Casemate"]
    assert shown["Relaxations"] == ["seccomp=unconfined", "cap-add=CAP_NET_RAW"]
    assert "label" in shown["Notes"][0]
    fields = run(
        "grep",
        "-E",
        "^(CapEff|Seccomp:)",
        "/proc/self/status",
        cap_add=["NET_RAW"],
        security_opt=["seccomp=unconfined"],
    )
    assert fields.out == "CapEff:\t00000000000024fb\nSeccomp:\t0\n"


def test_cap_drop_all_leaves_nothing(run: Callable[..., object]) -> None:
    assert run("grep", "CapBnd", "/proc/self/status", cap_drop=["ALL"]).out == "CapBnd:\t" + "0" * 16 + "\n"


@pytest.mark.needs_root
def test_two_containers_never_share_a_host_uid(engine: Engine) -> None:
    boxes = [engine.containers.create("busybox", ContainerOptions(argv=["sleep", "100"])) for _ in range(2)]
    for box in boxes:
        box.start()
    uids = {os.stat(f"/proc/{box.inspect()['State']['Pid']}").st_uid for box in boxes}
    assert len(uids) == 2
    assert min(uids) >= 0x40000000


def test_limits_are_those_asked_for(engine: Engine, run: Callable[..., object]) -> None:
    assert run("sh", "-c", "ulimit -Sn; ulimit -c", ulimits={"nofile": [512, 600]}).out == "512\n0\n"
    with pytest.raises(Invalid, match="minimum memory limit"):
        engine.containers.create("busybox", ContainerOptions(memory_bytes=1000))


@pytest.mark.needs_root
def test_memory_and_pids_limits_hold(engine: Engine) -> None:
    container = engine.containers.create(
        "busybox", ContainerOptions(argv=["sleep", "100"], memory_bytes=64 << 20, pids_limit=50)
    )
    container.start()
    used = container.stats()
    assert used["memory"]["limit_bytes"] == 64 << 20
    assert used["pids"]["limit"] == 50


@pytest.mark.needs_root
def test_oom_kill_is_137_and_said_so(engine: Engine) -> None:
    options = ContainerOptions(argv=["dd", "if=/dev/zero", "of=/dev/null", "bs=200M"], memory_bytes=32 << 20)
    container = engine.containers.create("busybox", options)
    container.start()
    assert container.wait() == 137
    assert container.inspect()["State"]["OOMKilled"] is True


def test_files_made_through_a_bind_belong_to_who_made_them(
    run: Callable[..., object], tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    mount = MountOption(source=str(shared), target="/data")
    assert run("sh", "-c", "echo hi >/data/file; ls -ln /data/file", mounts=[mount]).code == 0
    assert (shared / "file").stat().st_uid == os.geteuid()
    if IS_ROOT:
        os.chown(shared, 1000, 1000)
        run("touch", "/data/mine", user="1000:1000", mounts=[mount])
        assert (shared / "mine").stat().st_uid == 1000


def test_read_only_bind_and_root_cannot_be_written(run: Callable[..., object], tmp_path: Path) -> None:
    mount = MountOption(source=str(tmp_path), target="/data", read_only=True)
    assert "Read-only" in run("touch", "/data/x", mounts=[mount]).err
    assert "Read-only" in run("touch", "/x", read_only=True).err
    assert run("touch", "/tmp/x", read_only=True, tmpfs=[TmpfsOption(target="/tmp")]).code == 0


def test_missing_bind_source_is_made_for_v_and_refused_for_mount(
    engine: Engine, run: Callable[..., object], tmp_path: Path
) -> None:
    source = tmp_path / "a" / "b"
    with pytest.raises(Invalid, match="does not exist"):
        run("true", mounts=[MountOption(source=str(source), target="/data")])
    assert run("true", mounts=[MountOption(source=str(source), target="/data", create_source=True)]).code == 0
    assert source.is_dir()
    with pytest.raises(Invalid, match="absolute"):
        engine.containers.create(
            "busybox", ContainerOptions(mounts=[MountOption(source="rel", target="/data")])
        )


def test_named_volume_outlives_containers_and_is_shared(run: Callable[..., object]) -> None:
    mount = MountOption(kind="volume", source="data", target="/data")
    assert run("sh", "-c", "echo kept >/data/file", mounts=[mount]).code == 0
    assert run("cat", "/data/file", mounts=[mount]).out == "kept\n"


def test_image_volume_is_filled_from_the_image_and_goes_with_the_container(
    engine: Engine, run: Callable[..., object], make_image: Callable[..., str]
) -> None:
    image = make_image(
        "withvolume",
        {"var": None, "var/data": None, "var/data/file": b"original\n"},
        Volumes={"/var/data": {}},
    )
    assert (
        run("sh", "-c", "cat /var/data/file; mount | grep -c /var/data", image=image).out == "original\n1\n"
    )
    assert os.listdir(engine.store.paths.volumes) == []


def test_host_network_is_the_hosts_and_none_has_only_loopback(
    engine: Engine, run: Callable[..., object]
) -> None:
    count = ("sh", "-c", "grep -c : /proc/net/dev")
    assert run(*count).out == "1\n"
    with open("/proc/net/dev", encoding="ascii") as file:
        links = sum(":" in line for line in file)
    assert run(*count, network="host").out == f"{links}\n"
    with pytest.raises(Invalid, match="no such network"):
        engine.containers.create("busybox", ContainerOptions(network="bridge"))


def test_inspect_is_json_with_dockers_keys(engine: Engine) -> None:
    container = engine.containers.create(
        "busybox", ContainerOptions(name="box", argv=["true"], labels={"a": "b"})
    )
    document = json.loads(json.dumps(container.inspect()))
    assert document["Name"] == "/box"
    assert document["Config"]["Labels"] == {"made.by": "test", "a": "b"}
    assert document["State"]["Status"] == "created"
    assert {"HostConfig", "Mounts", "NetworkSettings", "GraphDriver", "Path", "Args"} <= document.keys()


def test_name_can_be_used_once(engine: Engine) -> None:
    engine.containers.create("busybox", ContainerOptions(name="box"))
    with pytest.raises(AlreadyExists):
        engine.containers.create("busybox", ContainerOptions(name="box"))
    with pytest.raises(Invalid):
        engine.containers.create("busybox", ContainerOptions(name="../box"))
