"""Capabilities, Landlock, namespaces, mounts and the feature probes, against the running kernel."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import pytest

from casemate.kernel import capabilities, features, landlock, mount_api, namespaces
from casemate.kernel.const import landlock as ll
from casemate.kernel.const.mount import MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY
from casemate.kernel.const.prctl import PR_SET_NO_NEW_PRIVS
from casemate.kernel.const.sched import CLONE_NEWNS, CLONE_NEWUSER
from casemate.kernel.libc import KernelError
from casemate.kernel.process import prctl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def in_child(check: Callable[[], object]) -> None:
    """Run a check in a child process; what it raises is shown and fails the test."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            check()
            code = 0
        except BaseException as error:  # noqa: BLE001 - shown by the parent's capture
            sys.stderr.write(f"{error!r} {getattr(error, '__notes__', '')}\n")
            sys.stderr.flush()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def enter_private_mounts() -> None:
    """Own user and mount namespaces, in which the caller is root."""
    uid, gid = os.geteuid(), os.getegid()
    namespaces.unshare(CLONE_NEWUSER | CLONE_NEWNS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def test_capability_names_and_bits() -> None:
    assert capabilities.to_mask(["CAP_CHOWN", "CAP_SYS_ADMIN"]) == 1 | 1 << 21
    assert capabilities.to_names(1 | 1 << 21) == ["CAP_CHOWN", "CAP_SYS_ADMIN"]
    assert capabilities.to_names(1 << 60) == ["CAP_60"]
    assert capabilities.to_names(capabilities.all_mask())[0] == "CAP_CHOWN"
    assert 37 <= capabilities.last_cap() <= 62
    with pytest.raises(KeyError):
        capabilities.to_mask(["CAP_NOPE"])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("net_raw", "CAP_NET_RAW"),
        ("CAP_CHOWN", "CAP_CHOWN"),
        ("cap_chown", "CAP_CHOWN"),
        ("all", None),
        ("", None),
    ],
)
def test_capability_names_as_users_write_them(text: str, name: str | None) -> None:
    assert capabilities.canonical(text) == name


@pytest.mark.parametrize(
    ("abi", "last", "size"),
    [
        (0, 0, 8),
        (1, ll.LANDLOCK_ACCESS_FS_MAKE_SYM, 8),
        (2, ll.LANDLOCK_ACCESS_FS_REFER, 8),
        (3, ll.LANDLOCK_ACCESS_FS_TRUNCATE, 8),
        (4, ll.LANDLOCK_ACCESS_FS_TRUNCATE, 16),
        (5, ll.LANDLOCK_ACCESS_FS_IOCTL_DEV, 16),
        (6, ll.LANDLOCK_ACCESS_FS_IOCTL_DEV, 24),
        (99, ll.LANDLOCK_ACCESS_FS_IOCTL_DEV, 24),
    ],
)
def test_each_landlock_abi_gets_the_rights_and_the_struct_that_it_knows(
    abi: int, last: int, size: int
) -> None:
    assert landlock.fs_rights(abi) == (2 * last - 1 if last else 0)
    assert len(landlock.ruleset_attr(abi, fs=1, net=1, scoped=1)) == size


def test_landlock_confines_a_child(tmp_path: Path) -> None:
    version = landlock.abi()
    if not version:
        pytest.skip("no Landlock")
    (tmp_path / "allowed").mkdir()
    (tmp_path / "denied").mkdir()

    def check() -> None:
        attr = landlock.ruleset_attr(version, fs=landlock.fs_rights(version))
        directory = os.open(tmp_path / "allowed", os.O_PATH)
        with landlock.create_ruleset(attr) as rules:
            landlock.allow_beneath(rules.fileno(), directory, landlock.fs_rights(version))
            prctl(PR_SET_NO_NEW_PRIVS, 1)
            landlock.restrict_self(rules.fileno())
        os.close(os.open(tmp_path / "allowed" / "file", os.O_CREAT | os.O_WRONLY))
        with pytest.raises(PermissionError):
            os.open(tmp_path / "denied" / "file", os.O_CREAT | os.O_WRONLY)

    in_child(check)


def test_namespaces_have_identities() -> None:
    for kind in namespaces.FLAGS:
        with namespaces.open_namespace(kind) as own:
            assert namespaces.namespace_id(own.fileno()) == namespaces.find_namespace_id(kind)
    assert namespaces.find_namespace_id("mount", 1 << 22) is None
    assert set(namespaces.FLAGS) == set(namespaces.FILES)


def test_a_new_namespace_belongs_to_its_user_namespace() -> None:
    outside = namespaces.find_namespace_id("user")

    def check() -> None:
        enter_private_mounts()
        with namespaces.open_namespace("mount") as mounts, namespaces.owning_userns(mounts.fileno()) as owner:
            assert namespaces.namespace_id(owner.fileno()) == namespaces.find_namespace_id("user") != outside
            assert not os.get_inheritable(owner.fileno())
            with pytest.raises(KernelError) as caught:
                namespaces.parent_namespace(mounts.fileno())
            assert caught.value.errno == errno.EINVAL

    in_child(check)


def test_setns_refuses_what_is_no_namespace() -> None:
    with pytest.raises(KernelError) as caught:
        namespaces.setns(0, CLONE_NEWNS)
    assert caught.value.errno in (errno.EINVAL, errno.EBADF)


def test_a_file_system_is_made_configured_and_attached_by_descriptor(tmp_path: Path) -> None:
    def check() -> None:
        enter_private_mounts()
        target = os.open(tmp_path, os.O_PATH)
        with mount_api.new_mount(
            "tmpfs", {"size": "64k", "mode": "0750"}, attributes=MOUNT_ATTR_NOSUID
        ) as made:
            mount_api.move_mount(made.fileno(), target)
            assert os.fstatvfs(made.fileno()).f_flag & os.ST_NOSUID
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=made.fileno()))
            mount_api.mount_setattr(made.fileno(), set_flags=MOUNT_ATTR_RDONLY)
        with pytest.raises(OSError, match="Read-only"):
            os.open(tmp_path / "other", os.O_CREAT | os.O_WRONLY)
        with (
            mount_api.open_tree(str(tmp_path)) as tree,
            mount_api.clone_tree(tree.fileno(), recursive=True) as copy,
        ):
            assert os.stat("file", dir_fd=copy.fileno()).st_size == 0
        mount_api.umount(str(tmp_path))
        assert os.listdir(tmp_path) == []

    in_child(check)


def test_the_file_system_says_itself_what_it_did_not_like() -> None:
    def check() -> None:
        enter_private_mounts()
        with pytest.raises(KernelError) as caught:
            mount_api.new_mount("tmpfs", {"nonsense": "1"})
        assert caught.value.call == "fsconfig"
        assert caught.value.subject == "nonsense"
        assert any("nonsense" in note for note in caught.value.__notes__)

    in_child(check)


def test_an_unknown_file_system_is_named() -> None:
    def check() -> None:
        enter_private_mounts()
        with pytest.raises(KernelError, match=r"fsopen\(nofs\): No such device"):
            mount_api.fsopen("nofs")

    in_child(check)


def test_every_probe_answers_and_says_why_not() -> None:
    found = features.probe_all()
    names = [feature.name for feature in found]
    assert len(names) == len(set(names))
    assert {"kernel", "machine", "user namespace", "landlock", "overlay", "openat2"} <= set(names)
    for feature in found:
        assert feature.needed_for
        assert feature.available or feature.detail, feature.name
    required = [feature.required for feature in found]
    assert required == sorted(required, reverse=True)


def test_the_machines_that_run_these_tests_have_what_is_required() -> None:
    assert [feature for feature in features.probe_all() if feature.required and not feature.available] == []


def test_probing_changes_nothing() -> None:
    before = (os.listdir("/proc/self/fd"), namespaces.find_namespace_id("user"), os.getcwd())
    features.probe_all()
    assert (os.listdir("/proc/self/fd"), namespaces.find_namespace_id("user"), os.getcwd()) == before


def test_a_call_hidden_by_a_filter_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(features.TABLES[features.MACHINE], "openat2", 1 << 20)
    (found,) = [feature for feature in features.probe_all() if feature.name == "openat2"]
    assert not found.available
    assert "ENOSYS" in found.detail


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.18.44-fc", (6, 18)),
        ("5.10", (5, 10)),
        ("6.1.0-13-amd64", (6, 1)),
        ("weird", (0, 0)),
        ("7", (0, 0)),
    ],
)
def test_releases_are_read(release: str, version: tuple[int, int]) -> None:
    assert features.kernel_version(release) == version


@pytest.mark.parametrize(
    ("switch", "value", "why"),
    [
        ("user/max_user_namespaces", "0", "max_user_namespaces"),
        ("kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor"),
    ],
)
def test_a_switched_off_user_namespace_names_its_switch(
    monkeypatch: pytest.MonkeyPatch, switch: str, value: str, why: str
) -> None:
    monkeypatch.setattr(features, "_sysctl", lambda name: value if name == switch else None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (found,) = [feature for feature in features.probe_all() if feature.name == "user namespace"]
    assert not found.available
    assert why in found.detail


def test_an_unknown_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MACHINE", "vax")
    (found,) = [feature for feature in features.probe_all() if feature.name == "machine"]
    assert not found.available
    assert "vax" in found.detail
