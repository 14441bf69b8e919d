"""Processes are known by more than a pid; helpers start with nothing but what they are given."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from casemate.kernel import process, procfs
from casemate.kernel.libc import KernelError
from casemate.kernel.pidfd import (
    open_same,
    pidfd_getfd,
    pidfd_open,
    pidfd_send_signal,
    wait_ended,
    wait_status,
)

CAT = "/bin/cat"


def spawn_cat() -> tuple[int, int]:
    """A child that lives until the returned descriptor is closed."""
    reader, writer = os.pipe()
    pid = process.spawn(CAT, ["cat"], fds={0: reader})
    os.close(reader)
    return pid, writer


def test_the_start_time_tells_processes_apart() -> None:
    pid, writer = spawn_cat()
    started = procfs.start_time(pid)
    assert started is not None
    assert procfs.is_same_process(pid, started)
    assert not procfs.is_same_process(pid, started - 1)
    assert procfs.parent_pid(pid) == os.getpid()
    os.close(writer)
    os.waitpid(pid, 0)
    assert procfs.start_time(pid) is None
    assert not procfs.is_same_process(pid, started)


def test_a_zombie_is_not_the_process_any_more() -> None:
    pid, writer = spawn_cat()
    started = procfs.start_time(pid)
    assert started is not None
    with pidfd_open(pid) as pinned:
        os.close(writer)
        assert wait_ended(pinned.fileno(), 10)
        assert procfs.process_state(pid) == "Z"
        assert not procfs.is_same_process(pid, started)
        assert open_same(pid, started) is None
        assert wait_status(pinned.fileno()) == 0


def test_a_reused_pid_is_not_opened() -> None:
    pid, writer = spawn_cat()
    started = procfs.start_time(pid)
    assert started is not None
    assert open_same(pid, started + 1) is None
    pinned = open_same(pid, started)
    assert pinned is not None
    assert pidfd_send_signal(pinned.fileno(), signal.SIGKILL)
    assert wait_status(pinned.fileno()) == -signal.SIGKILL
    assert not pidfd_send_signal(pinned.fileno(), signal.SIGKILL)
    pinned.close()
    os.close(writer)


def test_a_name_with_brackets_and_spaces_does_not_confuse_the_reader() -> None:
    name = "a) R 1 (b"
    with open("/proc/thread-self/comm", "r+b", buffering=0) as comm:
        before = comm.read()
        comm.write(name.encode())
        try:
            assert procfs.parent_pid(os.getpid()) == os.getppid()
        finally:
            comm.write(before)


def test_the_boot_id_is_a_uuid() -> None:
    assert [len(part) for part in process.boot_id().split("-")] == [8, 4, 4, 4, 12]


def test_nobody_has_pid_two_to_the_22() -> None:
    assert procfs.start_time(1 << 22) is None
    assert procfs.status_fields(1 << 22) == {}
    assert procfs.open_process(1 << 22) is None
    with pytest.raises(KernelError) as caught:
        pidfd_open(1 << 22)
    assert caught.value.errno == errno.ESRCH
    assert open_same(1 << 22, 1) is None


def test_the_environment_of_a_helper_is_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("BASH_ENV", "/nope")
    code, said = process.run_helper("/usr/bin/env", ["env"])
    assert code == 0
    assert dict(line.split("=", 1) for line in said.splitlines()) == process.HELPER_ENVIRONMENT


def test_a_helper_inherits_no_descriptor_and_no_signal_state() -> None:
    leak = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leak, True)  # noqa: FBT003 - as the standard library wants it
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        _, descriptors = process.run_helper("/bin/ls", ["ls", "/proc/self/fd"])
        _, status = process.run_helper(CAT, ["cat", "/proc/self/status"])
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(leak)
    assert descriptors.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if line.startswith("Sig"))
    assert int(fields["SigBlk"], 16) == 0
    assert not int(fields["SigIgn"], 16) >> (signal.SIGUSR1 - 1) & 1


def test_descriptors_may_change_places() -> None:
    left, right = os.pipe(), os.pipe()
    os.write(left[1], b"left")
    os.write(right[1], b"right")
    arguments = ["cat", f"/proc/self/fd/{left[0]}", f"/proc/self/fd/{right[0]}"]
    out_reader, out_writer = os.pipe()
    fds = {1: out_writer, left[0]: right[0], right[0]: left[0]}
    pid = process.spawn(CAT, arguments, fds=fds)
    for fd in (*left, *right, out_writer):
        os.close(fd)
    os.waitpid(pid, 0)
    assert os.read(out_reader, 100) == b"rightleft"
    os.close(out_reader)


def test_a_missing_helper_is_an_oserror_with_its_name() -> None:
    with pytest.raises(OSError, match="/nope"):
        process.run_helper("/nope", ["nope"])
    assert process.find_helper("no-such-helper") is None


def test_long_output_of_a_helper_is_cut_but_read_to_its_end() -> None:
    code, said = process.run_helper("/bin/sh", ["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; exit 7"])
    assert code == 7
    assert len(said) == 4096


def test_a_descriptor_can_be_fetched_from_a_child() -> None:
    pid, writer = spawn_cat()
    with pidfd_open(pid) as pinned, pidfd_getfd(pinned.fileno(), 0) as fetched:
        assert not os.get_inheritable(fetched.fileno())
        assert os.readlink(f"/proc/self/fd/{fetched.fileno()}") == os.readlink(f"/proc/{pid}/fd/0")
    os.close(writer)
    os.waitpid(pid, 0)


def test_prctl_fills_missing_arguments_with_zeros() -> None:
    from casemate.kernel.const import prctl as c

    assert process.prctl(c.PR_GET_NO_NEW_PRIVS) in (0, 1)
    with pytest.raises(KernelError) as caught:
        process.prctl(99999)
    assert caught.value.errno == errno.EINVAL


def test_the_five_capability_sets_are_read() -> None:
    sets = procfs.capability_sets()
    assert set(sets) == {"inheritable", "permitted", "effective", "bounding", "ambient"}
    assert sets["effective"] & ~sets["permitted"] == 0
