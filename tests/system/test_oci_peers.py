"""podman and dockerd drive casemate-oci as they drive runc: the same commands, the same answers, nothing left."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peers import image_archive, launcher, remove_tree, removed, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.slow,
    pytest.mark.needs_root,
]

CGROUPS = Path("/sys/fs/cgroup")
PARENTS = {"podman": "libpod_parent", "docker": "docker"}
IMAGE = "localhost/casemate-peer:latest"
CONTAINERS_CONF = '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
DAEMON_START_S = 30
COMMAND_S = 30


class Peer:
    """One engine whose runtime is casemate-oci: call it with the words of a command."""

    def __init__(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        self.name = name
        self.argv = argv
        self.env = env

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.argv, *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def must(self, *words: str) -> str:
        """Return the output of a command that has to succeed."""
        found = self(*words)
        assert found.returncode == 0, f"{words}: {found.stderr}"
        return found.stdout.strip()

    def terminal(self, *words: str, until: str) -> tuple[int, str]:
        """Run a command on a terminal of 30 rows and 100 columns and press return when it has shown ``until``.

        Returns exit code and all that it showed.
        """
        import fcntl
        import struct
        import termios

        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        shown = b""
        with subprocess.Popen(
            [*self.argv, *words],
            env=self.env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        ) as process:
            os.close(slave)
            with suppress(OSError):  # EIO: the last slave was closed
                while select.select([master], [], [], COMMAND_S)[0] and (block := os.read(master, 4096)):
                    shown += block
                    if until and until.encode() in shown:
                        os.write(master, b"\n")
                        until = ""
            os.close(master)
            process.wait(COMMAND_S)
        return process.returncode, shown.decode().replace("\r\n", "\n")

    def status(self, container: str) -> str:
        """Return the engine's word for the state of a container."""
        return self.must("inspect", "--format", "{{.State.Status}}", container)

    def pid(self, container: str) -> int:
        """Return the host's number of a container's first process."""
        return int(self.must("inspect", "--format", "{{.State.Pid}}", container))


def podman(directory: Path, undo: ExitStack) -> Peer:
    """A podman in a mount namespace of the fixture's, without the hybrid's version 2 mount that it refuses."""
    if not shutil.which("podman"):
        pytest.skip("needs podman")
    conf = directory / "containers.conf"
    conf.write_text(CONTAINERS_CONF)
    script = "umount /sys/fs/cgroup/unified; echo ready; exec sleep infinity"
    holder = undo.enter_context(
        subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    )
    undo.callback(holder.kill)
    assert holder.stdout is not None
    holder.stdout.readline()
    argv = ["nsenter", "--mount", f"--target={holder.pid}", "podman", "--root", f"{directory}/root"]
    argv += ["--runroot", f"{directory}/run", "--tmpdir", f"{directory}/tmp"]
    argv += ["--runtime", str(launcher(directory))]
    return Peer("podman", argv, {**os.environ, "CONTAINERS_CONF": str(conf)})


def docker(directory: Path, undo: ExitStack) -> Peer:
    """A docker daemon of our own whose default runtime is casemate-oci."""
    daemon = shutil.which("dockerd", path="/usr/sbin:/usr/bin")
    client = shutil.which("docker", path="/usr/bin:/usr/local/bin")
    if not daemon or not client:
        pytest.skip("needs docker.io")
    socket = directory / "docker.sock"
    argv = [daemon, "--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec"]
    argv += [
        "--pidfile",
        f"{directory}/pid",
        "-H",
        f"unix://{socket}",
        "--containerd-namespace",
        "casemate-test",
    ]
    argv += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
    argv += ["--add-runtime", f"casemate={launcher(directory)}", "--default-runtime", "casemate"]
    log = undo.enter_context((directory / "log").open("w"))
    process = undo.enter_context(
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    )
    undo.callback(process.terminate)
    peer = Peer("docker", [client, "-H", f"unix://{socket}"], dict(os.environ))
    until(lambda: peer("version").returncode == 0, (directory / "log").read_text()[-500:], DAEMON_START_S)
    return peer


@pytest.fixture(scope="module", params=["podman", "docker"])
def engine(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """An engine with the image in its own store; afterwards its permanent parent groups are empty, and are removed."""
    # Below /tmp and short: the paths of docker's and conmon's sockets have 108 bytes.
    directory = Path(f"/tmp/cp-{os.getpid()}-{request.param}")
    directory.mkdir()
    had = set(CGROUPS.glob(f"*/{PARENTS[request.param]}"))
    with ExitStack() as undo:
        undo.callback(remove_tree, directory)
        peer = {"podman": podman, "docker": docker}[request.param](directory, undo)
        peer.must("import", str(image_archive(directory)), IMAGE)
        # The first container makes what stays: parent groups, and the engine's own working files.
        peer.must("run", "--rm", "--network", "none", IMAGE, "true")
        yield peer
    for path in set(CGROUPS.glob(f"*/{PARENTS[request.param]}")) - had:
        until(lambda path=path: removed(path), f"{path} is empty")


@pytest.fixture
def peer(engine: Peer) -> Iterator[Peer]:
    """The engine; no container of the test is left in it."""
    yield engine
    engine("unpause", "c1")
    engine("kill", "c1")  # removing first asks politely, and a container's first process does not listen
    engine("rm", "--force", "c1")
    assert engine.must("ps", "--all", "--quiet") == ""


def run(peer: Peer, *words: str) -> subprocess.CompletedProcess[str]:
    return peer("run", "--rm", "--network", "none", *words)


def start(peer: Peer, *words: str) -> None:
    peer.must("run", "--detach", "--name", "c1", "--network", "none", *words)


def limit(peer: Peer, controller: str, file: str) -> str:
    """Return the content of a file of container c1's control group, as the kernel names that group."""
    groups = Path(f"/proc/{peer.pid('c1')}/cgroup").read_text()
    found = re.search(rf"^\d+:{controller}:(.*)$", groups, re.MULTILINE)
    assert found is not None, groups
    return (CGROUPS / controller / found[1].lstrip("/") / file).read_text().strip()


def test_output_and_error_streams_come_back_apart(peer: Peer) -> None:
    found = run(peer, IMAGE, "sh", "-c", "echo out; echo err >&2; id -u")
    assert (found.stdout, found.stderr, found.returncode) == ("out\n0\n", "err\n", 0)


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["/etc"], 126),
        (["no-such-program"], 127),
        (["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137),
    ],
    ids=["0", "7", "126", "127", "137"],
)
def test_run_returns_the_exit_code(peer: Peer, argv: list[str], code: int) -> None:
    found = run(peer, IMAGE, *argv)
    assert found.returncode == code, found.stderr


def test_a_killed_container_has_exit_code_137(peer: Peer) -> None:
    start(peer, IMAGE, "sleep", "100")
    peer.must("kill", "c1")
    assert peer.must("wait", "c1") == "137"
    assert peer.must("inspect", "--format", "{{.State.ExitCode}}", "c1") == "137"


def test_run_with_a_terminal_has_its_size_and_a_tty(peer: Peer) -> None:
    # Engines send the size when the program already runs.
    program = "tty; until stty size 2>/dev/null | grep 100; do sleep 0.02; done; read line; exit 3"
    command = ["run", "-it", "--rm", "--network", "none", IMAGE, "sh", "-c", program]
    code, shown = peer.terminal(*command, until="30 100")
    assert code == 3, shown
    assert shown.splitlines()[0] in ("/dev/pts/0", "/dev/console")
    assert shown.splitlines()[1] == "30 100"


def test_exec_joins_the_running_container(peer: Peer) -> None:
    start(peer, "--hostname", "peer", IMAGE, "sleep", "100")
    found = peer("exec", "c1", "sh", "-c", "cat /proc/sys/kernel/hostname; cat /proc/1/cmdline; exit 9")
    assert (found.stdout, found.returncode) == ("peer\nsleep\x00100\x00", 9), found.stderr
    # docker before 23 has one code for every exec that could not start, with every runtime.
    assert (
        peer("exec", "c1", "no-such-program").returncode
        in ({"podman": [127], "docker": [126, 127]}[peer.name])
    )
    assert peer("exec", "--user", "7:8", "c1", "id").stdout.startswith("uid=7 gid=8")


def test_exec_with_a_terminal(peer: Peer) -> None:
    start(peer, IMAGE, "sleep", "100")
    code, shown = peer.terminal("exec", "-it", "c1", "sh", "-c", "tty; read line; exit 4", until="/dev/pts/")
    assert (code, shown.splitlines()[0][:9]) == (4, "/dev/pts/"), shown


def test_exec_detached_outlives_its_command(peer: Peer) -> None:
    start(peer, IMAGE, "sleep", "100")
    peer.must("exec", "--detach", "c1", "sh", "-c", "echo here > /tmp/mark; sleep 50")
    until(lambda: peer("exec", "c1", "cat", "/tmp/mark").stdout == "here\n", "the program ran")


def test_pause_freezes_and_unpause_thaws(peer: Peer) -> None:
    start(peer, IMAGE, "sleep", "100")
    peer.must("pause", "c1")
    assert peer.status("c1") == "paused"
    assert limit(peer, "freezer", "freezer.state") == "FROZEN"
    peer.must("unpause", "c1")
    assert peer.status("c1") == "running"
    assert peer.must("exec", "c1", "cat", "/proc/1/comm") == "sleep"


def test_limits_are_set_at_the_start(peer: Peer) -> None:
    start(peer, "--memory", "48m", "--pids-limit", "40", "--cpu-shares", "300", IMAGE, "sleep", "100")
    assert limit(peer, "memory", "memory.limit_in_bytes") == str(48 << 20)
    assert limit(peer, "pids", "pids.max") == "40"
    assert limit(peer, "cpu", "cpu.shares") == "300"


def test_update_changes_the_memory_limit(peer: Peer) -> None:
    start(peer, "--memory", "48m", "--memory-swap", "48m", IMAGE, "sleep", "100")
    peer.must("update", "--memory", "64m", "--memory-swap", "64m", "c1")
    assert limit(peer, "memory", "memory.limit_in_bytes") == str(64 << 20)


def test_stop_lets_the_program_end_itself(peer: Peer) -> None:
    start(peer, IMAGE, "sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done")
    until(lambda: peer("logs", "c1").stdout == "up\n", "the trap is set")
    peer.must("stop", "--time", "20", "c1")
    assert peer.status("c1") == "exited"
    assert peer.must("inspect", "--format", "{{.State.ExitCode}}", "c1") == "5"
    peer.must("start", "c1")
    assert peer.status("c1") == "running"
    peer.must("rm", "--force", "c1")


def test_a_container_that_was_created_can_be_started_later(peer: Peer) -> None:
    peer.must("create", "--name", "c1", "--network", "none", IMAGE, "sh", "-c", "echo later")
    assert peer.status("c1") == "created"
    assert peer("start", "--attach", "c1").stdout == "later\n"


def test_read_only_root_tmpfs_and_volume(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("given\n")
    program = "cat /data/file; echo back > /data/back; echo x > /tmp/x && cat /tmp/x; echo y > /etc/y || echo refused"
    found = run(
        peer, "--read-only", "--tmpfs", "/tmp", "--volume", f"{tmp_path}:/data", IMAGE, "sh", "-c", program
    )
    assert found.stdout == "given\nx\nrefused\n", found.stderr
    assert (tmp_path / "back").read_text() == "back\n"


def test_a_tmpfs_begins_as_the_engine_asks(peer: Peer) -> None:
    if peer.name == "docker":
        assert run(peer, "--tmpfs", "/srv", IMAGE, "ls", "-A", "/srv").stdout == ""
        return
    program = "stat -c '%a %u %g' /srv/deep/file /srv; cat /srv/link; touch /srv/new && ls /srv"
    found = run(peer, "--tmpfs", "/srv", IMAGE, "sh", "-c", program)
    assert found.stdout == "640 7 8\n751 3 4\ntext\ndeep\nlink\nnew\n", found.stderr


def test_an_unprivileged_user_has_no_capabilities(peer: Peer) -> None:
    found = run(peer, "--user", "12:34", IMAGE, "grep", "CapEff", "/proc/self/status")
    assert found.stdout.split() == ["CapEff:", "0000000000000000"], found.stderr


def test_top_lists_the_processes(peer: Peer) -> None:
    start(peer, IMAGE, "sleep", "100")
    assert "sleep 100" in peer.must("top", "c1")


def test_stats_are_read_from_the_containers_group(peer: Peer) -> None:
    start(peer, "--memory", "64m", IMAGE, "sleep", "100")
    shown = peer.must("stats", "--no-stream", "--format", "{{.MemUsage}}|{{.PIDs}}", "c1")
    memory, pids = shown.split("|")
    assert re.search(r"/ (64MiB|67\.11MB)$", memory), shown
    assert pids == "1"


def test_a_container_that_ran_out_of_memory_is_said_so(peer: Peer) -> None:
    # The wait is for the engine, which begins to listen for this event when the program runs already.
    eat = "sleep 0.5; x=a; while :; do x=$x$x; done"
    found = peer("run", "--name", "c1", "--network", "none", "--memory", "16m", IMAGE, "sh", "-c", eat)
    assert found.returncode == 137, found.stderr
    told = peer.must("inspect", "--format", "{{.State.OOMKilled}}", "c1")
    # podman 4.3's conmon loses the event on version 1 when the first process itself is killed: only docker must know.
    assert told == "true" or peer.name == "podman"
