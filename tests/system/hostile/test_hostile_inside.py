"""What a hostile program finds when it is inside: measured from there by a static probe, as root and as a user of the image."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root]  # the user's half becomes that user itself

EIGHT = 0x4FB  # CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID NET_BIND_SERVICE
EPERM, ENOSYS, SIGSYS = 1, 38, 31
X86 = os.uname().machine == "x86_64"


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    made = str(tmp_path_factory.mktemp("probe") / "probe")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "probe.c")
    subprocess.run(["cc", "-O1", "-static", "-Wall", "-Wextra", "-Werror", "-o", made, source], check=True)
    with open(made, "rb") as file:
        return file.read()


@pytest.fixture
def attacker(box: Any, probe: bytes, busybox_layer: bytes, make_layer: Callable[..., bytes]) -> Any:
    """The command, with an image that has the probe: plain, set-user-id root, and set-group-id."""
    if "probe" not in box.fine("images"):
        members = dict.fromkeys(("bin/probe", "bin/suid", "bin/sgid"), probe)
        modes = {"bin/probe": 0o755, "bin/suid": 0o4755, "bin/sgid": 0o2755}
        assert box.load("probe", [busybox_layer, make_layer(members, modes=modes)]).code == 0
    return box


def facts(text: str) -> dict[str, str]:
    """The lines "name: value" of the probe."""
    return {
        name: value.strip()
        for name, colon, value in (line.partition(":") for line in text.splitlines())
        if colon
    }


def capability_sets(found: dict[str, str]) -> list[int]:
    """Inheritable, permitted, effective, bounding, ambient."""
    return [int(found[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")]


@pytest.fixture
def running(attacker: Any) -> Iterator[str]:
    name = attacker.fine("run", "-d", "probe", "sleep", "600").strip()
    yield name
    attacker.fine("rm", "-f", "-v", name)


def test_run_and_exec_give_the_documented_sets_and_nothing_else(attacker: Any, running: str) -> None:
    for user, kept in (("0", EIGHT), ("user", 0), ("1234:0", 0), ("0:1234", EIGHT)):
        first = facts(attacker.fine("run", "--rm", "-u", user, "probe", "probe"))
        second = facts(attacker.fine("exec", "-u", user, running, "probe"))
        assert first == second
        assert capability_sets(first) == [0, kept, kept, kept, 0]
        assert (first["NoNewPrivs"], first["Seccomp"], first["SecureBits"]) == ("1", "2", "0")
        assert first["rlimit-4"] == "0 0"  # RLIMIT_CORE


def test_a_set_user_id_program_gains_nothing(attacker: Any, running: str) -> None:
    for program in ("suid", "sgid"):
        for words in (("run", "--rm", "-u", "user", "probe"), ("exec", "-u", "user", running)):
            found = facts(attacker.fine(*words, program))
            assert capability_sets(found) == [0, 0, 0, 0, 0]
            assert found["euid"] == "1000"
            assert set(found["Gid"].split()) == {"1000"}


def test_a_set_user_id_program_that_is_made_inside_is_worth_nothing_outside(root_box: Any) -> None:
    """On disk it belongs to an id that nobody of the host has, and nobody of the host can reach it."""
    name = root_box.fine("run", "-d", "-v", "planted:/v", "busybox", "sleep", "60").strip()
    root_box.fine(
        "exec", name, "sh", "-c", "cp /bin/busybox /v/sh; chmod 4755 /v/sh; cp /v/sh /sh; chmod 4755 /sh"
    )
    owners = {
        os.stat(os.path.join(base, file)).st_uid
        for base, _, files in os.walk(root_box.root)
        for file in files
        if os.lstat(os.path.join(base, file)).st_mode & 0o4000
    }
    reachable = subprocess.run(
        [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "find",
            root_box.root,
            "-mindepth",
            "1",
        ],
        capture_output=True,
        check=False,
    )
    root_box.fine("rm", "-f", name)
    assert owners, "the programs were not found"
    assert all(owner >= 1 << 20 for owner in owners), "a set-user-id file belongs to somebody of the host"
    assert reachable.stdout == b"", "an ordinary user can look into the store"


REFUSED = """
    mount umount2 pivot_root chroot fsopen fsconfig fsmount open_tree move_mount mount_setattr setns ptrace
    process_vm_readv process_vm_writev bpf perf_event_open keyctl add_key request_key io_uring_setup io_uring_enter
    io_uring_register userfaultfd init_module finit_module delete_module kexec_load reboot swapon acct quotactl syslog
    settimeofday clock_settime name_to_handle_at open_by_handle_at fanotify_init vmsplice move_pages mbind kcmp
    pidfd_getfd sethostname setdomainname vhangup unshare-user unshare-mount unshare-user-high
    mknod-char mknod-block mknod-whiteout mknod-char-high
    tiocsti tiocsti-high tiocsti-negative tioclinux tioclinux-high
""".split()  # noqa: SIM905 - a list of words
REFUSED_X86 = """
    clone-newuser clone-newns clone-newpid clone-newnet clone-newipc clone-newuts clone-newcgroup clone-newuser-high
    modify_ldt iopl ioperm
""".split()  # noqa: SIM905 - a list of words


def test_every_forbidden_call_has_its_documented_error(attacker: Any, running: str) -> None:
    expected = dict.fromkeys(REFUSED + (REFUSED_X86 if X86 else []), EPERM)
    expected |= dict.fromkeys(("unknown", "clone3", "personality-read-implies-exec"), ENOSYS)
    expected |= {"mknod-fifo": 0, "mknod-file": 0}
    for words in (("run", "--rm", "probe"), ("exec", running), ("exec", "-u", "user", running)):
        found = {}
        for part in ("calls", "nodes", "terminal"):
            for line in attacker.fine(*words, "probe", part).splitlines():
                name, result, error = line.split()
                found[name] = int(error) if result != "signal" else f"signal {error}"
        attacker("exec", running, "sh", "-c", "rm -f /tmp/node-*")
        assert {name: found.get(name) for name in expected} == expected
        if X86:
            assert found["x32-getpid"] == f"signal {SIGSYS}"
            assert attacker.fine(*words, "probe", "abi32").strip() == f"int80 signal {SIGSYS}"


def test_sockets_are_of_four_families_and_harmless_kinds(attacker: Any, running: str) -> None:
    for words in (("run", "--rm", "probe"), ("exec", running)):
        found = attacker.fine(*words, "probe", "sockets").splitlines()
        made = {tuple(map(int, line.split()[1:])) for line in found if line.startswith("socket ")}
        assert {family for family, _, _ in made} == {1, 2, 10, 16}
        assert {protocol for family, _, protocol in made if family == 16} == {0, 15}
        assert not [one for one in made if one[0] in {2, 10} and one[1] == 3], "a raw socket"
        assert [line for line in found if not line.startswith("socket ")] == ["socketpair 1"]


READABLE = re.compile(
    r"/proc/(1|sys|irq|bus/(pci|input)|fs/(ext4|xfs|jbd2)|tty|sysvipc|pressure)/"
    r"|/proc/(dma|misc|stat|locks|swaps|crypto|uptime|vmstat|cgroups|cmdline|cpuinfo|devices|loadavg|meminfo|version"
    r"|version_signature|consoles|zoneinfo|buddyinfo|diskstats|partitions|execdomains|filesystems|mdstat|mtrr|fb|schedstat"
    r"|bootconfig|sysrq-trigger)$"
    r"|/sys/(devices|bus|class|power|hypervisor)/|/sys/fs/(cgroup|ext4|btrfs|erofs|xfs|fuse|f2fs|selinux|smackfs)/"
    r"|/sys/kernel/(mm|reboot|cgroup|btf|software_nodes|iommu_groups|livepatch)/"
    r"|/sys/kernel/(warn_count|uevent_seqnum|softlockup_count|rcu_\w+|profiling|oops_count|hardlockup_count|fscaps"
    r"|cpu_byteorder|address_bits|kexec_\w+|sched_\w+|crash_elfcorehdr_size)$"
    r"|/sys/kernel/kexec/"
)
NEVER = re.compile(
    r"/sys/devices/(virtual/(dmi|powercap)|system/cpu/cpu\d+/thermal_throttle)/|/proc/fs/nfsd/"
)
WRITABLE = re.compile(r"/proc/1/|/dev/(null|zero|full|random|urandom|tty|pts/ptmx)$")


def test_kernel_files_are_readable_only_on_purpose_and_never_writable(attacker: Any) -> None:
    """A file that a new kernel adds below /proc and /sys, and that a container can read, fails here and is judged."""
    for user in ("0", "user"):
        lines = [
            line
            for top in ("/proc", "/sys", "/dev")
            for line in attacker.fine("run", "--rm", "-u", user, "probe", "probe", "crawl", top).splitlines()
        ]
        read = {line[2:] for line in lines if line[0] == "r"}
        written = {line[2:] for line in lines if line[0] == "w"}
        assert len(read) > 100
        assert not [
            path for path in read if not (READABLE.match(path) or WRITABLE.match(path)) or NEVER.match(path)
        ]
        masks = set(
            attacker.fine(
                "run", "--rm", "probe", "sh", "-c", "find /proc /sys/kernel -maxdepth 1 -type c"
            ).split()
        )
        assert not [path for path in written - masks if not WRITABLE.match(path)]


def test_what_opens_for_writing_below_proc_cannot_change_the_host(attacker: Any) -> None:
    tries = (
        *(
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/modprobe",
            "/proc/sysrq-trigger",
            "/proc/pressure/cpu",
        ),
        *(
            "/proc/sys/vm/drop_caches",
            "/proc/irq/default_smp_affinity",
            "/sys/kernel/mm/ksm/run",
            "/sys/power/state",
        ),
        *(
            "/proc/1/uid_map",
            "/proc/1/gid_map",
            "/proc/1/setgroups",
            "/proc/1/attr/current",
            "/sys/fs/cgroup/memory/release_agent",
        ),
    )
    core = _core_pattern()
    for path in tries:
        answer = attacker("run", "--rm", "probe", "sh", "-c", f"echo 0 > {path}")
        assert answer.code, path
    lower = attacker(
        "run", "--rm", "probe", "sh", "-c", "echo -1000 > /proc/1/oom_score_adj; cat /proc/1/oom_score_adj"
    )
    assert int(lower.out.split()[-1]) >= 0
    assert _core_pattern() == core


def _core_pattern() -> str:
    with open("/proc/sys/kernel/core_pattern", encoding="ascii") as file:
        return file.read()


def test_device_nodes_are_the_documented_ones(attacker: Any, running: str) -> None:
    nodes = ["full", "null", "ptmx", "random", "tty", "urandom", "zero"]
    extra = ["fd", "mqueue", "pts", "shm", "stderr", "stdin", "stdout"]
    for words in (("run", "--rm", "probe"), ("exec", running)):
        assert sorted(attacker.fine(*words, "ls", "/dev").split()) == sorted(nodes + extra)
        assert attacker.fine(*words, "sh", "-c", "find /dev -type b").split() == []
        devices = attacker.fine(*words, "sh", "-c", "find /dev -type c -maxdepth 1").split()
        assert sorted(devices) == [f"/dev/{name}" for name in nodes if name != "ptmx"]


def test_no_control_group_file_can_be_written(attacker: Any, running: str) -> None:
    script = "for f in $(find /sys/fs/cgroup -type f); do (echo 0 >> $f) 2>/dev/null && echo $f; done; mkdir /sys/fs/cgroup/x"
    for words in (("run", "--rm", "probe"), ("exec", running)):
        assert attacker(*words, "sh", "-c", script).out == ""


def test_only_three_descriptors_reach_the_program_however_many_the_caller_leaks(
    attacker: Any, running: str
) -> None:
    leaked = [os.open("/etc/shadow", os.O_RDONLY) for _ in range(20)]
    try:
        for fd in leaked:
            os.set_inheritable(fd, True)  # noqa: FBT003 - the leak
        for words in (("run", "--rm", "probe"), ("exec", running), ("run", "--rm", "-i", "probe")):
            answer = attacker(*words, "probe", "descriptors", pass_fds=leaked)
            numbers = [int(line.split()[0]) for line in answer.out.splitlines()]
            assert numbers == [0, 1, 2], answer
            assert "shadow" not in answer.out
    finally:
        for fd in leaked:
            os.close(fd)


def test_two_containers_share_no_id_no_file_and_no_signal(root_box: Any) -> None:
    box = root_box
    names = [box.fine("run", "-d", "-v", "common:/v", "busybox", "sleep", "600").strip() for _ in range(2)]
    bases = []
    for name in names:
        _, host, count = map(int, box.fine("exec", name, "cat", "/proc/self/uid_map").split())
        bases.append((host, count))
    (low, size), (high, _) = sorted(bases)
    assert low + size <= high
    assert box.fine("exec", names[0], "ps").count("sleep 600") == 1
    box.fine(
        "exec",
        names[0],
        "sh",
        "-c",
        "echo secret > /tmp/own; chmod 600 /tmp/own; ln -s /tmp/own /v/link; ln -s /proc/1/root /v/root",
    )
    answers = [
        box("exec", names[1], "cat", "/v/link"),
        box("exec", names[1], "cat", "/v/root/tmp/own"),
        box("exec", names[1], "sh", "-c", "find / -name own -xdev"),
    ]
    box.fine("rm", "-f", *names)
    assert all("secret" not in answer.out and "/own" not in answer.out for answer in answers)


def test_no_process_outside_can_be_signalled(attacker: Any, running: str) -> None:
    assert attacker.fine("run", "--rm", "probe", "probe", "signals").strip() == "reached 0"
    assert (
        attacker.fine("run", "--rm", "--network", "host", "probe", "probe", "signals").strip() == "reached 0"
    )
    assert attacker.fine("exec", running, "probe", "signals").strip() == "reached 1"


def test_abstract_sockets_of_the_host_are_out_of_reach(attacker: Any) -> None:
    name = f"casemate-test-{os.getpid()}"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(f"\0{name}")
        server.listen()
        for network in ("none", "host"):
            answer = attacker.fine("run", "--rm", "--network", network, "probe", "probe", "abstract", name)
            assert answer.split()[:2] == ["connect", "-1"], network


RELAXED: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--cap-add", "NET_RAW"), {"CapPrm": EIGHT | 1 << 13, "Seccomp": "2", "NoNewPrivs": "1"}),
    (("--cap-drop", "ALL"), {"CapPrm": 0, "Seccomp": "2", "NoNewPrivs": "1"}),
    (("--security-opt", "seccomp=unconfined"), {"CapPrm": EIGHT, "Seccomp": "0", "NoNewPrivs": "1"}),
    (("--userns", "host"), {"CapPrm": EIGHT, "Seccomp": "2", "NoNewPrivs": "1"}),
)


@pytest.mark.parametrize(
    ("flags", "expected"), RELAXED, ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_a_relaxation_changes_what_it_names_and_is_shown(
    root_box: Any, attacker: Any, flags: tuple[str, ...], expected: dict[str, Any]
) -> None:
    box = attacker
    name = box.fine("create", *flags, "probe", "probe").strip()
    shown = box.fine("inspect", name)
    started = box("start", "-a", name)
    box.fine("rm", "-f", name)
    if "--userns" in flags and box is not root_box:
        return  # an ordinary user has no ids of the host to share
    assert started.code == 0, started
    found = facts(started.out)
    usual = facts(box.fine("run", "--rm", "probe", "probe"))
    assert int(found["CapPrm"], 16) == expected["CapPrm"]
    assert [found["Seccomp"], found["NoNewPrivs"]] == [expected["Seccomp"], expected["NoNewPrivs"]]
    touched = {"CapPrm", "CapEff", "CapBnd"} if "--cap" in flags[0] else {"Seccomp"}
    assert {key for key in usual if found[key] != usual[key]} <= touched
    assert flags[1].removeprefix("seccomp=") in shown


def test_privileged_is_shown_and_still_in_its_own_ids(attacker: Any) -> None:
    name = attacker.fine("run", "-d", "--privileged", "probe", "sleep", "60").strip()
    shown = attacker.fine("inspect", "-f", "{{.HostConfig.Privileged}}", name).strip()
    found = facts(attacker.fine("exec", name, "probe"))
    host = int(attacker.fine("exec", name, "cat", "/proc/self/uid_map").split()[1])
    attacker.fine("rm", "-f", name)
    assert shown == "true"
    assert host != 0
    assert int(found["CapPrm"], 16) > EIGHT
