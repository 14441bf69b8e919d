"""Descriptors over sockets, sealed memory, locks and attributes."""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from casemate.kernel import lock, memfd, socket_fds, xattr
from casemate.kernel.features import kernel_version
from casemate.kernel.libc import KernelError

if TYPE_CHECKING:
    from pathlib import Path


def open_count() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_descriptors_travel_with_their_message() -> None:
    before = open_count()
    left, right = socket_fds.socketpair_seqpacket()
    with left, right, memfd.sealed("x", b"payload") as payload:
        socket_fds.send_fds(left.fileno(), b"PLAN", [payload.fileno(), 0])
        socket_fds.send_fds(left.fileno(), b"MORE")
        data, fds = socket_fds.recv_fds(right.fileno(), 16, 4)
        assert data == b"PLAN"
        assert len(fds) == 2
        assert os.pread(fds[0].fileno(), 100, 0) == b"payload"
        assert not os.get_inheritable(fds[0].fileno())
        for fd in fds:
            fd.close()
        assert socket_fds.recv_fds(right.fileno(), 16, 4) == (b"MORE", [])
        left.close()
        assert socket_fds.recv_fds(right.fileno(), 16, 4) == (b"", [])
        with pytest.raises(KernelError) as caught:
            socket_fds.send_fds(right.fileno(), b"x")
        assert caught.value.errno == errno.EPIPE
    assert open_count() == before


def test_253_descriptors_fit_one_message_and_254_do_not() -> None:
    left, right = socket_fds.socketpair_seqpacket()
    with left, right:
        socket_fds.send_fds(left.fileno(), b"x", [0] * socket_fds.MAX_FDS)
        _, fds = socket_fds.recv_fds(right.fileno(), 1, socket_fds.MAX_FDS)
        assert len(fds) == socket_fds.MAX_FDS
        for fd in fds:
            fd.close()
        with pytest.raises(KernelError):
            socket_fds.send_fds(left.fileno(), b"x", [0] * (socket_fds.MAX_FDS + 1))


@pytest.mark.parametrize(("data", "count"), [(b"x", 3), (b"x", 2), (b"x" * 100, 1)])
def test_what_does_not_fit_is_refused_and_leaks_nothing(data: bytes, count: int) -> None:
    left, right = socket_fds.socketpair_seqpacket()
    with left, right:
        before = open_count()
        socket_fds.send_fds(left.fileno(), data, [0] * count)
        with pytest.raises(KernelError) as caught:
            socket_fds.recv_fds(right.fileno(), 10, 1)
        assert caught.value.errno == errno.EMSGSIZE
        assert open_count() == before


def test_unasked_descriptors_are_not_taken() -> None:
    left, right = socket_fds.socketpair_seqpacket()
    with left, right:
        before = open_count()
        socket_fds.send_fds(left.fileno(), b"x", [0])
        with pytest.raises(KernelError):
            socket_fds.recv_fds(right.fileno(), 10, 0)
        assert open_count() == before


def test_a_listener_lives_below_a_directory_of_any_length(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    directory = os.open(deep, os.O_PATH)
    with (
        socket_fds.listen_seqpacket(directory, "attach") as _,
        socket_fds.connect_seqpacket(directory, "attach") as client,
    ):
        assert (deep / "attach").stat().st_mode & 0o777 == 0o600
        assert socket_fds.peer_credentials(client.fileno()) == (os.getpid(), os.geteuid(), os.getegid())
        with pytest.raises(KernelError) as caught:
            socket_fds.listen_seqpacket(directory, "attach")
        assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(KernelError) as caught:
        socket_fds.connect_seqpacket(directory, "attach")
    assert caught.value.errno == errno.ECONNREFUSED
    os.close(directory)


def test_sealed_memory_cannot_change() -> None:
    with memfd.sealed("plan", b"content") as made:
        assert memfd.is_sealed(made.fileno())
        for change in (
            lambda: os.pwrite(made.fileno(), b"x", 0),
            lambda: os.ftruncate(made.fileno(), 0),
            lambda: os.ftruncate(made.fileno(), 100),
        ):
            with pytest.raises(PermissionError):
                change()
        assert os.read(made.fileno(), 100) == b"content"


def test_data_in_memory_is_not_executable_and_programs_are() -> None:
    with memfd.create("data") as data, memfd.create("program", executable=True) as program:
        assert os.fstat(program.fileno()).st_mode & 0o100
        if kernel_version() >= (6, 3):
            assert not os.fstat(data.fileno()).st_mode & 0o111
        assert not memfd.is_sealed(data.fileno())
    assert not memfd.is_sealed(0)


def test_a_lock_belongs_to_the_open_file_and_its_copies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    first, second = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
    copy = os.dup(first)
    assert lock.try_lock(first)
    assert lock.try_lock(copy)
    assert not lock.try_lock(second)
    started = time.monotonic()
    assert not lock.lock(second, timeout_s=0.02)
    assert 0.02 <= time.monotonic() - started < 2
    os.close(first)
    assert not lock.try_lock(second)
    os.close(copy)
    assert lock.lock(second, timeout_s=5)
    lock.unlock(second)
    os.close(second)


def test_readers_share_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    fds = [os.open(path, os.O_RDONLY) for _ in range(3)]
    assert lock.try_lock(fds[0], shared=True)
    assert lock.lock(fds[1], shared=True)
    assert not lock.try_lock(fds[2])
    threading.Timer(0.02, lambda: [lock.unlock(fd) for fd in fds[:2]]).start()
    assert lock.lock(fds[2], timeout_s=10)
    for fd in fds:
        os.close(fd)


def test_a_lock_on_nothing_is_a_kernel_error() -> None:
    with pytest.raises(KernelError) as caught:
        lock.try_lock(9999)
    assert caught.value.errno == errno.EBADF


def test_attributes_are_read_set_and_absent(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    with open(path, "wb"):
        pass
    if not xattr.set_if_possible(path, "user.b", b"2"):
        pytest.skip("this file system has no user attributes")
    assert xattr.set_if_possible(path, "user.a", b"\0\xff")
    found = {name: value for name, value in xattr.read_all(path).items() if name.startswith("user.")}
    assert found == {"user.a": b"\0\xff", "user.b": b"2"}
    assert list(found) == sorted(found)
    assert xattr.find(path, "user.none") is None
    link = str(tmp_path / "link")
    os.symlink(path, link)
    assert not xattr.set_if_possible(link, "user.c", b"3")
    assert "user.a" not in xattr.read_all(link)
    assert xattr.find(link, "user.a", follow=True) == b"\0\xff"
    with pytest.raises(FileNotFoundError):
        xattr.read_all(str(tmp_path / "none"))
