"""The v2 side, on a real unified hierarchy: device programs, birth inside, delegation, atomic kill."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from casemate.cgroups import (
    delegation,
    members,
    none,  # noqa: F401 - imported now: a child that is an ordinary user may not read the checkout
    v2,
)
from casemate.cgroups.hierarchy import read_hierarchies
from casemate.cgroups.manager import open_manager
from casemate.errors import AlreadyExists, Conflict, Denied, NotFound
from casemate.kernel import bpf
from casemate.kernel.const.bpf import BPF_CGROUP_DEVICE
from casemate.kernel.const.sched import CLONE_INTO_CGROUP
from casemate.kernel.libc import LONG, POINTER, checked, declare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casemate.cgroups.hierarchy import Hierarchy
    from casemate.cgroups.v2 import V2Cgroup, V2Manager

UNIFIED = [h for h in read_hierarchies() if h.is_v2]

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not UNIFIED, reason="no cgroup v2 hierarchy"),
]

ALLOW_NULL = [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]


@pytest.fixture
def unified() -> Iterator[Hierarchy]:
    """The hierarchy; controllers that a test hands down from its top are taken back."""
    path = f"{UNIFIED[0].mountpoint}/cgroup.subtree_control"
    with open(path, encoding="ascii") as file:
        before = set(file.read().split())
    yield UNIFIED[0]
    with open(path, encoding="ascii") as file:
        after = set(file.read().split())
    for name in after - before:
        with open(path, "w", encoding="ascii") as file:
            file.write(f"-{name}")


@pytest.fixture
def manager(unified: Hierarchy) -> V2Manager:
    found = open_manager(hierarchies=[unified])
    assert found.kind == "v2"
    return found  # type: ignore[return-value]


@pytest.fixture
def group(manager: V2Manager) -> Iterator[V2Cgroup]:
    """A new group; nothing of it is left afterwards."""
    made = manager.create(f"casemate-test2/{os.getpid()}")
    yield made
    made.kill()
    made.remove()
    os.rmdir(os.path.dirname(made.directory))


def start(group: V2Cgroup, run: Callable[[], object]) -> int:
    """A child that joins the group, runs a function and ends with 0 after it."""
    (fd,) = group.join_fds()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.write(fd, b"0")
            run()
            code = 0
        finally:
            os._exit(code)
    os.close(fd)
    until(lambda: pid in group.pids() or ended(pid))
    return pid


def spin() -> None:
    while True:
        pass


def ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def until(condition: Callable[[], object], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.002)


def opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError:
        return False
    return True


def test_a_device_program_denies_what_it_does_not_allow(group: V2Cgroup) -> None:
    assert group.apply({"devices": ALLOW_NULL}) == []

    def check() -> None:
        if not opens("/dev/null") or opens("/dev/zero") or opens("/dev/urandom"):
            os._exit(1)

    assert wait(start(group, check)) == 0


def test_new_device_rules_replace_the_old_program(group: V2Cgroup) -> None:
    zero = {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"}
    for _ in range(3):
        assert group.apply({"devices": [*ALLOW_NULL, zero]}) == []
    fd = group.birth_fd()
    assert fd is not None
    assert len(bpf.attached_programs(fd, BPF_CGROUP_DEVICE)) == 1
    os.close(fd)
    assert wait(start(group, lambda: None if opens("/dev/zero") else os._exit(1))) == 0
    assert group.apply({"devices": [{"allow": True}]}) == []
    assert wait(start(group, lambda: None if opens("/dev/urandom") else os._exit(1))) == 0


def test_prohibitions_from_a_default_of_allowed(group: V2Cgroup) -> None:
    assert (
        group.apply({"devices": [{"allow": False, "type": "c", "major": 1, "minor": 5, "access": "r"}]}) == []
    )

    def check() -> None:
        if opens("/dev/zero") or not opens("/dev/urandom"):
            os._exit(1)
        os.close(os.open("/dev/zero", os.O_WRONLY))

    assert wait(start(group, check)) == 0


def test_the_verifier_accepts_a_long_list(group: V2Cgroup) -> None:
    many = [{"allow": True, "type": "c", "major": 200, "minor": n, "access": "rw"} for n in range(400)]
    assert group.apply({"devices": [{"allow": False}, *many]}) == []
    assert wait(start(group, lambda: os._exit(1) if opens("/dev/null") else None)) == 0


def test_a_child_can_be_born_inside(group: V2Cgroup) -> None:
    fd = group.birth_fd()
    assert fd is not None
    arguments = (ctypes.c_uint64 * 11)(CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, fd)
    reader, writer = os.pipe()
    pid = declare("clone3", POINTER, LONG)(ctypes.addressof(arguments), ctypes.sizeof(arguments))
    if pid == 0:
        with open("/proc/self/cgroup", "rb") as file:
            os.write(writer, file.read())
        os._exit(0)
    checked(pid, "clone3", fd)
    os.close(writer)
    os.close(fd)
    assert wait(pid) == 0
    lines = os.read(reader, 4096).decode().splitlines()
    os.close(reader)
    assert f"0::/{group.path}" in lines


def test_freezing_and_killing(group: V2Cgroup) -> None:
    child = start(group, spin)
    assert group.signal_all(0) == 1
    group.freeze()
    group.freeze()
    assert group.is_frozen()
    with open(f"/proc/{child}/wchan", encoding="ascii") as file:
        assert file.read() != ""
    group.thaw()
    assert not group.is_frozen()
    group.freeze()
    group.kill()
    assert group.pids() == []
    assert wait(child) == -signal.SIGKILL
    group.kill()


def test_killing_empties_nested_groups_that_keep_forking(group: V2Cgroup) -> None:
    inner = f"{group.directory}/inner"
    os.mkdir(inner)

    def breed() -> None:
        with open(f"{inner}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")
        for _ in range(5):
            os.fork()
        spin()

    child = start(group, breed)
    until(lambda: len(members.pids_of(inner)) > 20)
    group.kill()
    assert group.pids() == []
    assert wait(child) == -signal.SIGKILL


def test_a_hugetlb_limit_is_handed_down_and_set(manager: V2Manager, group: V2Cgroup) -> None:
    resources = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}], "memory": {"limit": 1 << 30}}
    absent = group.apply(resources)
    with open(f"{UNIFIED[0].mountpoint}/cgroup.controllers", encoding="ascii") as file:
        offered = file.read().split()
    assert absent == ([] if "memory" in offered else ["memory.limit"])
    with open(f"{group.directory}/hugetlb.2MB.max", encoding="ascii") as file:
        assert int(file.read()) == 4 << 20
    assert set(manager.unenforced) == {"cpu", "memory", "pids"} - set(offered)
    assert group.unenforced == manager.unenforced
    delegation.hand_down(os.path.dirname(group.directory), [])
    with open(f"{os.path.dirname(group.directory)}/cgroup.subtree_control", "w", encoding="ascii") as file:
        file.write("-hugetlb")


def test_a_group_is_found_again_and_refused_twice(manager: V2Manager, group: V2Cgroup) -> None:
    child = start(group, signal.pause)
    with pytest.raises(AlreadyExists):
        manager.create(group.path)
    assert manager.open(group.path).pids() == [child]
    with pytest.raises(Conflict):
        group.remove(timeout_s=0.02)
    with pytest.raises(NotFound):
        manager.open(f"{group.path}/none")
    assert [label for label, fd in group.collect() if os.close(fd) is None][-1:] == ["cpu.stat"]
    assert group.stats()["cpu"]["usage_ns"] >= 0
    group.kill()
    wait(child)


def as_nobody(check: Callable[[], Any]) -> None:
    """Become an ordinary user and run a check; the exit code of this process tells."""
    try:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        check()
    except BaseException as error:  # noqa: BLE001 - reported to the parent's terminal
        os.write(2, f"{error!r}\n".encode())
        os._exit(98)


def test_an_ordinary_user_uses_the_delegated_group(unified: Hierarchy, group: V2Cgroup) -> None:
    for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
        os.chown(f"{group.directory}/{name}", 65534, 65534)

    def check() -> None:
        unified.own = group.path
        rootless = open_manager(rootless=True, hierarchies=[unified])
        assert rootless.kind == "v2"
        assert "devices" in rootless.unenforced
        inner = rootless.create("casemate/inner")
        assert inner.apply({"devices": ALLOW_NULL}) == ["devices"]
        pid = os.fork()
        if pid == 0:
            for fd in inner.join_fds():
                os.write(fd, b"0")
            signal.pause()
        until(lambda: inner.pids() == [pid])
        inner.freeze()
        inner.kill()
        assert wait(pid) == -signal.SIGKILL
        inner.remove()
        assert not os.path.exists(f"{group.directory}/casemate")
        with pytest.raises(Denied):
            v2.V2Manager(unified, unified.mountpoint, rootless=True).create("stranger")

    assert wait(start(group, lambda: as_nobody(check))) == 0


def test_an_ordinary_user_without_delegation_has_none(unified: Hierarchy) -> None:
    pid = os.fork()
    if pid == 0:

        def check() -> None:
            assert open_manager(rootless=True, hierarchies=[unified]).kind == "none"

        as_nobody(check)
        os._exit(0)
    assert wait(pid) == 0


def test_stepping_aside_frees_a_delegated_group(unified: Hierarchy, group: V2Cgroup) -> None:
    """v2 hands no controller down from a group that holds processes: ours move into a child first."""
    with open(f"{unified.mountpoint}/cgroup.controllers", encoding="ascii") as file:
        if "hugetlb" not in file.read().split():
            pytest.skip("this hierarchy has no controller to hand down")
    delegation.hand_down(unified.mountpoint, ["hugetlb"])
    parent = os.path.dirname(group.directory)
    delegation.hand_down(parent, ["hugetlb"])

    def check() -> None:
        delegation.hand_down(group.directory, ["hugetlb"])
        with open(f"{group.directory}/cgroup.subtree_control", encoding="ascii") as file:
            assert file.read().split() == ["hugetlb"]
        with open("/proc/self/cgroup", encoding="ascii") as file:
            assert f"0::/{group.path}/{delegation.ASIDE}\n" in file.read()

    assert wait(start(group, check)) == 0
    for directory in (group.directory, parent):
        with open(f"{directory}/cgroup.subtree_control", "w", encoding="ascii") as file:
            file.write("-hugetlb")


def test_a_machine_with_v2_alone_gets_v2() -> None:
    script = (
        "umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && "
        'exec "$0" -c "from casemate.cgroups.manager import open_manager as o; print(o().kind)"'
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = ["unshare", "-m", "sh", "-c", script, sys.executable]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "v2\n"
