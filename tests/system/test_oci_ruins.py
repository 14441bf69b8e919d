"""What others left, broke or took away: clear errors, and `delete --force` always works and never touches a stranger."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ocibundle import Runtime, made_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root]


@pytest.fixture(params=["root", "rootless"])
def oci(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with made_runtime(rootless=request.param == "rootless") as runtime:
        yield runtime


@pytest.fixture
def root_oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        yield runtime


def running(oci: Runtime) -> int:
    """Start container c, which sleeps; return its first process."""
    oci.args("sleep", "100")
    assert oci("run", "--detach", "c").returncode == 0
    return int(oci.state()["pid"])


@contextmanager
def edited(oci: Runtime) -> Iterator[dict[str, Any]]:
    """The stored state, to be changed."""
    path = oci.base / "state/c/state.json"
    data = json.loads(path.read_text())
    yield data
    path.write_text(json.dumps(data))


def groups(pid: int) -> list[Path]:
    """The control group directories of a process below ours."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    found = []
    for line in lines:
        _, names, path = line.split(":", 2)
        if "/casemate-oci/" in path:
            hierarchy = names.removeprefix("name=") or "unified"
            found.append(Path(f"/sys/fs/cgroup/{hierarchy}{path}"))
    return found


def ended(pid: int) -> bool:
    """Whether a process has ended, a zombie included."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def removed(oci: Runtime) -> None:
    """`delete --force` succeeds in silence and nothing is known of the container."""
    found = oci("delete", "--force", "c")
    assert (found.returncode, found.stderr) == (0, "")
    assert not (oci.base / "state/c").exists()
    assert "does not exist" in oci("state", "c").stderr


BROKEN = {
    "empty": "",
    "half": '{"version": 1, "id": ',
    "not an object": "[1]",
    "wrong types": '{"version": 1, "pid": "x", "cgroup_path": 7}',
    "of another version": '{"version": 2, "layout": "new"}',
    "of another runtime": '{"id": "c", "init_process_pid": 1, "cgroup_paths": {}}',
}


@pytest.mark.parametrize("state", BROKEN.values(), ids=BROKEN)
def test_a_state_that_cannot_be_read_is_named_and_force_ends_the_container(
    root_oci: Runtime, state: str
) -> None:
    pid = running(root_oci)
    (root_oci.base / "state/c/state.json").write_text(state)
    for words in (["state", "c"], ["kill", "c", "KILL"], ["delete", "c"], ["start", "c"], ["ps", "c"]):
        told = root_oci(*words)
        assert told.returncode == 1
        assert "read the state of container c: " in told.stderr
        assert "delete --force c" in told.stderr
        assert "Traceback" not in told.stderr
    assert root_oci("list", "--quiet").stdout == ""
    assert not ended(pid)
    removed(root_oci)
    assert ended(pid)


def test_a_state_that_vanished_is_no_obstacle(root_oci: Runtime) -> None:
    pid = running(root_oci)
    (root_oci.base / "state/c/state.json").unlink()
    assert "does not exist" in root_oci("state", "c").stderr
    assert "delete c" in root_oci("create", "c").stderr
    removed(root_oci)
    assert ended(pid)


def test_files_of_others_in_the_state_are_removed_with_it(oci: Runtime) -> None:
    running(oci)
    deep = oci.base / "state/c/strange/deep"
    deep.mkdir(parents=True)
    (deep / "file").write_text("")
    (oci.base / "state/c/link").symlink_to(oci.rootfs)
    (oci.base / "state/c/config.json").write_text("{")
    owner = os.stat(oci.bundle).st_uid
    for path in (deep.parent, deep, deep / "file"):
        os.chown(path, owner, owner)
    removed(oci)
    assert (oci.rootfs / "bin").is_dir()


def test_a_reused_pid_is_never_signalled(oci: Runtime) -> None:
    pid = running(oci)
    with subprocess.Popen(["sleep", "50"], user=os.stat(oci.bundle).st_uid) as stranger:
        try:
            os.kill(pid, 9)
            wait(lambda: ended(pid))
            with edited(oci) as data:
                data["pid"] = stranger.pid
            assert oci.state()["status"] == "stopped"
            assert "not running" in oci("kill", "c", "KILL").stderr
            assert oci("kill", "--all", "c", "KILL").returncode in (0, 1)
            assert "not running" in oci("exec", "c", "true").stderr
            removed(oci)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_pid_of_an_earlier_boot_is_never_signalled(oci: Runtime) -> None:
    pid = running(oci)
    with edited(oci) as data:
        data["boot_id"] = "00000000-0000-0000-0000-000000000000"
        data["cgroup_path"] = "/casemate-oci/absent"
    assert oci.state()["status"] == "stopped"
    removed(oci)
    assert not ended(pid)
    left = groups(pid)
    os.kill(pid, 9)
    wait(lambda: ended(pid))
    for path in left:
        path.rmdir()


def test_a_missing_control_group_is_no_obstacle(root_oci: Runtime) -> None:
    pid = running(root_oci)
    left = groups(pid)
    assert left
    os.kill(pid, 9)
    wait(lambda: ended(pid))
    for path in left:
        path.rmdir()
    assert root_oci("ps", "c").returncode == 0
    removed(root_oci)


def test_a_frozen_container_is_killed_at_once(root_oci: Runtime) -> None:
    pid = running(root_oci)
    assert root_oci("pause", "c").returncode == 0
    started = time.monotonic()
    removed(root_oci)
    assert time.monotonic() - started < 5
    assert ended(pid)


def test_a_container_without_its_own_pid_namespace_goes_as_a_whole(root_oci: Runtime) -> None:
    namespaces = root_oci.spec["linux"]["namespaces"]
    namespaces[:] = [entry for entry in namespaces if entry["type"] != "pid"]
    root_oci.args("sh", "-c", "sleep 101 & sleep 102 & exec sleep 100")
    assert root_oci("run", "--detach", "c").returncode == 0
    wait(lambda: len(json.loads(root_oci("ps", "--format", "json", "c").stdout)) == 3)
    pids = json.loads(root_oci("ps", "--format", "json", "c").stdout)
    removed(root_oci)
    assert all(ended(pid) for pid in pids)


def test_a_bundle_that_vanishes_between_create_and_start_leaves_a_container_that_can_be_deleted(
    oci: Runtime,
) -> None:
    oci.args("sleep", "100")
    assert oci("create", "c").returncode == 0
    kept = oci.base / "kept"
    shutil.move(oci.bundle / "config.json", kept)
    shutil.rmtree(oci.rootfs)
    command = oci.command("start", "c")
    found = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=30, check=False)
    assert "Traceback" not in found.stderr
    # The program's file is gone: the container ends, and that is its status.
    wait(lambda: oci.state()["status"] == "stopped")
    oci.rootfs.mkdir()
    removed(oci)


def test_a_bundle_that_is_not_there_is_named(oci: Runtime) -> None:
    found = oci("create", "--bundle", "/nosuch", "c")
    assert found.returncode == 1
    assert "open bundle /nosuch/config.json: No such file or directory" in found.stderr
    assert not (oci.base / "state/c").exists()


def wait(what: Any) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)
