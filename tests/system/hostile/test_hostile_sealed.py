"""The sealed default, point by point, where no other test of this folder looks: read inside, compared with the host."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

pytestmark = [pytest.mark.system, pytest.mark.needs_root]  # the user's half becomes that user itself

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
NO_PROGRAMS = ("/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
MIB = 1 << 20


def mounts(box: Any, *flags: str) -> dict[str, set[str]]:
    lines = box.fine("run", "--rm", *flags, "busybox", "cat", "/proc/self/mountinfo").splitlines()
    return {line.split()[4]: set(line.split()[5].split(",")) for line in lines}


def test_every_namespace_is_the_containers_own(box: Any) -> None:
    script = "for n in " + " ".join(NAMESPACES) + "; do readlink /proc/self/ns/$n; done"
    found = box.fine("run", "--rm", "busybox", "sh", "-c", script).split()
    assert len(found) == len(NAMESPACES)
    assert not {os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES} & set(found)


@pytest.mark.parametrize("user", ["0", "user"])
def test_no_namespace_can_be_made_by_the_kernels_own_count(box: Any, user: str) -> None:
    script = "cat /proc/sys/user/max_*_namespaces; echo 1 > /proc/sys/user/max_user_namespaces || echo no"
    found = box.fine("run", "--rm", "-u", user, "busybox", "sh", "-c", script).split()
    assert found == ["0"] * 8 + ["no"]


def test_limits_are_the_documented_ones(box: Any) -> None:
    script = "cat /proc/self/limits /proc/self/oom_score_adj"
    lines = box.fine("run", "--rm", "busybox", "sh", "-c", script).splitlines()
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max locked memory"] == [str(8 * MIB)] * 2
    assert limits["Max open files"][0] == "1024"
    assert int(limits["Max open files"][1]) <= 524288
    assert lines[-1] == "500"


def test_processes_and_memory_are_bounded_and_there_is_no_swap(root_box: Any) -> None:
    name = root_box.fine("run", "-d", "busybox", "sleep", "600").strip()
    shown = root_box.fine(
        "inspect", "-f", "{{.HostConfig.PidsLimit}} {{.Casemate.NotEnforced}}", name
    ).strip()
    group = "/sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
    more = "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"
    found = root_box("exec", name, "sh", "-c", f"cat {group}; cat {more} 2>/dev/null || true").out.split()
    root_box.fine("rm", "-f", name)
    if not os.path.isdir("/sys/fs/cgroup/memory"):
        return  # one hierarchy: the values have other names, which the tests of control groups know
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert found[0] == "2048", shown
    assert 0.79 * total < int(found[1]) <= 0.8 * total
    assert found[2:] in ([], found[1:2])


@pytest.mark.parametrize("user", ["0", "user"])
def test_mounts_carry_no_privilege_and_kernel_paths_no_programs(box: Any, user: str) -> None:
    found = mounts(box, "-u", user, "--tmpfs", "/scratch", "-v", "common:/v")
    nodes = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
    for place, options in found.items():
        assert place in nodes or "nosuid" in options, place
        assert (
            place in nodes
            or place.startswith(("/proc/", "/sys/"))
            or place == "/dev"
            or ("nodev" in options or place == "/dev/pts")
        ), place
    for place in NO_PROGRAMS:
        assert "noexec" in found[place], place
    assert "ro" in found["/sys"]
    assert all("ro" in options for place, options in found.items() if place.startswith(("/proc/", "/sys/")))
    box("volume", "rm", "common")


@pytest.mark.parametrize("user", ["0", "user"])
def test_programs_of_exec_and_the_container_see_but_do_not_open_each_other(box: Any, user: str) -> None:
    """Two Landlock domains: names and states are shown, memory, environment and descriptors are not, even of one user."""
    name = box.fine("run", "-d", "-u", user, "busybox", "sleep", "600").strip()
    listed = box.fine("exec", name, "ps")
    secrets = box(
        "exec", name, "sh", "-c", "cat /proc/1/environ; readlink /proc/1/fd/0; readlink /proc/1/exe"
    )
    box.fine("rm", "-f", name)
    assert "sleep 600" in listed
    assert secrets.out == ""


def test_the_session_keyring_is_the_containers_own(box: Any) -> None:
    """/proc/keys is masked; unmasked, it shows the keys that the reader may see: those of his own session."""
    assert box.fine("run", "--rm", "busybox", "cat", "/proc/keys") == ""
    for _ in range(50):  # the keyring of an ended container of the same user is collected a moment later
        name = box.fine("create", "--relax", "systempaths", "busybox", "cat", "/proc/keys").strip()
        keys = box.fine("start", "-a", name)
        box.fine("rm", name)
        sessions = [line.split()[8].rstrip(":") for line in keys.splitlines() if "_ses" in line]
        if len(sessions) == 1:
            break
        time.sleep(0.1)
    assert sessions == [f"_ses.{name}"], keys


def test_a_crash_leaves_no_core_file_anywhere(box: Any) -> None:
    script = "cd /tmp; (ulimit -c unlimited) 2>/dev/null && echo raised; sh -c 'kill -SEGV $$'; ls"
    assert box("run", "--rm", "-w", "/tmp", "busybox", "sh", "-c", script).out == ""
