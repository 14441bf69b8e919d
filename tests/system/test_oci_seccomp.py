"""linux.seccomp from inside a container: what each action does, runc's verdicts on the same profiles, and agents."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ocibundle import USER, Runtime, made_runtime
from seccompagent import GO_ON, Agent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox-static"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64"),
]

GETPPID, PTRACE, SYNC, MKDIR, KCMP, SCHED_YIELD, SETHOSTNAME, NEVER = 110, 101, 162, 83, 312, 24, 170, 600
PROTO = errno.EPROTO


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("calls") / "calls"
    source = Path(__file__).parents[1] / "support/calls.c"
    subprocess.run(["cc", "-O1", "-static", "-Wall", "-Wextra", "-Werror", "-o", made, source], check=True)
    return made


@pytest.fixture(params=["root", "rootless"])
def oci(request: pytest.FixtureRequest, calls: Path) -> Iterator[Runtime]:
    with made_runtime(rootless=request.param == "rootless") as runtime:
        shutil.copy(calls, runtime.rootfs / "bin/calls")
        yield runtime


def rule(action: str, *names: str, errno_ret: int | None = None, args: Any = None) -> dict[str, Any]:
    found: dict[str, Any] = {"names": list(names), "action": f"SCMP_ACT_{action}"}
    if errno_ret is not None:
        found["errnoRet"] = errno_ret
    return found | ({"args": args} if args else {})


def compare(index: int, operator: str, value: int, second: int = 0) -> dict[str, Any]:
    return {"index": index, "op": f"SCMP_CMP_{operator}", "value": value, "valueTwo": second}


def profile(*rules: dict[str, Any], default: str = "ALLOW", **more: Any) -> dict[str, Any]:
    return {
        "defaultAction": f"SCMP_ACT_{default}",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": list(rules),
        **more,
    }


def verdicts(oci: Runtime, seccomp: dict[str, Any], *made: str) -> list[str]:
    oci.spec["linux"]["seccomp"] = seccomp
    found = oci.run("calls", *made)
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        (rule("ERRNO", "getppid"), str(errno.EPERM)),
        (rule("ERRNO", "getppid", errno_ret=PROTO), str(PROTO)),
        (rule("ERRNO", "getppid", errno_ret=0), "0"),
        (rule("KILL", "getppid"), "SIG31"),
        (rule("KILL_THREAD", "getppid"), "SIG31"),
        (rule("KILL_PROCESS", "getppid"), "SIG31"),
        (rule("TRAP", "getppid"), "TRAP"),
        (rule("TRACE", "getppid"), str(errno.ENOSYS)),  # nobody traces
        (rule("LOG", "getppid"), "0"),
        (rule("ALLOW", "getppid"), "0"),
    ],
    ids=lambda value: value["action"][9:] + str(value.get("errnoRet", "")) if isinstance(value, dict) else "",
)
def test_each_action_does_what_it_says(oci: Runtime, action: dict[str, Any], answer: str) -> None:
    assert verdicts(oci, profile(action), f"{GETPPID}", f"{SCHED_YIELD}") == [answer, "0"]


def test_filter_flags_are_accepted_and_unknown_ones_refused_by_name(oci: Runtime) -> None:
    names = ["TSYNC", "LOG", "SPEC_ALLOW"]
    found = profile(rule("LOG", "getppid"), flags=[f"SECCOMP_FILTER_FLAG_{name}" for name in names])
    assert verdicts(oci, found, f"{GETPPID}") == ["0"]
    for name, why in (("NEVER", "must be one of"), ("WAIT_KILLABLE_RECV", "SCMP_ACT_NOTIFY")):
        oci.spec["linux"]["seccomp"] = profile(flags=[f"SECCOMP_FILTER_FLAG_{name}"])
        refused = oci.run("true")
        assert refused.returncode == 1
        assert f"SECCOMP_FILTER_FLAG_{name}" in refused.stderr
        assert why in refused.stderr


def test_a_profile_without_no_new_privs_is_loaded_with_privilege(oci: Runtime) -> None:
    oci.spec["process"]["noNewPrivileges"] = False
    found = profile(rule("ERRNO", "getppid", errno_ret=PROTO))
    assert verdicts(oci, found, f"{GETPPID}") == [str(PROTO)]


PROFILES = {
    "errno": profile(rule("ERRNO", "getppid", "ptrace", "not_a_call", errno_ret=PROTO)),
    "values": profile(
        rule("ERRNO", "ptrace", errno_ret=PROTO, args=[compare(0, "EQ", 40), compare(1, "EQ", 41)]),
        rule("ERRNO", "kcmp", errno_ret=PROTO, args=[compare(2, "EQ", 40), compare(2, "EQ", 41)]),
        rule("ERRNO", "sethostname", errno_ret=PROTO, args=[compare(1, "MASKED_EQ", 0xF0, 0x50)]),
    ),
    "limits": profile(
        rule("ERRNO", "ptrace", errno_ret=PROTO, args=[compare(0, "GT", 50)]),
        rule("ERRNO", "kcmp", errno_ret=PROTO, args=[compare(2, "LE", 41)]),
        rule("ERRNO", "sethostname", errno_ret=PROTO, args=[compare(1, "NE", 1 << 33)]),
    ),
    "trap": profile(rule("TRAP", "ptrace"), rule("KILL_PROCESS", "kcmp"), rule("TRACE", "sethostname")),
}
TABLE = [
    f"{GETPPID}",
    f"{NEVER}",
    *(f"{PTRACE}:{first}:{second}" for first in (40, 50, 51, -1) for second in (41, 42)),
    *(f"{KCMP}:0:0:{value}:999:999" for value in (39, 40, 41, 42, 1 << 40)),
    *(f"{SETHOSTNAME}:0:{value}" for value in (0x50, 0x5F, 0x60, 1 << 33)),
]


@pytest.mark.skipif(not shutil.which("runc"), reason="needs runc")
@pytest.mark.parametrize("name", PROFILES)
def test_verdicts_are_those_of_runc(name: str, calls: Path) -> None:
    with made_runtime(rootless=False) as ours:
        shutil.copy(calls, ours.rootfs / "bin/calls")
        found = verdicts(ours, PROFILES[name], *TABLE)
        kinds = [one for one in ours.spec["linux"]["namespaces"] if one["type"] != "time"]
        ours.spec["linux"]["namespaces"] = kinds
        ours.spec["linux"]["cgroupsPath"] = f"/casemate-seccomp-{os.getpid()}"
        ours.save()
        runc = ["runc", "--root", str(ours.base / "runc"), "run", "theirs"]
        theirs = subprocess.run(
            runc, cwd=ours.bundle, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert theirs.returncode == 0, theirs.stderr
        assert found == theirs.stdout.split()


def test_a_killing_default_spares_newer_calls_as_runc_does(calls: Path) -> None:
    """Newer than every call named: ENOSYS, so that a C library falls back instead of dying."""
    names = "brk mmap munmap fork clone wait4 exit_group write writev rt_sigaction rt_sigprocmask arch_prctl execve"
    more = "set_tid_address set_robust_list rseq prlimit64 readlinkat mprotect getrandom newfstatat close rt_sigreturn faccessat2"
    found = profile(rule("ALLOW", *f"{names} {more}".split(), "uname", "readlink"), default="KILL_PROCESS")
    with made_runtime(rootless=False) as ours:
        shutil.copy(calls, ours.rootfs / "bin/calls")
        assert verdicts(ours, found, f"{NEVER}", f"{SYNC}") == [str(errno.ENOSYS), "SIG31"]


# ---- agents


@contextmanager
def agent(
    oci: Runtime, answer: Callable[[int, int, tuple[int, ...]], tuple[int, int, int]]
) -> Iterator[Agent]:
    made = Agent(oci.base / "agent", answer)
    try:
        yield made
        assert made.faults == []
    finally:
        made.close()
        (oci.base / "agent").unlink()


def asked(oci: Runtime, *names: str, **more: Any) -> dict[str, Any]:
    return profile(rule("NOTIFY", *names), listenerPath=str(oci.base / "agent"), **more)


def test_an_agent_gives_verdicts_and_knows_the_container(oci: Runtime) -> None:
    oci.spec["annotations"] = {"org.example.who": "me"}
    flag = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    with agent(oci, lambda _pid, call, _: (0, PROTO, 0) if call == MKDIR else (4711, 0, 0)) as made:
        found = verdicts(
            oci,
            asked(oci, "mkdir", "getppid", listenerMetadata="the metadata", flags=[flag]),
            f"{MKDIR}:+/x:0",
            f"{GETPPID}",
        )
    assert found == [str(PROTO), "0"]
    assert set(made.seen) == {MKDIR, GETPPID}
    (message,) = made.messages
    assert message["fds"] == ["seccompFd"]
    assert message["metadata"] == "the metadata"
    assert message["pid"] == message["state"]["pid"] > 1
    assert message["state"]["id"] == "c"
    assert message["state"]["status"] == "creating"
    assert message["state"]["bundle"] == str(oci.bundle)
    assert message["state"]["annotations"] == {"org.example.who": "me"}


def test_even_exec_can_wait_for_the_agent(oci: Runtime) -> None:
    """What enter itself calls after it has loaded the filter is asked as well, and answered."""
    everything = {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": str(oci.base / "agent")}
    with agent(oci, lambda *_: (0, 0, GO_ON)) as made:
        assert verdicts(oci, everything, f"{GETPPID}") == ["0"]
    assert 59 in made.seen


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_create_start_and_exec_hand_a_listener_over_each(oci: Runtime, no_new_privileges: bool) -> None:  # noqa: FBT001 - a parameter
    oci.spec["process"]["noNewPrivileges"] = no_new_privileges
    oci.spec["linux"]["seccomp"] = asked(oci, "getppid")
    with agent(oci, lambda *_: (0, PROTO, 0)) as made:
        oci.args("sleep", "60")
        assert oci("create", "c").returncode == 0
        assert oci("start", "c").returncode == 0
        found = oci("exec", "c", "calls", f"{GETPPID}")
        assert (found.returncode, found.stdout.split()) == (0, [str(PROTO)]), found.stderr
        oci("delete", "--force", "c")
    first, second = made.messages
    assert first["pid"] == first["state"]["pid"] == second["state"]["pid"] != second["pid"]
    assert second["state"]["status"] == "running"


def test_nobody_at_the_listener_path_is_refused_before_anything_is_made(oci: Runtime) -> None:
    oci.spec["linux"]["seccomp"] = asked(oci, "getppid")
    found = oci.run("true")
    assert found.returncode == 1
    assert "seccomp agent" in found.stderr
    assert str(oci.base / "agent") in found.stderr
    assert oci("list", "-q").stdout == ""


def test_an_agent_that_hangs_up_fails_the_start(oci: Runtime) -> None:
    path = oci.base / "agent"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        path.chmod(0o666)
        listening.listen()

        def take_and_close() -> None:
            listening.accept()[0].close()

        hang_up = threading.Thread(target=take_and_close)
        hang_up.start()
        oci.spec["linux"]["seccomp"] = asked(oci, "getppid")
        found = oci.run("sleep", "5")
        hang_up.join()
    assert found.returncode == 1
    assert "hand its listener to the agent" in found.stderr
    assert oci("list", "-q").stdout == ""


def test_a_filter_is_compiled_once_and_then_read(oci: Runtime) -> None:
    oci.spec["linux"]["seccomp"] = profile(rule("ERRNO", "getppid", errno_ret=PROTO))
    for _ in range(2):
        assert oci.run("true").returncode == 0
    (cached,) = (oci.base / "state/.seccomp").iterdir()
    about, above = cached.stat(), cached.parent.stat()
    assert about.st_uid == above.st_uid == (USER if oci.rootless else 0)
    assert (about.st_mode & 0o777, above.st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (profile(default="NOTHING"), "SCMP_ACT_NOTHING"),
        (profile(rule("ALLOW", "read", errno_ret=1)), "SCMP_ACT_ALLOW"),
        (profile(rule("NOTIFY", "read")), "listenerPath"),
        (profile(rule("KILL", "read", args=[compare(6, "EQ", 1)])), "index"),
        (profile(rule("KILL", "read", args=[compare(0, "IS", 1)])), "SCMP_CMP_IS"),
        (profile(architectures=["SCMP_ARCH_PDP11"]), "SCMP_ARCH_PDP11"),
    ],
)
def test_nonsense_is_refused_by_name_and_leaves_nothing(
    oci: Runtime, wrong: dict[str, Any], named: str
) -> None:
    oci.spec["linux"]["seccomp"] = wrong
    found = oci.run("true")
    assert found.returncode == 1
    assert named in found.stderr
    assert oci("list", "-q").stdout == ""
