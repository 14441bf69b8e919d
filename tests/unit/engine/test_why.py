"""Each kind of refusal becomes the sentence, the rule and the advice that fit it."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from casemate.cli.show.reasons import lines_of
from casemate.engine.options import ContainerOptions
from casemate.engine.spec.confine import confinement
from casemate.engine.spec.relaxations import RELAXATIONS
from casemate.engine.why import prices
from casemate.engine.why.calls import _CALLS, capability_for
from casemate.engine.why.denied import because_of_rule
from casemate.engine.why.ending import because_of_end, because_of_limits, last_words
from casemate.engine.why.filtered import because_of_filter, ways_through
from casemate.engine.why.finding import RULES
from casemate.engine.why.scene import Scene, below
from casemate.kernel.capabilities import BITS, all_mask, to_mask, to_names
from casemate.oci.quick_json import dumps
from casemate.runtime.default_profile import ROOT_CAPABILITIES, default_seccomp
from casemate.runtime.default_syscalls import GRANTED_BY

HEAD = {
    "masked": ["/proc/kcore"],
    "readonly": ["/proc/sys"],
    "root_readonly": False,
    "mounts": [
        {"destination": "/proc", "options": ["nosuid"]},
        {"destination": "/dev/shm", "options": ["noexec"]},
        {"destination": "/data", "options": ["ro"]},
    ],
}


def scene(**options: Any) -> Scene:
    record = {"options": ContainerOptions(**options).changed(), "mounts": [{"target": "/data"}], "notes": []}
    return Scene(SimpleNamespace(config=dumps(record)), HEAD)  # type: ignore[arg-type]


def entry(call: str, number: int, *paths: str, caps: int | None = None, **more: Any) -> dict[str, Any]:
    held = to_mask(ROOT_CAPABILITIES) if caps is None else caps
    base = {"call": call, "errno": number, "paths": list(paths), "args": ["0"] * 6, "shown": [], "comm": "x"}
    return {**base, "caps": held, **more}


@pytest.mark.parametrize(
    ("failed", "rule", "words"),
    [
        (entry("openat", errno.EROFS, "/proc/sys/kernel/x"), "read-only", "/proc/sys is read-only"),
        (entry("openat", errno.EROFS, "/proc/kcore"), "masked", "/proc/kcore is masked"),
        (entry("mkdir", errno.EROFS, "/data/x"), "read-only", "/data was mounted read-only by -v"),
        (entry("execve", errno.EACCES, "/dev/shm/x"), "noexec", "nothing is executed from /dev/shm"),
        (entry("openat", errno.EPERM, "/dev/kvm"), "device", "not given this device"),
        (entry("openat", errno.EACCES, "/root/x", caps=0), "permissions", "owner and mode"),
        (entry("setuid", errno.EPERM, caps=0), "capability", "does not have CAP_SETUID"),
        (entry("setuid", errno.EPERM), "user-namespace", "only over what belongs to its own user namespace"),
        (entry("sched_setscheduler", errno.EPERM), "user-namespace", "CAP_SYS_NICE of the host's own root"),
        (entry("clone", errno.EAGAIN), "pids", "2048 processes"),
        (entry("unshare", errno.ENOSPC), "capability", "user.max_user_namespaces=0"),
        (entry("openat", errno.ENFILE), "kernel", "the host itself"),
        (entry("mlock", errno.ENOMEM), "ulimit", "RLIMIT_MEMLOCK"),
        (entry("statx", errno.ENOSYS), "kernel", "this kernel does not have it"),
        (entry("connect", errno.ENETUNREACH), "network", "no network"),
        (entry("mknod", errno.EACCES, "/x"), "landlock", "makes no device nodes"),
        (entry("umount2", errno.EPERM, "/x", caps=all_mask()), "landlock", "changes no mounts"),
    ],
)
def test_a_failure_is_laid_to_its_rule(failed: dict[str, Any], rule: str, words: str) -> None:
    finding = because_of_rule(failed, scene(), "it")
    assert finding is not None
    assert (finding.rule, words in finding.what) == (rule, True), finding.what
    assert finding.rule in RULES


def test_what_no_rule_can_cause_is_not_told() -> None:
    assert because_of_rule(entry("openat", errno.ENOENT, "/x"), scene(), "it") is None
    assert because_of_rule(entry("connect", errno.ENETUNREACH), scene(network="host"), "it") is None


def test_every_capability_that_opens_the_filter_is_found_by_trying() -> None:
    for capability, calls in GRANTED_BY.items():
        for call in calls:
            found = " ".join(option for option, _ in ways_through(scene(), call, [0] * 6))
            short = capability.removeprefix("CAP_")
            wanted = capability_for(call, ["0"] * 6, ()) or capability
            host_only = capability in prices.HOST_ONLY
            assert host_only or wanted != capability or f"--cap-add {short}" in found, (capability, call)


def test_a_relaxation_is_advised_only_where_it_lets_the_call_pass() -> None:
    ways = dict(ways_through(scene(), "ptrace", [0] * 6))
    assert "--relax debug" in ways
    assert "--relax io_uring" not in ways
    assert "--relax family=packet" in dict(ways_through(scene(), "socket", [17, 3, 0, 0, 0, 0]))
    assert [option for option, _ in ways_through(scene(), "mount", [0] * 6)] == [
        "--cap-add SYS_ADMIN --relax landlock"
    ]
    assert dict(ways_through(scene(), "ioctl", [0, 0x5412, 0, 0, 0, 0])).keys() == {"--relax tiocsti"}
    for name in RELAXATIONS:
        default_seccomp(ROOT_CAPABILITIES, ("family=packet" if name == "family" else name,))


def test_what_the_container_has_already_is_not_advised() -> None:
    ways = dict(ways_through(scene(cap_add=["SYS_CHROOT"]), "chroot", [0] * 6))
    assert ways == {}


def test_a_refusal_that_programs_expect_is_marked() -> None:
    usual = because_of_filter(entry("clone3", errno.ENOSYS), scene(), said="clone3()", error="ENOSYS")
    assert usual.usual
    assert not because_of_filter(entry("mount", errno.EPERM), scene(), said="mount()", error="EPERM").usual


def test_capabilities_of_the_tables_exist_and_have_a_price() -> None:
    assert set(_CALLS) <= set(BITS)
    assert set(prices.CAPABILITIES) <= set(BITS)
    assert set(prices.HOST_ONLY) <= set(BITS)
    assert set(GRANTED_BY) <= set(prices.CAPABILITIES)
    assert set(_CALLS) <= set(prices.CAPABILITIES)


def test_raw_sockets_and_low_ports_ask_for_their_capability() -> None:
    assert capability_for("socket", ["2", str(3 | 0o2000000), "1"], ["2", "3", "1"]) == "CAP_NET_RAW"
    assert capability_for("socket", ["2", "1", "0"], []) == ""
    assert capability_for("bind", [], ["socket:[1]", "inet 0.0.0.0:80"]) == "CAP_NET_BIND_SERVICE"
    assert capability_for("bind", [], ["socket:[1]", "inet 0.0.0.0:8080"]) == ""
    assert capability_for("bind", [], ["socket:[1]", "unix /run/80"]) == ""


@pytest.mark.parametrize(
    ("code", "rule"), [(139, "program"), (137, "signal"), (159, "seccomp"), (153, "ulimit"), (127, "program")]
)
def test_an_exit_code_tells_what_it_can(code: int, rule: str) -> None:
    finding = because_of_end(scene(), code, oom=False, explained=False)
    assert finding is not None
    assert finding.rule == rule


def test_an_exit_code_tells_nothing_twice() -> None:
    assert because_of_end(scene(), 137, oom=True, explained=False) is None
    assert because_of_end(scene(), 159, oom=False, explained=True) is None
    assert because_of_end(scene(), 1, oom=False, explained=False) is None


def test_limits_that_were_hit_are_counted() -> None:
    found = because_of_limits(scene(memory_bytes=64 << 20, pids_limit=7), {"oom_kill": 2, "pids_max": 3})
    assert [(finding.rule, count) for finding, count in found] == [("memory", 2), ("pids", 3)]
    assert "64 MiB (--memory)" in found[0][0].what
    assert because_of_limits(scene(), {"oom_kill": 0, "pids_max": 0}) == []


def test_only_lines_that_sound_like_a_refusal_are_quoted_and_made_plain() -> None:
    lines = [b"starting", b"\x1b[31mmount: Operation not permitted", b"bye"]
    assert last_words(lines) == ["?[31mmount: Operation not permitted"]


def test_below_knows_a_directory_from_a_longer_name() -> None:
    assert below("/proc/sys/x", "/proc/sys")
    assert below("/proc/sys", "/proc/sys")
    assert not below("/proc/sysvipc", "/proc/sys")
    assert below("/x", "/")


def test_the_explanation_in_words_counts_times_and_hides_the_usual() -> None:
    seen = {
        "Program": "x",
        "First": "2026-11-22T01:02:03.5Z",
        "Last": "2026-11-22T01:02:09.5Z",
        "Errno": "EPERM",
    }
    wall = confinement(ContainerOptions(), all_capabilities=to_names(all_mask()))
    assert wall.landlock
    finding = because_of_filter(entry("mount", 1), scene(), said="mount(x)", error="EPERM")
    usual = because_of_filter(entry("clone3", 38), scene(), said="clone3()", error="ENOSYS")
    document = {
        "Name": "web", "State": "exited", "ExitCode": 1, "FinishedAt": "2026-11-22T01:02:10Z", "Said": [], "Notes": ["n"],
        "Findings": [finding.document(Count=2, Call="mount(x)", **seen), usual.document(Count=1, Call="c", **seen)],
    }  # fmt: skip
    lines = lines_of(document, everything=False)
    assert lines[0] == "web: exited with code 1 at 01:02:10 UTC"
    assert lines[1] == "  1. the system call filter answers EPERM to mount(x)"
    assert lines[2] == "     twice, from 01:02:03 to 01:02:09 UTC"
    assert "--cap-add SYS_ADMIN --relax landlock" in lines[3]
    assert "gives away" in lines[4]
    assert "1 usual answer" in lines[5]
    assert lines[-1] == "  note: n"
    assert any("clone3" in line for line in lines_of(document, everything=True))
