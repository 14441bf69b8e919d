"""The specification is the sealed profile, changed visibly and only by name."""

from __future__ import annotations

import json

import pytest

from casemate.engine.names import check_name, generate_name, new_id
from casemate.engine.options import ContainerOptions, MountOption, TmpfsOption, options_from
from casemate.engine.signals import signal_number
from casemate.engine.spec.build import Surroundings, build_spec
from casemate.engine.spec.confine import confinement, process_capabilities
from casemate.engine.spec.etcfiles import check_hostname, hosts_text, resolv_text
from casemate.engine.spec.limits import build_rlimits, clamp_rlimits
from casemate.engine.spec.mounts import oci_mount, plan_mounts
from casemate.engine.spec.process import build_argv, build_cwd, build_env, expand_env
from casemate.engine.spec.users import User
from casemate.errors import Invalid
from casemate.kernel.capabilities import all_mask, to_names
from casemate.kernel.userns import IdMap, IdRange
from casemate.runtime.default_profile import ROOT_CAPABILITIES

ALL = to_names(all_mask())
BASE = 0x40010000
IMAGE = {"env": ["PATH=/bin", "NOVALUE", "A=image"]}
RECORD = {
    "argv": ["true"],
    "env": ["A=1"],
    "hostname": "box",
    "cwd": "/",
    "tty": False,
    "mounts": [],
    "image": IMAGE,
    "cap_add": [],
}


def spec_of(uid: int = 0, gid: int = 0, **given: object) -> dict[str, object]:
    options = ContainerOptions(**given)
    whole = [IdRange(0, BASE, 65536)]
    around = Surroundings(
        id_map=IdMap(whole, whole),
        is_rootless=False,
        all_capabilities=ALL,
        hard_limits={},
        stored_base=0x40000000,
    )
    wall = confinement(options, all_capabilities=ALL)
    return build_spec(RECORD, options, wall=wall, user=User(uid, gid), around=around, etc_mounts=())


def test_default_is_sealed() -> None:
    spec = spec_of()
    process, linux = spec["process"], spec["linux"]
    assert process["noNewPrivileges"] is True
    assert process["capabilities"]["bounding"] == list(ROOT_CAPABILITIES)
    assert process["oomScoreAdj"] == 500
    assert {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 524288} in process["rlimits"]
    assert {"type": "RLIMIT_CORE", "soft": 0, "hard": 0} in process["rlimits"]
    assert {item["type"] for item in linux["namespaces"]} >= {
        "user",
        "network",
        "pid",
        "ipc",
        "uts",
        "mount",
        "cgroup",
    }
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": BASE, "size": 65536}]
    assert linux["resources"]["pids"] == {"limit": 2048}
    assert linux["resources"]["memory"]["swap"] == linux["resources"]["memory"]["limit"]
    assert linux["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert "/proc/kcore" in linux["maskedPaths"]


def test_other_user_than_root_holds_nothing_at_all() -> None:
    assert set(map(tuple, spec_of(1000, 1000)["process"]["capabilities"].values())) == {()}


def test_named_capability_of_another_user_is_ambient() -> None:
    wall = confinement(ContainerOptions(cap_add=["NET_RAW"]), all_capabilities=ALL)
    assert process_capabilities(wall, 1000, asked=["CAP_NET_RAW"])["ambient"] == ["CAP_NET_RAW"]


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ({"privileged": True}, ("privileged",)),
        ({"userns": "host"}, ("userns=host",)),
        ({"network": "host"}, ("network=host",)),
        ({"cap_add": ["sys_admin"]}, ("cap-add=CAP_SYS_ADMIN",)),
        ({"cap_add": ["CHOWN"]}, ()),
        ({"security_opt": ["seccomp=unconfined"]}, ("seccomp=unconfined",)),
        ({"security_opt": ["no-new-privileges:false"]}, ("no-new-privileges=false",)),
        ({"security_opt": ["no-new-privileges", "apparmor=unconfined"]}, ()),
        ({"relax": ["debug", "family=vsock"]}, ("relax=debug", "relax=family=vsock")),
    ],
)
def test_every_widening_is_recorded(given: dict[str, object], recorded: tuple[str, ...]) -> None:
    assert confinement(ContainerOptions(**given), all_capabilities=ALL).relaxed == recorded


@pytest.mark.parametrize(
    "given",
    [
        {"relax": ["everything"]},
        {"relax": ["family"]},
        {"security_opt": ["nonsense=1"]},
        {"security_opt": ["no-new-privileges=maybe"]},
        {"cap_add": ["NO_SUCH"]},
        {"userns": "weird"},
    ],
)
def test_unknown_relaxation_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        confinement(ContainerOptions(**given), all_capabilities=ALL)


def test_cap_drop_all_then_add_leaves_the_one() -> None:
    wall = confinement(ContainerOptions(cap_drop=["ALL"], cap_add=["CHOWN"]), all_capabilities=ALL)
    assert wall.capabilities == ("CAP_CHOWN",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel.core_pattern", "x"),
        ("net.ipv4.ip_forward", "1\n2"),
        ("net.ipv4.x", "+1"),
        ("net..x", "1"),
        ("vm.swappiness", "1"),
    ],
)
def test_sysctl_outside_the_namespaces_is_refused(name: str, value: str) -> None:
    with pytest.raises(Invalid):
        spec_of(sysctls={name: value})


def test_sysctl_of_the_own_network_is_set_unless_it_is_the_hosts() -> None:
    assert spec_of(sysctls={"net.ipv4.ip_forward": "1"})["linux"]["sysctl"]["net.ipv4.ip_forward"] == "1"
    with pytest.raises(Invalid):
        spec_of(sysctls={"net.ipv4.ip_forward": "1"}, network="host")


def test_user_outside_the_range_is_refused() -> None:
    with pytest.raises(Invalid, match="outside"):
        spec_of(65536, 0)
    with pytest.raises(Invalid, match="outside"):
        spec_of(0, 70000)


def test_arguments_follow_dockers_table() -> None:
    assert build_argv(["e"], ["c"], entrypoint=None, argv=None) == ["e", "c"]
    assert build_argv(["e"], ["c"], entrypoint=None, argv=["x"]) == ["e", "x"]
    assert build_argv(["e"], ["c"], entrypoint=["n"], argv=None) == ["n"]
    assert build_argv(["e"], ["c"], entrypoint=[""], argv=["x"]) == ["x"]
    with pytest.raises(Invalid, match="no command"):
        build_argv(None, None, entrypoint=None, argv=None)


def test_image_cannot_name_the_callers_environment() -> None:
    env = build_env(["NOVALUE", "*", "A=1"], given=["A=2"], hostname="h", tty=True, home="/root")
    assert env == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=h",
        "TERM=xterm",
        "A=2",
        "HOME=/root",
    ]


def test_caller_names_variables_and_files(tmp_path: object) -> None:
    path = f"{tmp_path}/env"
    with open(path, "w", encoding="utf-8") as file:
        file.write("# comment\n\nB=two words\n  C\n")
    assert expand_env(["A", "D=4"], [path], {"A": "1", "C": "3"}) == ["B=two words", "C=3", "A=1", "D=4"]
    with pytest.raises(Invalid):
        expand_env(["=x"], [], {})


@pytest.mark.parametrize("path", ["relative", "/proc/self/fd/3", "/proc/../proc/1/cwd", "/a\0b"])
def test_working_directory_that_could_name_our_descriptors_is_refused(path: str) -> None:
    with pytest.raises(Invalid):
        build_cwd(None, path)


@pytest.mark.parametrize("target", ["relative", "/", "/proc", "/proc/sys", "/sys", "/a/../proc/x", "/x\0"])
def test_mount_target_of_the_kernel_is_refused(target: str) -> None:
    with pytest.raises(Invalid):
        plan_mounts([MountOption(source="/src", target=target)], [], [])


def test_two_mounts_on_one_target_are_refused_and_cover_image_volumes() -> None:
    mount = MountOption(source="/src", target="/data")
    with pytest.raises(Invalid, match="duplicate"):
        plan_mounts([mount], [TmpfsOption(target="/data/")], [])
    assert [found["type"] for found in plan_mounts([mount], [], ["/data", "/other"])] == ["bind", "volume"]


def test_bind_maps_the_containers_ids_onto_the_hosts_and_a_volume_onto_the_stores() -> None:
    bind = oci_mount({"type": "bind", "source": "/s", "target": "/t"}, base=BASE, stored_base=7)
    assert bind["uidMappings"] == [{"containerID": 0, "hostID": BASE, "size": 65536}]
    assert {"nosuid", "nodev", "rbind", "rprivate"} <= set(bind["options"])
    volume = oci_mount({"type": "volume", "source": "/s", "target": "/t"}, base=BASE, stored_base=7)
    assert volume["gidMappings"][0]["containerID"] == 7
    assert "uidMappings" not in oci_mount(
        {"type": "bind", "source": "/s", "target": "/t"}, base=None, stored_base=None
    )


def test_limits_are_clamped_only_when_nobody_asked_for_them() -> None:
    rules = build_rlimits({"nofile": [10, -1]}, [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}])
    assert [rule["type"] for rule in rules] == ["RLIMIT_CORE", "RLIMIT_NOFILE"]
    assert clamp_rlimits(rules, {"RLIMIT_NOFILE": 100}, [])[1] == {
        "type": "RLIMIT_NOFILE",
        "soft": 10,
        "hard": 100,
    }
    with pytest.raises(Invalid, match="hard limit of this user"):
        clamp_rlimits(rules, {"RLIMIT_NOFILE": 100}, ["RLIMIT_NOFILE"])
    with pytest.raises(Invalid, match="no such limit"):
        build_rlimits({"nonsense": [1, 1]}, [])


def test_etc_files_take_no_second_line_from_an_option() -> None:
    text = hosts_text("box", domainname="lan", addresses=(), extra=["db:10.0.0.1", "six:::1"])
    assert "10.0.0.1\tdb\n" in text
    assert "127.0.1.1\tbox.lan box\n" in text
    for bad in ("db", "db:x", "db\n1:1.1.1.1", ":1.1.1.1"):
        with pytest.raises(Invalid):
            hosts_text("box", domainname="", addresses=(), extra=[bad])
    assert resolv_text("nameserver 1.1.1.1\n", servers=[], search=[], options=[], offline=True) == ""
    with pytest.raises(Invalid):
        resolv_text("", servers=["1.1.1.1\nsearch x"], search=[], options=[], offline=False)
    for bad in ("", "a b", "a\nb", "-a", "x" * 64):
        with pytest.raises(Invalid):
            check_hostname(bad)


def test_names_and_ids() -> None:
    assert len(new_id()) == 64
    assert check_name(generate_name(3))
    assert check_name("/web-1.x_y") == "web-1.x_y"
    for bad in ("", "a", "-a", "a/b", "a b", "é1", "../x", "x" * 200, "a\n"):
        with pytest.raises(Invalid):
            check_name(bad)


def test_signals_have_dockers_spellings() -> None:
    assert [signal_number(text) for text in (9, "9", "KILL", "sigterm", "RTMIN+3")] == [9, 9, 9, 15, 37]
    for bad in ("0", "65", "SIGNOPE", "RTMIN+99", "-9"):
        with pytest.raises(Invalid):
            signal_number(bad)


def test_options_survive_json_and_keep_only_what_was_changed() -> None:
    options = ContainerOptions(
        name="x", mounts=[MountOption(source="/a", target="/b")], tmpfs=[TmpfsOption(target="/t")]
    )
    document = options.changed()
    assert document == {
        "name": "x",
        "mounts": [{"source": "/a", "target": "/b"}],
        "tmpfs": [{"target": "/t"}],
    }
    assert options_from({**document, "from_the_future": 1}).changed() == document
    with pytest.raises(TypeError):
        ContainerOptions(nonsense=1)


def test_dockers_seccomp_format_is_read_for_this_machine_and_these_capabilities(tmp_path: object) -> None:
    path = f"{tmp_path}/profile.json"
    rules = [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": None, "includes": {}, "excludes": {}},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390"]},
        },
        {"names": ["arm_only"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["no-such-machine"]}},
        {"name": "ptrace", "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
    ]
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": rules}, file)
    names = lambda **given: [  # noqa: E731 - short
        name
        for rule in spec_of(security_opt=[f"seccomp={path}"], **given)["linux"]["seccomp"]["syscalls"]
        for name in rule["names"]
    ]
    assert names() == ["read", "clone", "ptrace"]
    assert names(cap_add=["SYS_ADMIN"]) == ["read", "mount", "ptrace"]
