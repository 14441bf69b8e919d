"""Resolution inside a root: nothing leads out, by openat2 and by the walk that replaces it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from casemate.kernel.const.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS
from casemate.kernel.libc import KernelError
from casemate.kernel.path import AT_FDCWD, is_link, open_in_root, openat2, reopen, walk_in_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """A root with a secret outside it and links that point there."""
    (tmp_path / "secret").write_text("outside")
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "secret").write_text("inside")
    (inside / "etc" / "file").write_text("file")
    (inside / "absolute").symlink_to("/secret")
    (inside / "climbing").symlink_to("../../../secret")
    (inside / "dir").symlink_to("etc")
    (inside / "magic").symlink_to("/proc/self/root/secret")
    (inside / "loop").symlink_to("loop")
    fd = os.open(inside, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def read(fd: int) -> bytes:
    return os.read(fd, 100)


@pytest.mark.parametrize(
    "path", ["secret", "/secret", "../secret", "../../../../secret", "absolute", "climbing"]
)
def test_every_way_out_ends_inside(root: int, path: str) -> None:
    with open_in_root(root, path, os.O_RDONLY) as found:
        assert read(found.fileno()) == b"inside"


def test_links_to_directories_are_followed_inside(root: int) -> None:
    with open_in_root(root, "dir/file", os.O_RDONLY) as found:
        assert read(found.fileno()) == b"file"


def test_magic_links_are_refused(root: int) -> None:
    fd = os.open("/", os.O_PATH)
    try:
        with pytest.raises(KernelError) as caught:
            open_in_root(fd, "/proc/self/root/etc/passwd")
    finally:
        os.close(fd)
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(KernelError):
        open_in_root(root, "magic")


@pytest.mark.parametrize(
    ("path", "number"), [("loop", errno.ELOOP), ("none", errno.ENOENT), ("secret/x", errno.ENOTDIR)]
)
def test_what_cannot_be_resolved_says_why(root: int, path: str, number: int) -> None:
    with pytest.raises(KernelError) as caught:
        open_in_root(root, path)
    assert caught.value.errno == number
    assert path in str(caught.value)


def test_files_can_be_made_with_a_mode(root: int) -> None:
    before = os.umask(0o022)
    try:
        made = openat2(
            root, "made", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
        )
    finally:
        os.umask(before)
    assert os.fstat(made).st_mode & 0o777 == 0o640
    assert not os.get_inheritable(made)
    os.close(made)


def test_a_mode_without_creating_is_left_out(root: int) -> None:
    os.close(openat2(root, "secret", os.O_RDONLY, 0o777))
    os.close(openat2(AT_FDCWD, "/", os.O_PATH))


def test_the_walk_follows_no_link_and_no_dots(root: int) -> None:
    with walk_in_root(root, "/etc//./file", os.O_RDONLY) as found:
        assert read(found.fileno()) == b"file"
    for path in ("absolute", "climbing", "dir/file", "loop"):
        with pytest.raises(KernelError) as caught:
            walk_in_root(root, path, os.O_RDONLY)
        assert caught.value.errno == errno.ELOOP
    with pytest.raises(KernelError) as caught:
        walk_in_root(root, "etc/../secret")
    assert caught.value.errno == errno.EXDEV


def test_the_walk_refuses_a_link_even_when_only_its_place_is_asked_for(root: int) -> None:
    with pytest.raises(KernelError) as caught:
        walk_in_root(root, "absolute", os.O_PATH)
    assert caught.value.errno == errno.ELOOP


def test_the_walk_takes_over_where_openat2_is_forbidden(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> int:
        raise KernelError(errno.EPERM, "openat2")

    monkeypatch.setattr("casemate.kernel.path.openat2", forbidden)
    with open_in_root(root, "etc/file", os.O_RDONLY) as found:
        assert read(found.fileno()) == b"file"
    with pytest.raises(KernelError):
        open_in_root(root, "absolute", os.O_RDONLY)


def test_the_root_itself_can_be_opened(root: int) -> None:
    for opener in (open_in_root, walk_in_root):
        with opener(root, "/") as found:
            assert os.path.samestat(os.fstat(found.fileno()), os.fstat(root))


def test_reopening_needs_no_name(root: int, tmp_path: Path) -> None:
    with open_in_root(root, "secret") as found:
        (tmp_path / "root" / "secret").rename(tmp_path / "root" / "renamed")
        with reopen(found.fileno(), os.O_RDONLY) as readable:
            assert read(readable.fileno()) == b"inside"


def test_links_are_told_from_what_is_not_there(root: int) -> None:
    assert is_link(root, "absolute")
    assert not is_link(root, "secret")
    assert not is_link(root, "none")
