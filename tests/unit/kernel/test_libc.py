"""Failures name call and object; arguments keep all their bits; descriptors have one owner."""

from __future__ import annotations

import errno
import os
import pickle

import pytest

from casemate.kernel import libc
from casemate.kernel.fd import Fd
from casemate.kernel.mount_api import open_tree


def test_a_failure_names_the_call_and_its_object() -> None:
    with pytest.raises(libc.KernelError) as caught:
        open_tree("/nope")
    assert str(caught.value) == "open_tree(/nope): No such file or directory"
    assert (caught.value.errno, caught.value.call, caught.value.subject) == (
        errno.ENOENT,
        "open_tree",
        "/nope",
    )
    assert isinstance(caught.value, OSError)


def test_a_failure_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(libc.KernelError(errno.EPERM, "mount", "/x")))  # noqa: S301 - our own bytes
    assert str(error) == "mount(/x): Operation not permitted"


def test_arguments_keep_all_64_bits() -> None:
    """A size above 32 bits must arrive whole: openat2 answers E2BIG to it, EINVAL to its low half."""
    call = libc.declare("openat2", libc.LONG, libc.STRING, libc.LONG, libc.LONG)
    assert call(-100, b".", 0, 1 << 32) == -1
    assert libc.last_errno() == errno.E2BIG
    assert call(-100, b".", 0, 0) == -1
    assert libc.last_errno() == errno.EINVAL


def test_two_declarations_do_not_share_a_prototype() -> None:
    one = libc.declare("setns", libc.LONG, libc.LONG)
    libc.declare("openat2", libc.LONG, libc.STRING, libc.POINTER, libc.LONG)
    assert one(-1, 0) == -1
    assert libc.last_errno() == errno.EBADF


def test_an_unknown_machine_answers_enosys_when_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casemate.kernel.sysnum.MACHINE", "vax")
    call = libc.declare("setns", libc.LONG, libc.LONG)
    assert call(-1, 0) == -1
    assert libc.last_errno() == errno.ENOSYS


@pytest.mark.parametrize("path", ["/etc\0/passwd", b"a\0"])
def test_a_path_with_a_nul_never_reaches_the_kernel(path: str | bytes) -> None:
    with pytest.raises(ValueError, match="null byte"):
        open_tree(path)


def test_a_descriptor_is_closed_exactly_once() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    with Fd(reader) as owned:
        assert not os.get_inheritable(owned.fileno())
    assert owned.closed
    again = os.dup(0)  # takes the freed number
    owned.close()
    os.fstat(again)
    os.close(again)


def test_a_detached_descriptor_is_the_callers() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    owned = Fd(reader)
    assert owned.detach() == reader
    owned.close()
    os.fstat(reader)
    os.close(reader)
    with pytest.raises(ValueError, match="closed or detached"):
        owned.fileno()


def test_a_duplicate_is_closed_on_exec_and_independent() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    with Fd(reader) as owned:
        copy = owned.duplicate()
    assert not os.get_inheritable(copy.fileno())
    os.fstat(copy.fileno())
    copy.close()
