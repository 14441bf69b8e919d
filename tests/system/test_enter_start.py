"""Starting programs through ``enter``: in new namespaces, with clear failures, leaving nothing behind.

Every test runs as whoever runs it; the last one repeats the file as an ordinary user when that is root.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from casemate.errors import CasemateError, Denied, Invalid, NotExecutable, NotFound, ProgramNotFound
from casemate.runtime.launch import launch
from casemate.runtime.plan import KEEP, LEAVE, WAIT, Keeper, Plan

pytestmark = pytest.mark.system

NEW_USER, NEW_PID, NEW_NS = 0x10000000, 0x20000000, 0x00020000
ALL_NAMESPACES = NEW_USER | NEW_PID | NEW_NS | 0x02000000 | 0x04000000 | 0x08000000 | 0x40000000 | 0x80
LEAVE_OOM = 1001
O_PATH, O_DIRECTORY = 0o10000000, 0o200000
NOBODY = 65534
WAITS = 5  # code of an ASK


def own_maps() -> tuple[bytes, bytes]:
    return f"0 {os.geteuid()} 1\n".encode(), f"0 {os.getegid()} 1\n".encode()


def make_plan(*, flags: int = ALL_NAMESPACES, mode: int = WAIT, output: bool = True) -> tuple[Plan, int]:
    """A plan whose program starts with its output in a pipe, and the pipe's other end."""
    plan = Plan(clone_flags=flags)
    plan.keeper = Keeper(mode)
    reader = -1
    if flags & NEW_USER:
        uids, gids = own_maps()
        plan.add("beside", "MAP_IDS", uids, gids, int(os.geteuid() != 0), LEAVE_OOM, meaning="map the ids")
    if output:
        reader, writer = os.pipe()
        slot = plan.slot_of(writer, owned=True, label="output")
        plan.add("inside", "STDIO", slot, 1)
        plan.add("inside", "STDIO", slot, 2)
    return plan, reader


def run(plan: Plan, reader: int, argv: list[str]) -> tuple[int, bytes]:
    """Execute ``argv`` as the plan's end; wait status and output."""
    plan.add("inside", "EXEC", argv, ["PATH=/usr/bin:/bin"], meaning="run the program")
    try:
        with launch(plan) as launched:
            plan.close()
            with open(reader, "rb") as file:
                return launched.wait_exit(20), file.read()
    finally:
        plan.close()


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether ``pid`` ends in time (a zombie whose parent is slow to bury it has ended)."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.005)
    return False


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def test_the_program_runs_in_every_new_namespace() -> None:
    plan, reader = make_plan()
    names = ("user", "pid", "mnt", "uts", "ipc", "net", "cgroup", "time")
    status, output = run(
        plan,
        reader,
        [
            "/bin/sh",
            "-c",
            "for n in " + " ".join(names) + "; do readlink /proc/$PPID/ns/$n /proc/self/ns/$n; done; exit 7",
        ],
    )
    assert status == 7 << 8
    # /proc is still the host's, so "self" is absent in the new pid namespace: what is missing is as telling
    ours = {os.readlink(f"/proc/self/ns/{name}") for name in names}
    assert not ours & set(output.decode().split())


@pytest.mark.parametrize("mode", [WAIT, KEEP])
def test_exit_status_and_signal_are_reported(mode: int) -> None:
    plan, reader = make_plan(mode=mode, flags=0)
    assert run(plan, reader, ["/bin/sh", "-c", "kill -TERM $$"])[0] == signal.SIGTERM
    plan, reader = make_plan(mode=mode, flags=0)
    assert run(plan, reader, ["/bin/sh", "-c", "exit 200"])[0] == 200 << 8


def test_only_standard_descriptors_are_open_at_exec() -> None:
    leaked = [os.dup(0) for _ in range(20)]
    for fd in leaked:
        os.set_inheritable(fd, True)  # noqa: FBT003 - its only form
    try:
        plan, reader = make_plan(flags=0)
        directory = plan.new_slot()
        plan.add("inside", "OPENAT2", directory, -1, "/", O_PATH | O_DIRECTORY, 0, 0)
        status, output = run(plan, reader, ["/bin/ls", "-l", "/proc/self/fd"])
    finally:
        for fd in leaked:
            os.close(fd)
    numbers = [line.split()[8] for line in output.decode().splitlines() if "->" in line]
    assert status == 0
    assert numbers == ["0", "1", "2", "3"], "3 is the directory that ls itself reads"


def test_an_inherited_descriptor_gets_its_number_even_when_it_is_taken() -> None:
    plan, reader = make_plan(flags=0)
    source = (
        os.open("/etc/hostname", os.O_RDONLY)
        if os.path.exists("/etc/hostname")
        else os.open("/etc/passwd", os.O_RDONLY)
    )
    for number in (3, 4, 5, 6, 7, 8):
        plan.add("inside", "INHERIT", plan.slot_of(source, owned=False), number)
    status, output = run(
        plan, reader, ["/bin/sh", "-c", "for n in 3 4 5 6 7 8; do readlink /proc/self/fd/$n; done"]
    )
    os.close(source)
    assert status == 0
    assert len(output.decode().split()) == 6
    assert len(set(output.decode().split())) == 1


@pytest.mark.parametrize(
    ("argv", "error", "exit_code"),
    [
        (["/does/not/exist"], ProgramNotFound, 127),
        (["/etc/passwd"], NotExecutable, 126),
        (["/etc"], NotExecutable, 126),
        (["/proc/self/exe"], NotExecutable, 126),
    ],
)
def test_a_program_that_cannot_run_has_its_exit_code(
    argv: list[str], error: type[CasemateError], exit_code: int
) -> None:
    plan, _ = make_plan(flags=0, output=False)
    plan.add("inside", "FIND_EXEC", argv, meaning="find the program")
    plan.add("inside", "EXEC", argv, [], meaning="run the program")
    with pytest.raises(error) as caught:
        launch(plan)
    assert caught.value.exit_code == exit_code
    assert argv[0] in str(caught.value)


def test_the_first_executable_candidate_is_the_program() -> None:
    plan, reader = make_plan(flags=0)
    plan.add("inside", "FIND_EXEC", ["/nowhere/sh", "/etc/passwd", "/bin/sh"])
    assert run(plan, reader, ["name", "-c", "echo $0"]) == (0, b"name\n")


FAILING: list[tuple[str, str, tuple[object, ...], int]] = [
    ("before", "OPENAT2", ("new", -1, "/does/not/exist", O_PATH, 0, 0), errno.ENOENT),
    ("before", "EXPECT_FS", ("root", 1), errno.EXDEV),
    ("inside", "OPENAT2", ("new", -1, "/does/not/exist", O_PATH, 0, 0), errno.ENOENT),
    ("inside", "SETNS", ("root", 0), errno.EBADF),
    ("inside", "MOVE_MOUNT", ("root", "root"), errno.EINVAL),
    ("inside", "CHDIR", ("/does/not/exist",), errno.ENOENT),
    ("inside", "FSOPEN", ("new", "no such file system"), errno.ENODEV),
    ("inside", "SECCOMP", (b"\xff" * 8, 0), errno.EINVAL),
    ("inside", "EXPECT_INODE", ("root", 1, 1), errno.ESTALE),
    ("inside", "EXPECT_FS", ("root", 1), errno.EXDEV),
    ("inside", "RLIMIT", (99, 1, 1), errno.EINVAL),
    ("inside", "LANDLOCK_APPLY", ("root", 0), errno.EBADF),
    ("inside", "WRITE", ("root", b"x", 0), errno.EBADF),
    ("inside", "PTMX", ("new", "root"), errno.ENOENT),
]


@pytest.mark.parametrize(("program", "name", "args", "number"), FAILING)
@pytest.mark.parametrize("mode", [WAIT, KEEP])
def test_a_failing_operation_is_named_and_leaves_nothing(
    *, program: str, name: str, args: tuple[object, ...], number: int, mode: int
) -> None:
    before = descriptors()
    plan, reader = make_plan(mode=mode)
    root = plan.slot_of(os.open("/", O_PATH | O_DIRECTORY), owned=True, label="root")
    numbers = {"root": root, "new": plan.new_slot()}
    plan.add(
        program,
        name,
        *[numbers.get(a, a) if isinstance(a, str) else a for a in args],
        meaning="do what fails",
    )  # type: ignore[arg-type]
    plan.add("inside", "EXEC", ["/bin/true"], [])
    with pytest.raises(CasemateError) as caught:
        launch(plan)
    plan.close()
    with open(reader, "rb") as file:
        assert file.read() == b"", "the pipe's end shows that every process of the plan is gone"
    assert "do what fails" in str(caught.value)
    assert f"({name}, errno {number})" in str(caught.value)
    assert descriptors() == before


def test_a_child_killed_during_setup_names_the_operation_and_the_signal() -> None:
    plan, reader = make_plan()
    plan.add("inside", "ASK", WAITS, meaning="wait to be killed")
    plan.add("inside", "EXEC", ["/bin/true"], [])

    with pytest.raises(CasemateError, match="killed by signal 9 during ASK"):
        launch(plan, on_ask=lambda code, pid: os.kill(pid, signal.SIGKILL) if code == WAITS else None)
    plan.close()
    os.close(reader)


def test_an_exception_while_python_is_asked_kills_the_child() -> None:
    plan, reader = make_plan(mode=KEEP)
    seen = []
    plan.add("beside", "ASK", WAITS)
    plan.add("inside", "EXEC", ["/bin/sleep", "100"], [])

    def refuse(code: int, pid: int) -> None:
        if code != WAITS:
            return
        seen.append((code, pid))
        raise Denied("connect", "the network", "policy")

    with pytest.raises(Denied):
        launch(plan, on_ask=refuse)
    plan.close()
    assert [code for code, _ in seen] == [WAITS]
    assert gone(seen[0][1])
    os.close(reader)


def test_the_child_waits_for_beside_and_release_lets_it_go_early() -> None:
    plan, reader = make_plan(flags=0)
    gate_out, gate_in = os.pipe()
    slot = plan.slot_of(gate_out, owned=True)
    plan.add("beside", "RELEASE")
    plan.add("beside", "ASK", 1)
    plan.add("inside", "WAIT", slot)
    plan.add("inside", "BARRIER")

    def let_go(code: int, pid: int) -> None:
        if code != 1:
            return
        assert Path(f"/proc/{pid}").exists()
        os.write(gate_in, b"x")  # without RELEASE the child would not yet read this

    plan.add("inside", "EXEC", ["/bin/echo", "done"], [])
    with launch(plan, on_ask=let_go) as launched:
        plan.close()
        assert launched.wait_exit(10) == 0
    os.close(gate_in)
    with open(reader, "rb") as file:
        assert file.read() == b"done\n"


def test_killing_python_during_setup_kills_everything(tmp_path: Path) -> None:
    script = f"""
import sys; sys.path[:0] = {sys.path!r}
import os, signal
from casemate.runtime.plan import *
from casemate.runtime.launch import launch
plan = Plan(clone_flags={ALL_NAMESPACES}); plan.keeper = Keeper(int(sys.argv[1]))
plan.add("inside" if sys.argv[2] == "inside" else "beside", "ASK", 1)
plan.add("inside", "EXEC", ["/bin/sleep", "100"], [])
def die(code, pid):
    print(pid or 0, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
launch(plan, on_ask=die)
"""
    for mode in (WAIT, KEEP, LEAVE):
        for where in ("beside", "inside"):
            result = subprocess.run(
                [sys.executable, "-c", script, str(mode), where],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
                cwd=tmp_path,
            )
            assert result.returncode == -signal.SIGKILL, result.stderr
            # the output pipe's end, which run() waits for, already shows that nobody of ours holds it
            assert "Traceback" not in result.stderr


def test_a_created_container_waits_and_survives_its_creator() -> None:
    plan, reader = make_plan(mode=LEAVE)
    gate_out, gate_in = os.pipe()
    slot = plan.slot_of(gate_out, owned=True)
    plan.add("inside", "REPORT", 1)
    plan.add("inside", "WAIT", slot)
    plan.add("inside", "EXEC", ["/bin/echo", "started"], [])
    with launch(plan) as launched:
        assert launched.reports == [1]
    plan.close()
    assert Path(f"/proc/{launched.pid}").exists()
    os.write(gate_in, b"x")
    os.close(gate_in)
    with open(reader, "rb") as file:
        assert file.read() == b"started\n"
    assert gone(launched.pid)


def test_the_child_is_not_dumpable_before_the_program_runs() -> None:
    plan, reader = make_plan(flags=ALL_NAMESPACES)
    owners = {}
    plan.add("inside", "ASK", 1)

    def look(_: int, pid: int) -> None:
        owners["pid"] = pid
        for name in ("exe", "fd", "environ", "maps"):
            owners[name] = os.stat(f"/proc/{pid}/{name}", follow_symlinks=False).st_uid

    plan.add("inside", "EXEC", ["/bin/true"], [])
    with launch(plan, on_ask=look) as launched:
        plan.close()
        assert launched.wait_exit(10) == 0
    os.close(reader)
    assert {owners[name] for name in ("exe", "fd", "environ", "maps")} == {0}, "the kernel gives them to root"


def test_targets_are_made_inside_the_root_only(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "real").mkdir(parents=True)
    outside.mkdir()
    (root / "absolute").symlink_to(outside)
    (root / "up").symlink_to("../../../../../.." + str(outside))
    (root / "dangling").symlink_to("/made/here")
    (root / "loop").symlink_to("loop")
    wanted = ["a/b/c", "absolute/x", "up/x", "real/../y", "dangling/z", "../../../../escape"]
    plan, reader = make_plan(flags=0)
    slot = plan.slot_of(os.open(root, O_PATH | O_DIRECTORY), owned=True)
    for path in wanted:
        plan.add("inside", "TARGET", plan.new_slot(), slot, path, 1, 0o755, meaning=f"make {path}")
    plan.add("inside", "TARGET", plan.new_slot(), slot, "deep/file", 2, 0o644)
    assert run(plan, reader, ["/bin/true"])[0] == 0
    assert not any(outside.iterdir())
    assert (root / "a/b/c").is_dir()
    assert (root / "y").is_dir()
    assert (root / "made/here/z").is_dir()
    assert (root / "escape").is_dir()
    assert (root / "deep/file").is_file()
    assert (root / str(outside).lstrip("/") / "x").is_dir()
    for path, kind, error in (
        ("loop/x", 1, Invalid),
        ("deep/file", 1, Invalid),
        ("a/b", 2, Invalid),
        ("none", 0, NotFound),
    ):
        plan, reader = make_plan(flags=0)
        slot = plan.slot_of(os.open(root, O_PATH | O_DIRECTORY), owned=True)
        plan.add("inside", "TARGET", plan.new_slot(), slot, path, kind, 0o755, meaning=f"make {path}")
        plan.add("inside", "EXEC", ["/bin/true"], [])
        with pytest.raises(error, match=f"make {path}"):
            launch(plan)
        plan.close()
        os.close(reader)


def test_hundreds_of_descriptors_arrive() -> None:
    plan, reader = make_plan(flags=0)
    source = os.open("/", O_PATH | O_DIRECTORY)
    for _ in range(600):
        plan.fds.append(source)
        plan._labels.append("many")
    plan.add("inside", "EXPECT_INODE", 600, os.fstat(source).st_dev, os.fstat(source).st_ino)
    assert run(plan, reader, ["/bin/true"])[0] == 0
    os.close(source)


def test_a_second_program_joins_all_namespaces_of_the_first() -> None:
    plan, output = make_plan(flags=ALL_NAMESPACES & ~0x80)
    gate_out, gate_in = os.pipe()
    plan.add("inside", "STDIO", plan.slot_of(gate_out, owned=True), 0)
    plan.add("inside", "EXEC", ["/bin/sh", "-c", "read line"], ["PATH=/usr/bin:/bin"])
    first = launch(plan)
    plan.close()
    names = ("user", "pid", "mnt", "uts", "ipc", "net", "cgroup")
    theirs = {name: os.readlink(f"/proc/{first.pid}/ns/{name}") for name in names}

    second, reader = make_plan(flags=0)
    target = second.slot_of(os.pidfd_open(first.pid), owned=True, label="container")
    second.add("before", "SETNS", target, NEW_USER | NEW_PID, meaning="join the user and pid namespace")
    second.add(
        "inside", "SETNS", target, ALL_NAMESPACES & ~(NEW_USER | NEW_PID | 0x80), meaning="join the others"
    )
    second.add("inside", "ASK", 1)
    seen: dict[str, object] = {}

    def look(_: int, pid: int) -> None:
        if os.geteuid() == 0:
            seen.update({name: os.readlink(f"/proc/{pid}/ns/{name}") for name in names})
        seen["owner"] = os.stat(f"/proc/{pid}/fd").st_uid

    second.add("inside", "EXEC", ["/bin/sh", "-c", "exit 12"], [])
    with launch(second, on_ask=look) as launched:
        second.close()
        assert launched.wait_exit(20) == 12 << 8
    os.close(gate_in)
    first.wait_exit(20)
    os.close(output)
    os.close(reader)
    assert seen.pop("owner") == 0, "it was not dumpable when it joined"
    assert not seen or seen == theirs


@pytest.mark.needs_root
def test_the_same_holds_for_an_ordinary_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    who = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--basetemp",
        str(tmp_path / "nobody"),
        __file__,
    ]
    for parent in tmp_path.parents:
        if parent.name.startswith("pytest"):
            parent.chmod(0o755)
    result = subprocess.run(
        [*who, *argv],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "src"},
    )
    assert result.returncode == 0, result.stdout[-3000:]
