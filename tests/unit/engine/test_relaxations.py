"""Every relaxation changes what its row says, and nothing else: the specification and the compiled filter are compared."""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from bpf import ALLOW, I386, KILL, answer, errno_of

from casemate.cli.usage import ValueProblem
from casemate.cli.values import relaxations
from casemate.cli.words.complete import candidates
from casemate.cli.words.relaxations import page
from casemate.engine.options import ContainerOptions
from casemate.engine.spec.build import Surroundings, build_spec
from casemate.engine.spec.confine import confinement
from casemate.engine.spec.relaxations import RELAXATIONS, families, words
from casemate.engine.spec.users import User
from casemate.errors import Invalid
from casemate.kernel.capabilities import all_mask, to_names
from casemate.kernel.userns import IdMap, IdRange
from casemate.runtime.default_profile import OTHER_FAMILIES, default_seccomp
from casemate.runtime.libseccomp import Library
from casemate.runtime.seccomp import compile_profile

PAGE = Path(__file__).parents[3] / "docs/relaxations.md"
ALL = to_names(all_mask())
RECORD = {
    "argv": ["true"],
    "env": [],
    "hostname": "box",
    "cwd": "/",
    "tty": False,
    "mounts": [],
    "cap_add": [],
}
SOCKET, IOCTL, CLONE, NETLINK = 41, 16, 56, 16
HIGHEST = 520
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
# Arguments that tell the rules of one call apart: namespaces, terminal requests, device nodes; families and protocols.
FEW = [(), (2,), (0x10000000 | 17,), (0x20000,), *((0, one) for one in (0x5412, 0x541C, 0o20666, 0o10666))]
SOCKETS = [(family, 2, 0) for family in range(46)] + [(NETLINK, 3, protocol) for protocol in (9, 12)]

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")


def wall_of(*relax: str) -> Any:
    return confinement(ContainerOptions(relax=list(relax)), all_capabilities=ALL)


def spec_of(*relax: str, uid: int = 1000) -> dict[str, Any]:
    whole = [IdRange(0, 0x40010000, 65536)]
    around = Surroundings(
        id_map=IdMap(whole, whole),
        is_rootless=False,
        all_capabilities=ALL,
        hard_limits={},
        stored_base=0x40000000,
    )
    record = RECORD | {"image": {"env": []}}
    user, wall = User(uid, uid), wall_of(*relax)
    return build_spec(record, ContainerOptions(), wall=wall, user=user, around=around, etc_mounts=())


def leaves(value: Any, path: str = "") -> dict[str, str]:
    """Paths of the specification, down to what a row may name, and what stands there."""
    if isinstance(value, dict) and path not in ("linux.seccomp", "linux.sysctl"):
        return {
            k: v for key, item in value.items() for k, v in leaves(item, f"{path}.{key}".lstrip(".")).items()
        }
    return {path: json.dumps(value)}


def verdicts(profile: dict[str, Any]) -> dict[tuple[int, tuple[int, ...]], int]:
    program = compile_profile(profile, cache_dir=None).program
    calls = [*product(range(HIGHEST), FEW), *product([SOCKET], SOCKETS)]
    return {(number, sample): answer(program, number, *sample) for number, sample in calls}


@pytest.fixture(scope="module")
def sealed() -> dict[tuple[int, tuple[int, ...]], int]:
    return verdicts(default_seccomp(wall_of().capabilities))


def one_word(name: str) -> str:
    return "family=vsock" if name == "family" else name


@pytest.mark.parametrize("name", RELAXATIONS)
def test_a_relaxation_changes_the_parts_of_the_specification_that_it_names(name: str) -> None:
    before, after = leaves(spec_of()), leaves(spec_of(one_word(name)))
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed == set(RELAXATIONS[name].changes)


@pytest.mark.parametrize("name", RELAXATIONS)
def test_a_relaxation_turns_off_the_switches_that_it_names(name: str) -> None:
    usual, wall = wall_of(), wall_of(one_word(name))
    off = {switch for switch in ("landlock", "mask_paths", "no_new_privileges") if not getattr(wall, switch)}
    assert all((usual.landlock, usual.mask_paths, usual.no_new_privileges))
    assert off == set(RELAXATIONS[name].switches)
    assert (wall.capabilities, wall.privileged, wall.own_user_namespace) == (usual.capabilities, False, True)
    assert wall.relaxed == (f"relax={one_word(name)}",)


DEBUG = "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"
NESTED = """
    chroot clone clone3 fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root setdomainname
    sethostname setns umount2 unshare
"""
OPENED = {
    "abi32": "get_thread_area set_thread_area",  # numbers that 64-bit programs have and get nothing by
    "debug": DEBUG,
    "family": "socket",
    "io_uring": "io_uring_enter io_uring_register io_uring_setup",
    "landlock": "",
    "nested": NESTED,
    "numa": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "socketcall": "get_thread_area set_thread_area",
    "suid": "",
    "systempaths": "",
    "tiocsti": "ioctl",
    "userfaultfd": "userfaultfd",
}


@pytest.mark.parametrize("name", RELAXATIONS)
def test_a_relaxation_opens_its_system_calls_and_no_others(
    name: str, sealed: dict[tuple[int, tuple[int, ...]], int]
) -> None:
    found = verdicts(spec_of(one_word(name))["linux"]["seccomp"])
    changed = {call for call, verdict in found.items() if verdict != sealed[call]}
    library = Library()
    assert {number for number, _ in changed} == {library.number(call) for call in OPENED[name].split()}
    assert {found[call] for call in changed} <= {ALLOW}  # nothing is refused in another way
    if name == "family":
        assert {sample[0] for _, sample in changed} == {OTHER_FAMILIES["VSOCK"]}
    if name == "tiocsti":
        assert {sample[1] for _, sample in changed} == {0x5412, 0x541C}


def test_32_bit_programs_are_killed_unless_they_were_asked_for() -> None:
    for name in RELAXATIONS:
        program = compile_profile(spec_of(one_word(name))["linux"]["seccomp"], cache_dir=None).program
        answers = {answer(program, number, architecture=I386) for number in range(HIGHEST)}
        x32 = {answer(program, 0x40000000 | number) for number in range(HIGHEST)}
        assert x32 == {KILL}
        assert (answers == {KILL}) == (name not in ("abi32", "socketcall")), name


def test_32_bit_programs_reach_no_family_by_the_call_that_hides_it() -> None:
    direct, hidden = 359, 102
    for names, verdict in ((("abi32",), errno_of(EPERM)), (("socketcall",), ALLOW)):
        program = compile_profile(spec_of(*names)["linux"]["seccomp"], cache_dir=None).program
        assert {answer(program, hidden, kind, architecture=I386) for kind in range(1, 21)} == {verdict}
        assert answer(program, direct, 1, 1, architecture=I386) == ALLOW
        assert answer(program, direct, 38, 5, architecture=I386) == errno_of(EAFNOSUPPORT)


@pytest.mark.parametrize("family", families())
def test_each_family_opens_itself(family: str, sealed: dict[tuple[int, tuple[int, ...]], int]) -> None:
    found = verdicts(default_seccomp(wall_of().capabilities, [f"family={family}"]))
    changed = {call for call, verdict in found.items() if verdict != sealed[call]}
    assert {(number, sample[0]) for number, sample in changed} == {(SOCKET, OTHER_FAMILIES[family.upper()])}


def test_an_added_cap_sys_admin_may_make_namespaces_but_no_user_namespace() -> None:
    wall = confinement(ContainerOptions(cap_add=["SYS_ADMIN"]), all_capabilities=ALL)
    whole = [IdRange(0, 0x40010000, 65536)]
    around = Surroundings(
        id_map=IdMap(whole, whole), is_rootless=False, all_capabilities=ALL, hard_limits={}, stored_base=0
    )
    options, record = ContainerOptions(), RECORD | {"image": {"env": []}}
    found = build_spec(record, options, wall=wall, user=User(0, 0), around=around, etc_mounts=())
    limits = {name: value for name, value in found["linux"]["sysctl"].items() if name.startswith("user.")}
    assert limits == {"user.max_user_namespaces": "0"}
    usual = [name for name in spec_of()["linux"]["sysctl"] if name.startswith("user.max_")]
    assert len(usual) == 8


def test_several_are_written_with_commas_and_without_regard_to_case() -> None:
    assert relaxations("Debug, family=VSOCK") == ["debug", "family=vsock"]


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("debgu", "did you mean debug?"),
        ("debug,sudi", "did you mean suid?"),
        ("family", "alg"),
        ("family=", "vsock"),
        ("family=inet7", "netlink"),
        ("help", "casemate relax"),
        ("everything", "casemate relax"),
        ("", "casemate relax"),
        ("debug=yes", "debug"),
    ],
)
def test_an_unknown_relaxation_is_refused_with_what_was_meant(text: str, fix: str) -> None:
    with pytest.raises(ValueProblem) as caught:
        relaxations(text)
    assert fix in caught.value.fix


@pytest.mark.parametrize("name", ["everything", "family", "family=", "debug=1", ""])
def test_the_engine_refuses_what_is_no_relaxation(name: str) -> None:
    with pytest.raises(Invalid, match="no such relaxation"):
        wall_of(name)


def test_the_page_is_made_from_the_table() -> None:
    """Written anew with CASEMATE_UPDATE_GOLDEN=1."""
    if os.environ.get("CASEMATE_UPDATE_GOLDEN"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page()


def test_shells_complete_relaxations() -> None:
    found = dict(candidates(["run", "--relax", ""]))
    assert sorted(found) == sorted(words())
    assert all(found.values())
    assert [word for word, _ in candidates(["relax", "io"])] == ["io_uring"]
    assert [word for word, _ in candidates(["run", "--relax", "debug,d"])] == []
    assert [word for word, _ in candidates(["create", "--relax=debug,su"])] == ["--relax=debug,suid"]
