"""USER resolution reads an image's account files and nothing else, whatever the image's author put there."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from casemate.engine.spec.rootview import RootView
from casemate.engine.spec.users import MAX_ENTRIES, MAX_FILE_BYTES, resolve_user
from casemate.errors import Invalid, NotFound

if TYPE_CHECKING:
    from pathlib import Path

ACCOUNTS = (
    "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001::/home/user:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n"
)
GROUP = "root:x:0:\nstaff:x:50:user,other\nwheel:x:10:root\n"


def layers(tmp_path: Path, *names: str) -> list[str]:
    found = []
    for name in names:
        (tmp_path / name / "etc").mkdir(parents=True)
        found.append(str(tmp_path / name))
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    layers(tmp_path, "top")
    (tmp_path / "top/etc/passwd").write_text(ACCOUNTS)
    (tmp_path / "top/etc/group").write_text(GROUP)
    return tmp_path / "top"


def ids(root: Path, text: str, *groups: str) -> tuple[int, int, tuple[int, ...], str]:
    with RootView([str(root)]) as view:
        user = resolve_user(text, view, groups=groups)
    return user.uid, user.gid, user.groups, user.home


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0, (10,), "/root")),
        ("user", (1000, 1001, (50,), "/home/user")),
        ("1000", (1000, 1001, (50,), "/home/user")),
        ("4711", (4711, 0, (), "/")),
        ("user:staff", (1000, 50, (), "/home/user")),
        ("0:4712", (0, 4712, (), "/root")),
        ("4294967294", (4294967294, 0, (), "/")),
    ],
)
def test_user_means_what_docker_means(root: Path, text: str, expected: tuple[object, ...]) -> None:
    assert ids(root, text) == expected


@pytest.mark.parametrize(
    "text",
    ["4294967295", "4294967296", "99999999999", "-1", "+1", "0x1", " 1", "1 ", "1:", ":1", "a:b:c", "a b"],
)
def test_number_that_is_none_is_never_a_name(root: Path, text: str) -> None:
    with pytest.raises(Invalid):
        ids(root, text)


def test_unknown_names_are_not_found(root: Path) -> None:
    with pytest.raises(NotFound, match="passwd"):
        ids(root, "ghost")
    with pytest.raises(NotFound, match="group"):
        ids(root, "root:ghosts")
    with pytest.raises(NotFound):
        ids(root, "root", "ghosts")


def test_extra_groups_are_added_once(root: Path) -> None:
    assert ids(root, "user", "50", "wheel")[2] == (50, 10)


def test_image_without_account_files_runs_numbers(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert ids(tmp_path / "empty", "1:2") == (1, 2, (), "/")


@pytest.mark.parametrize("kind", ["fifo", "link", "huge", "entries", "device", "directory"])
def test_hostile_account_file_is_refused_at_once_and_leaks_nothing(
    root: Path, tmp_path: Path, kind: str
) -> None:
    canary = tmp_path / "canary"
    canary.write_text("token:x:0:0::/:/bin/sh\n")
    passwd = root / "etc/passwd"
    passwd.unlink()
    if kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "link":
        passwd.symlink_to(canary)
    elif kind == "huge":
        with passwd.open("wb") as file:
            file.truncate(2 << 30)
    elif kind == "entries":
        passwd.write_bytes(b"a:b:1:1:c:d\n" * (MAX_ENTRIES + 1))
        assert passwd.stat().st_size < MAX_FILE_BYTES
    elif kind == "device":
        passwd.symlink_to("/dev/zero")
    else:
        passwd.mkdir()
    started = time.monotonic()
    with pytest.raises((Invalid, NotFound)) as caught:
        ids(root, "token")
    assert time.monotonic() - started < 1
    assert "canary" not in str(caught.value)


def test_absolute_link_stays_inside_the_image(root: Path) -> None:
    (root / "etc/passwd").rename(root / "accounts")
    (root / "etc/passwd").symlink_to("/etc/../../../accounts")
    assert ids(root, "user")[0] == 1000


def test_link_loop_ends(root: Path) -> None:
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("passwd")
    with pytest.raises(Invalid, match="symbolic links"):
        ids(root, "user")


def test_topmost_layer_wins(tmp_path: Path) -> None:
    found = layers(tmp_path, "top", "middle", "bottom")
    (tmp_path / "bottom/etc/passwd").write_text("user:x:1:1::/:\n")
    (tmp_path / "middle/etc/passwd").write_text("user:x:2:2::/:\n")
    with RootView(found) as view:
        assert resolve_user("user", view).uid == 2


@pytest.mark.needs_root
def test_whiteouts_and_opaque_directories_hide_what_is_below(tmp_path: Path) -> None:
    found = layers(tmp_path, "top", "bottom")
    (tmp_path / "bottom/etc/passwd").write_text("user:x:1:1::/:\n")
    os.mknod(tmp_path / "top/etc/passwd", 0o020000, 0)
    with RootView(found) as view, pytest.raises(NotFound):
        resolve_user("user", view)
    (tmp_path / "top/etc/passwd").unlink()
    os.setxattr(tmp_path / "top/etc", "trusted.overlay.opaque", b"y")
    with RootView(found) as view, pytest.raises(NotFound):
        resolve_user("user", view)


def test_view_keeps_no_descriptor(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    ids(root, "user:staff")
    assert len(os.listdir("/proc/self/fd")) == before
