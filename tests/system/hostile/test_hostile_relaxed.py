"""Each relaxation lets the thing work that was broken, and nothing else is different inside."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,  # the user's half becomes that user itself
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64"),
]

SUPPORT = Path(__file__).parents[2] / "support"
# name -> call for tests/support/calls.c; none of them does anything when it is allowed.
CALLS = {
    "ptrace": "101:0",
    "process_vm_readv": "310:-1",
    "kcmp": "312:0:0:99",
    "io_uring": "425:0:0",
    "mempolicy": "239",
    "userfaultfd": "323:1",
    "unshare": "272:0x10000000",
    "mount": "165",
    "chroot": "161",
    "setns": "308:-1",
    "tiocsti": "16:0:0x5412",
    "tioclinux": "16:0:0x541c",
    "packet": "41:17:3",
    "alg": "41:38:5",
    "vsock": "41:40:1",
    "netfilter": "41:16:3:12",
    "keyctl": "250:-1",
    "bpf": "321:-1",
    "perf": "298",
    "module": "313:-1",
    "clone3": "435",
    "unknown": "600",
    "mknod": "133:+/tmp/node:0o20666:259",
}
SCRIPT = f"""
calls {" ".join(CALLS.values())}
echo suid $(suid 105:0)
echo i386 $(calls32 2>/dev/null)
grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status
echo limits $(cat /proc/sys/user/max_*_namespaces)
while read _ _ _ _ place options _; do echo "at $place ${{options%%,relatime*}}"; done < /proc/self/mountinfo
"""
# What is different inside, by relaxation; "at PATH" are mounts.
CHANGED = {
    "abi32": {"i386"},
    "debug": {"ptrace", "process_vm_readv", "kcmp"},
    "family=packet": {"packet"},
    "family=vsock": {"vsock"},
    "family=netlink": {"netfilter"},
    "io_uring": {"io_uring"},
    "landlock": set(),
    "nested": {"unshare", "mount", "chroot", "setns", "clone3", "limits"},
    "numa": {"mempolicy"},
    "socketcall": {"i386"},
    "suid": {"suid", "NoNewPrivs", "CapBnd", "at /"},
    "tiocsti": {"tiocsti", "tioclinux"},
    "userfaultfd": {"userfaultfd"},
}


def compiled(directory: Path, name: str, *options: str) -> bytes:
    made = directory / name
    command = ["cc", "-O1", "-static", "-Wall", "-Wextra", *options, "-o", made, SUPPORT / f"{name}.c"]
    subprocess.run(command, check=True)
    return made.read_bytes()


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    directory = tmp_path_factory.mktemp("programs")
    calls = compiled(directory, "calls")
    bare = ("-m32", "-nostdlib", "-ffreestanding", "-fno-pic", "-no-pie", "-fno-stack-protector")
    return {"bin/calls": calls, "bin/suid": calls, "bin/calls32": compiled(directory, "calls32", *bare)}


@pytest.fixture
def attacker(
    box: Any, programs: dict[str, bytes], busybox_layer: bytes, make_layer: Callable[..., bytes]
) -> Any:
    if "relaxed" not in box.fine("images"):
        members = {**programs, "bin/unshare": "busybox"}
        modes = {name: 0o4755 if name == "bin/suid" else 0o755 for name in programs}
        assert box.load("relaxed", [busybox_layer, make_layer(members, modes=modes)]).code == 0
    return box


def dump(box: Any, *flags: str) -> dict[str, str]:
    """What a user of the image finds inside."""
    first, *rest = box.fine("run", "--rm", "-u", "user", *flags, "relaxed", "sh", "-c", SCRIPT).splitlines()
    found = dict(zip(CALLS, first.split(), strict=True))
    for line in rest:
        words = line.split()
        key = " ".join(words[:2]) if words[0] == "at" else words[0].rstrip(":")
        found[key] = " ".join(words[2 if words[0] == "at" else 1 :])
    return found


@pytest.fixture
def usual(attacker: Any) -> dict[str, str]:
    if not hasattr(attacker, "usual_dump"):
        attacker.usual_dump = dump(attacker)
    return attacker.usual_dump


@pytest.mark.parametrize("name", CHANGED)
def test_a_relaxation_changes_what_it_names_inside_and_nothing_else(
    attacker: Any, usual: dict[str, str], name: str
) -> None:
    found = dump(attacker, "--relax", name)
    assert {key for key in usual.keys() | found.keys() if usual.get(key) != found.get(key)} == CHANGED[name]


def test_whole_kernel_paths_are_unmasked_and_nothing_else(attacker: Any, usual: dict[str, str]) -> None:
    found = dump(attacker, "--relax", "systempaths")
    changed = {key for key in usual.keys() | found.keys() if usual.get(key) != found.get(key)}
    assert changed
    assert all(key.startswith(("at /proc/", "at /sys/")) for key in changed), changed
    assert not [key for key in found if key.startswith("at /proc/")]
    assert {key for key in found if key.startswith("at /sys/")} == {
        key for key in usual if key.startswith("at /sys/fs/cgroup")
    }


def test_32_bit_programs_live_and_get_the_sockets_of_the_others(attacker: Any, usual: dict[str, str]) -> None:
    assert usual["i386"] == ""
    assert dump(attacker, "--relax", "abi32")["i386"] == "unix=0 alg=97 called-unix=1 called-alg=1"
    assert dump(attacker, "--relax", "socketcall")["i386"] == "unix=0 alg=97 called-unix=0 called-alg=0"


def test_a_set_user_id_program_makes_root_of_the_container_and_of_nothing_else(
    attacker: Any, usual: dict[str, str]
) -> None:
    found = dump(attacker, "--relax", "suid")
    assert (usual["suid"], found["suid"]) == ("1", "0")
    assert int(found["CapBnd"], 16) == 0x4FB
    assert found["CapEff"] == usual["CapEff"] == "0" * 16
    script = "suid 105:0 41:17:3 155 321:-1"  # setuid; packet socket, pivot_root and bpf stay forbidden
    assert attacker.fine(
        "run", "--rm", "-u", "user", "--relax", "suid", "relaxed", "sh", "-c", script
    ).split() == [*("0", "97", "1", "1")]


def test_a_debugger_reaches_the_program_from_exec_only_when_allowed(attacker: Any) -> None:
    seize, own = "101:0x4206:1", []
    for flags in ((), ("--relax", "debug")):
        name = attacker.fine("run", "-d", *flags, "relaxed", "sleep", "600").strip()
        own.append(attacker.fine("exec", name, "calls", seize).strip())
        attacker.fine("rm", "-f", name)
    assert own == ["1", "0"]


def test_nested_namespaces_can_be_made_and_mounted_in_only_when_allowed(attacker: Any) -> None:
    script = "unshare -Urm sh -c 'id -u; mount -t tmpfs none /tmp && echo mounted'"
    words = ("run", "--rm", "-u", "user")
    assert attacker(*words, "relaxed", "sh", "-c", script).out == ""
    assert attacker.fine(*words, "--relax", "nested", "relaxed", "sh", "-c", script).split() == [
        "0",
        "mounted",
    ]


def test_landlock_is_the_second_lock_on_mounts(attacker: Any) -> None:
    words = ("run", "--rm", "--cap-add", "SYS_ADMIN")
    mount = ("relaxed", "mount", "-t", "tmpfs", "none", "/tmp")
    assert attacker(*words, *mount).code != 0
    assert attacker(*words, "--relax", "suid", *mount).code != 0  # Landlock stays without no_new_privs
    attacker.fine(*words, "--relax", "landlock", *mount)


def test_relaxations_are_recorded_and_shown_and_dockers_fields_are_as_ever(attacker: Any) -> None:
    name = attacker.fine(
        "create", "--relax", "Debug,family=VSOCK", "--relax", "suid", "relaxed", "true"
    ).strip()
    plain = attacker.fine("create", "relaxed", "true").strip()
    shown = attacker.fine("inspect", "-f", "{{json .Casemate.Relaxations}}", name).strip()
    assert shown == '["relax=debug","relax=family=vsock","relax=suid"]'
    for field in ("SecurityOpt", "Privileged", "CapAdd", "CapDrop"):
        one, other = (
            attacker.fine("inspect", "-f", f"{{{{json .HostConfig.{field}}}}}", which)
            for which in (name, plain)
        )
        assert one == other, field
    assert "debug" not in attacker.fine("ps", "-a", "--no-trunc")
    attacker.fine("rm", name, plain)


def test_an_unknown_relaxation_says_what_was_meant_and_makes_nothing(attacker: Any) -> None:
    before = attacker.fine("ps", "-aq")
    assert "did you mean debug?" in attacker.refused("run", "--relax", "suid,debgu", "relaxed", "true")
    assert "casemate relax" in attacker.refused("create", "--relax", "help", "relaxed", "true")
    assert attacker.fine("ps", "-aq") == before


def test_the_list_explains_every_relaxation(attacker: Any) -> None:
    lines = attacker.fine("relax").splitlines()
    assert {line.split()[0].partition("=")[0] for line in lines[1:]} >= {
        name.partition("=")[0] for name in CHANGED
    }
    assert attacker.fine("relax", "-f", "{{.Name}}: {{.GivesAway}}", "suid").startswith("suid: a user inside")
    assert "did you mean suid?" in attacker("relax", "siud").err
