"""Limits of control groups are proven by what they stop, on this machine's real v1 hierarchies."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from casemate.cgroups import members
from casemate.cgroups.hierarchy import read_hierarchies
from casemate.cgroups.manager import open_manager
from casemate.errors import AlreadyExists, Conflict, Denied, Invalid, NotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casemate.cgroups.manager import Cgroup


SPIN = "while True: pass"


def has_v1() -> bool:
    return any("memory" in h.controllers for h in read_hierarchies())


pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not has_v1(), reason="no cgroup v1 hierarchies"),
]


@pytest.fixture(params=["with v2 beside it", "v1 alone"])
def group(request: pytest.FixtureRequest) -> Iterator[Cgroup]:
    """A new group; nothing of it is left afterwards."""
    hierarchies = [h for h in read_hierarchies() if request.param != "v1 alone" or not h.is_v2]
    manager = open_manager(hierarchies=hierarchies)
    assert manager.kind == "v1"
    made = manager.create(f"casemate-test/{os.getpid()}")
    yield made
    made.kill()
    made.remove()
    for hierarchy in read_hierarchies():
        assert not os.path.exists(f"{hierarchy.mountpoint}/{made.path}")
        if os.path.isdir(f"{hierarchy.mountpoint}/casemate-test"):
            os.rmdir(f"{hierarchy.mountpoint}/casemate-test")


def start(group: Cgroup, run: Callable[[], object]) -> int:
    """A child that joins the group in all hierarchies, runs a function and ends with 0 after it."""
    fds = group.join_fds()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            for fd in fds:
                os.write(fd, b"0")
            run()
            code = 0
        finally:
            os._exit(code)
    for fd in fds:
        os.close(fd)
    directories = group.directories()  # type: ignore[attr-defined]
    until(lambda: ended(pid) or all(pid in members.pids_of(directory) for directory in directories))
    return pid


def python(source: str) -> Callable[[], object]:
    return lambda: os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", source])  # noqa: S606 - no shell is wanted


def wait_for_a_signal() -> None:
    signal.pause()


def ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def until(condition: Callable[[], object], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.002)


def test_a_hog_is_killed_at_the_memory_limit_and_counted(group: Cgroup) -> None:
    assert group.apply({"memory": {"limit": 24 << 20, "swap": 24 << 20}}) == []
    collected = dict(group.collect())
    hog = start(group, python("x = b'x' * (256 << 20)"))
    assert wait(hog) == -signal.SIGKILL
    memory = group.stats()["memory"]
    assert memory["oom_kills"] == 1
    assert memory["limit_bytes"] == 24 << 20
    assert memory["peak_bytes"] <= 24 << 20
    assert b"oom_kill 1\n" in os.read(collected["memory.oom_control"], 4096)
    assert int(os.read(collected["memory.max_usage_in_bytes"], 4096)) > 20 << 20
    assert int(os.read(collected["cpuacct.usage"], 4096)) > 0
    for fd in collected.values():
        os.close(fd)


def test_within_the_memory_limit_nothing_is_killed(group: Cgroup) -> None:
    group.apply({"memory": {"limit": 64 << 20}})
    assert wait(start(group, python("x = b'x' * (16 << 20)"))) == 0
    assert group.stats()["memory"]["oom_kills"] == 0


def test_memory_limits_can_be_raised_and_lowered_together(group: Cgroup) -> None:
    for megabytes in (32, 64, 16):
        both = {"memory": {"limit": megabytes << 20, "swap": megabytes << 20}}
        assert group.apply(both) == []
        assert group.stats()["memory"]["limit_bytes"] == megabytes << 20
    assert group.apply({"memory": {"limit": -1}}) == []
    assert group.stats()["memory"]["limit_bytes"] is None


def test_a_limit_below_the_usage_is_refused_with_a_hint(group: Cgroup) -> None:
    child = start(
        group,
        python("import mmap\nm = mmap.mmap(-1, 32 << 20)\nm.write(b'x' * (32 << 20))\nwhile True: pass"),
    )
    until(lambda: group.stats()["memory"]["usage_bytes"] > 30 << 20)
    os.kill(child, signal.SIGSTOP)
    with pytest.raises(Invalid) as caught:
        group.apply({"memory": {"limit": 4096, "swap": 4096}})
    assert "memory.limit" in str(caught.value)
    assert caught.value.hint
    group.kill()
    wait(child)


def test_the_pids_limit_makes_fork_fail(group: Cgroup) -> None:
    assert group.apply({"pids": {"limit": 5}}) == []

    def fork_until_refused() -> None:
        born = []
        try:
            while len(born) < 50:
                pid = os.fork()
                if pid == 0:
                    signal.pause()
                born.append(pid)
        except OSError as error:
            os._exit(0 if error.errno == errno.EAGAIN and len(born) == 4 else 1)
        os._exit(2)

    child = start(group, fork_until_refused)
    assert wait(child) == 0
    assert group.stats()["pids"] == {"current": 4, "limit": 5}
    group.kill()
    assert group.pids() == []


def test_denied_devices_cannot_be_opened_and_allowed_ones_can(group: Cgroup) -> None:
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"},
    ]
    assert group.apply({"devices": rules}) == []

    def try_devices() -> None:
        os.close(os.open("/dev/null", os.O_RDWR))
        for path in ("/dev/zero", "/dev/full", "/dev/urandom"):
            try:
                os.open(path, os.O_RDONLY)
            except PermissionError:
                continue
            os._exit(1)

    assert wait(start(group, try_devices)) == 0
    assert group.apply({"devices": [{"allow": True, "access": "rwm"}]}) == []
    assert wait(start(group, lambda: os.open("/dev/zero", os.O_RDONLY))) == 0


def test_freezing_stops_progress_and_thawing_resumes_it(group: Cgroup) -> None:
    child = start(group, python(SPIN))
    until(lambda: group.stats()["cpu"]["usage_ns"] > 20_000_000)
    group.freeze()
    assert group.is_frozen()
    group.freeze()
    frozen_at = group.stats()["cpu"]["usage_ns"]
    later = time.monotonic() + 0.05
    until(lambda: time.monotonic() > later)
    assert group.stats()["cpu"]["usage_ns"] == frozen_at
    group.thaw()
    group.thaw()
    assert not group.is_frozen()
    until(lambda: group.stats()["cpu"]["usage_ns"] > frozen_at + 5_000_000)
    group.kill()
    assert wait(child) == -signal.SIGKILL


def test_killing_empties_a_group_that_keeps_forking(group: Cgroup) -> None:
    group.apply({"pids": {"limit": 30}})

    def breed() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            try:
                os.fork()
            except OSError:
                continue

    child = start(group, breed)
    until(lambda: len(group.pids()) > 10)
    group.kill()
    assert group.pids() == []
    assert wait(child) == -signal.SIGKILL
    group.kill()


def test_a_frozen_group_can_be_killed(group: Cgroup) -> None:
    child = start(group, python(SPIN))
    group.freeze()
    group.kill()
    assert group.pids() == []
    assert not group.is_frozen()
    assert wait(child) == -signal.SIGKILL


def test_a_zombie_does_not_count_as_a_member(group: Cgroup) -> None:
    child = start(group, lambda: None)
    until(lambda: ended(child))
    assert group.pids() == []
    group.remove()
    wait(child)


def test_the_cpu_quota_throttles(group: Cgroup) -> None:
    assert group.apply({"cpu": {"quota": 5000, "period": 50000}}) == []
    child = start(group, python(SPIN))
    until(lambda: group.stats()["cpu"]["throttled_periods"] >= 2)
    group.kill()
    wait(child)


def test_a_cpuset_can_be_added_to_a_running_group(group: Cgroup) -> None:
    child = start(group, python(SPIN))
    assert group.apply({"cpu": {"cpus": "0", "mems": "0"}}) == []
    with open(f"/proc/{child}/status", encoding="ascii") as status:
        assert "Cpus_allowed_list:\t0\n" in status.read()
    assert not group.is_frozen()
    group.kill()
    wait(child)


def test_signals_reach_every_member_and_nobody_else(group: Cgroup) -> None:
    outside = os.fork()
    if outside == 0:
        signal.pause()
    children = [start(group, wait_for_a_signal) for _ in range(3)]
    assert group.signal_all(0) == 3
    assert group.signal_all(signal.SIGTERM) == 3
    assert [wait(child) for child in children] == [-signal.SIGTERM] * 3
    assert not ended(outside)
    os.kill(outside, signal.SIGKILL)
    wait(outside)


def test_a_pid_that_left_the_group_gets_no_signal(group: Cgroup) -> None:
    child = start(group, wait_for_a_signal)
    inside = {frozenset({"memory"}): f"/{group.path}"}
    assert members.signal_members(group.pids(), signal.SIGKILL, lambda _: False) == 0
    assert members.is_member(child, inside)
    assert not members.is_member(os.getpid(), inside)
    assert not members.is_member(child, {frozenset({"memory"}): f"/{group.path}x"})
    assert not members.is_member(1 << 22, inside)
    group.kill()
    wait(child)


def test_a_group_with_processes_is_not_made_again_nor_removed(group: Cgroup) -> None:
    child = start(group, wait_for_a_signal)
    manager = open_manager()
    with pytest.raises(AlreadyExists):
        manager.create(group.path)
    assert child in manager.open(group.path).pids()
    with pytest.raises(Conflict):
        group.remove(timeout_s=0.05)
    group.kill()
    wait(child)


def test_groups_made_inside_are_removed_too(group: Cgroup) -> None:
    for directory in group.directories():  # type: ignore[attr-defined]
        os.makedirs(f"{directory}/a/b/c")
        os.mkdir(f"{directory}/d")
    group.remove()
    group.remove()
    with pytest.raises(NotFound):
        open_manager().open(group.path)


def test_the_directories_can_be_removed_by_descriptor(group: Cgroup) -> None:
    for parent, name in group.dirs():
        os.rmdir(name, dir_fd=parent)
        os.close(parent)
    assert group.directories() == []  # type: ignore[attr-defined]


def test_a_bad_value_names_the_field_and_what_the_kernel_said(group: Cgroup) -> None:
    with pytest.raises((Invalid, Denied), match=r"cpu\.cpus.*cpuset\.cpus"):
        group.apply({"cpu": {"cpus": "4095"}})


@pytest.mark.parametrize("name", ["memory.limit_in_bytes", "tasks", "pids.max"])
def test_a_name_that_is_a_control_file_is_refused_everywhere(name: str) -> None:
    with pytest.raises(Invalid, match="file of this name"):
        open_manager().create(f"casemate-test/{name}" if name != "tasks" else name)
    for hierarchy in read_hierarchies():
        assert not os.path.isdir(f"{hierarchy.mountpoint}/casemate-test/{name}")
        if os.path.isdir(f"{hierarchy.mountpoint}/casemate-test"):
            os.rmdir(f"{hierarchy.mountpoint}/casemate-test")


def test_the_same_device_rules_are_not_written_again(group: Cgroup) -> None:
    """A running container would be without any device between "deny all" and the first permission."""
    rules = [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "mrw"}]
    group.apply({"devices": rules})

    def open_for_a_while() -> None:
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            os.close(os.open("/dev/null", os.O_RDONLY))

    child = start(group, open_for_a_while)
    while not ended(child):
        group.apply({"devices": rules})
    assert wait(child) == 0


def test_entering_waits_for_no_grace_period(group: Cgroup) -> None:
    """The kernel's lock against forks costs 5 to 35 ms when it is cold; a thread that moves itself needs none."""
    fds = group.join_fds(born=True)
    took_s = []
    for _ in range(5):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            started = time.monotonic()
            for fd in fds:
                os.write(fd, b"0")
            os.write(writer, str(time.monotonic() - started).encode())
            os._exit(0)
        took_s.append(float(os.read(reader, 64)))
        assert wait(pid) == 0
        os.close(reader)
        os.close(writer)
    for fd in fds:
        os.close(fd)
    assert min(took_s) < 0.003  # a busy machine may make one of them late


def as_nobody(check: Callable[[], Any]) -> None:
    """Run a check in a child that is an ordinary user."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            check()
            code = 0
        except BaseException as error:  # noqa: BLE001 - reported to the parent's terminal
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(code)
    assert wait(pid) == 0


def test_an_ordinary_user_has_none_here() -> None:
    from casemate.cgroups import none as _preloaded  # noqa: F401 - the child may not read the checkout

    def check() -> None:
        manager = open_manager(rootless=True)
        assert manager.kind == "none"
        assert manager.create("casemate/x").apply({"memory": {"limit": 5}}) == ["memory.limit"]

    as_nobody(check)


def test_an_ordinary_user_uses_what_was_delegated(group: Cgroup) -> None:
    for directory in group.directories():  # type: ignore[attr-defined]
        os.chown(directory, 65534, 65534)
        os.chown(f"{directory}/cgroup.procs", 65534, 65534)

    def check() -> None:
        manager = open_manager(rootless=True)
        assert manager.kind == "v1"
        inner = manager.create("casemate/inner")
        assert inner.apply({"pids": {"limit": 3}}) == []
        assert inner.stats()["pids"]["limit"] == 3
        inner.remove()

    child = start(group, lambda: as_nobody(check))
    assert wait(child) == 0


def test_without_the_oom_killer_a_hog_waits_and_can_still_be_ended(group: Cgroup) -> None:
    assert group.apply({"memory": {"limit": 24 << 20, "disableOOMKiller": True}}) == []
    hog = start(group, python("x = b'x' * (256 << 20)"))
    (fd,) = [fd for label, fd in group.collect() if label == "memory.oom_control" or os.close(fd)]
    until(lambda: b"under_oom 1" in os.pread(fd, 4096, 0))
    os.close(fd)
    assert not ended(hog)
    group.kill()
    assert wait(hog) == -signal.SIGKILL
    assert group.stats()["memory"]["oom_kills"] == 0


def test_a_limit_without_a_control_file_is_named_or_refused(group: Cgroup) -> None:
    resources = {"blockIO": {"leafWeight": 300}, "pids": {"limit": 5}}
    assert group.apply(resources) == ["blockIO.leafWeight"]  # CFQ's file; no kernel since 5.0 has it
    with pytest.raises(Unsupported) as caught:
        group.apply(resources, strict=True)
    assert caught.value.subject == "blockIO.leafWeight"
    assert group.apply({"pids": {"limit": 5}}, strict=True) == []


def test_limits_without_a_controller_are_known_before_anything_is_made() -> None:
    manager = open_manager()
    mounted = {controller for h in read_hierarchies() for controller in h.controllers}
    assert "net_cls" not in mounted, "this test wants a controller that the machine does not have"
    resources = {
        "network": {"classID": 5},
        "memory": {"limit": 1 << 30},
        "rdma": {"mlx5_0": {"hcaHandles": 1}},
    }
    assert manager.check("casemate-test", resources) == ["network.classID", "rdma"]
    assert manager.check("casemate-test", {"pids": {"limit": 1}, "devices": []}) == []


def test_huge_pages_are_limited_on_the_v2_side_of_a_hybrid_machine() -> None:
    unified = next(h for h in read_hierarchies() if h.is_v2)
    control = f"{unified.mountpoint}/cgroup.subtree_control"
    with open(control, encoding="ascii") as file:
        before = file.read().split()
    manager = open_manager()
    resources = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}
    assert manager.check("casemate-test", resources) == []
    made = manager.create(f"casemate-test-{os.getpid()}", resources=resources)
    try:
        assert made.apply(resources, strict=True) == []
        with open(f"{unified.mountpoint}/{made.path}/hugetlb.2MB.max", encoding="ascii") as file:
            assert int(file.read()) == 4 << 20
        assert made.stats()["hugetlb"]["2MB"] == {"usage_bytes": 0, "failures": 0}
        assert "some" in made.stats()["psi"]["cpu"]
    finally:
        made.remove()
        if "hugetlb" not in before:
            with open(control, "w", encoding="ascii") as file:
                file.write("-hugetlb")
