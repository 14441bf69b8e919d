"""`features`: every claim is compared with the tables and functions that keep it."""

from __future__ import annotations

from typing import Any

import pytest

from casemate.errors import Invalid, Unsupported
from casemate.kernel import capabilities
from casemate.runtime.cli.features import document
from casemate.runtime.compile import labels, mount_options, namespaces, scheduling, validate
from casemate.runtime.schema import seccomp as schema
from casemate.runtime.schema.config import CONFIG
from casemate.runtime.schema.linux import MEMORY_FLAGS, MEMORY_MODES, NAMESPACES

FOUND = document()
LINUX = FOUND["linux"]
MINIMAL = {"ociVersion": "1.0.0", "root": {"path": "rootfs"}, "process": {"args": ["sh"], "cwd": "/"}}
OPTIONS = """
async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec noiversion
nolazytime norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount rexec rnoatime
rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime
rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap
"""
"""The table of config.md, "Linux mount options", without `mand` and `nomand`, which Linux has given up."""


def test_it_has_the_fields_of_the_newest_specification_and_no_others() -> None:
    assert set(FOUND) == {
        "ociVersionMin",
        "ociVersionMax",
        "hooks",
        "mountOptions",
        "linux",
        "annotations",
        "potentiallyUnsafeConfigAnnotations",
    }
    assert set(LINUX) == {
        "namespaces",
        "capabilities",
        "cgroup",
        "seccomp",
        "apparmor",
        "selinux",
        "memoryPolicy",
        "intelRdt",
        "mountExtensions",
        "netDevices",
    }
    assert set(LINUX["cgroup"]) == {"v1", "v2", "systemd", "systemdUser", "rdma"}
    assert set(LINUX["seccomp"]) == {
        "enabled",
        "actions",
        "operators",
        "archs",
        "knownFlags",
        "supportedFlags",
    }


@pytest.mark.parametrize("name", ["ociVersionMin", "ociVersionMax"])
def test_both_ends_of_the_versions_are_accepted(name: str) -> None:
    validate.check({**MINIMAL, "ociVersion": FOUND[name]})
    with pytest.raises(Unsupported):
        validate.check({**MINIMAL, "ociVersion": f"2{FOUND[name][1:]}"})


def test_every_hook_of_the_specification_is_claimed_and_accepted() -> None:
    assert FOUND["hooks"] == list(CONFIG[1]["hooks"][1])
    hooks = {kind: [{"path": "/bin/true"}] for kind in FOUND["hooks"]}
    validate.check({**MINIMAL, "hooks": hooks})


def test_the_mount_options_are_all_that_the_specification_has_and_each_is_understood() -> None:
    claimed = set(FOUND["mountOptions"])
    assert set(OPTIONS.split()) - claimed == set()
    for option in sorted(claimed - {"idmap", "ridmap"}):
        found = mount_options.parse_options(["rbind", option], destination="/x")
        assert [name for name, _ in found.data] in (
            [],
            [option],
        )  # a flag of the file system, or none of its business


def test_the_namespaces_are_all_eight_and_each_can_be_read() -> None:
    assert sorted(NAMESPACES) == LINUX["namespaces"]
    found = namespaces.read_namespaces({"namespaces": [{"type": kind} for kind in LINUX["namespaces"]]})
    assert sorted(found) == LINUX["namespaces"]


def test_the_capabilities_are_those_that_have_a_bit() -> None:
    assert set(LINUX["capabilities"]) == set(capabilities.NAMES[: capabilities.last_cap() + 1])


def test_seccomp_claims_what_the_schema_accepts() -> None:
    claimed = LINUX["seccomp"]
    assert set(claimed["actions"]) == set(schema.ACTIONS)
    assert set(claimed["operators"]) == set(schema.OPERATORS)
    assert set(claimed["knownFlags"]) == set(schema.FLAGS)
    assert set(claimed["supportedFlags"]) <= set(schema.FLAGS)
    assert set(claimed["archs"]) <= set(schema.ARCHITECTURES)


def test_every_memory_policy_that_is_claimed_has_its_number() -> None:
    assert LINUX["memoryPolicy"] == {"modes": list(MEMORY_MODES), "flags": list(MEMORY_FLAGS)}
    assert set(scheduling.MODES) == set(MEMORY_MODES)
    assert scheduling.MODE_FLAGS == {
        "MPOL_F_NUMA_BALANCING": 1 << 13,
        "MPOL_F_RELATIVE_NODES": 1 << 14,
        "MPOL_F_STATIC_NODES": 1 << 15,
    }


def test_what_is_not_claimed_is_refused_by_name() -> None:
    assert set(LINUX["intelRdt"].values()) == {False}
    with pytest.raises(Unsupported, match=r"linux\.intelRdt: no resctrl file system is mounted"):
        validate.check({**MINIMAL, "linux": {"intelRdt": {"closID": "x"}}})


@pytest.mark.parametrize(
    ("module", "process", "places"),
    [
        ("apparmor", {"apparmorProfile": "p"}, "_APPARMOR"),
        ("selinux", {"selinuxLabel": "u:r:t:s0"}, "_SELINUX"),
    ],
)
def test_security_modules_are_claimed_and_refused_where_the_host_has_none(
    module: str, process: dict[str, Any], places: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LINUX[module] == {"enabled": True}
    monkeypatch.setattr(labels, places, ("/nowhere",) if places == "_APPARMOR" else "/nowhere")
    with pytest.raises(Unsupported, match="is not active on this host"):
        labels.refuse(process, {})
    monkeypatch.setattr(labels, places, ("/",) if places == "_APPARMOR" else "/")
    labels.refuse(process, {})


def test_no_annotation_changes_what_the_runtime_does() -> None:
    assert FOUND["potentiallyUnsafeConfigAnnotations"] == []


def test_idmapped_mounts_and_network_devices_are_claimed_and_accepted() -> None:
    assert LINUX["mountExtensions"] == {"idmap": {"enabled": True}}
    assert LINUX["netDevices"] == {"enabled": True}
    ids = [{"containerID": 0, "hostID": 1000, "size": 1}]
    mount = {"destination": "/x", "source": "/y", "options": ["bind", "idmap"]}
    validate.check({**MINIMAL, "mounts": [{**mount, "uidMappings": ids, "gidMappings": ids}]})
    with pytest.raises(Invalid, match="gidMappings: is missing"):
        validate.check({**MINIMAL, "mounts": [{**mount, "uidMappings": ids}]})
