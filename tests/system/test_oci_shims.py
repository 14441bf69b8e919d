"""containerd (ctr, runc.v2 with BinaryName) and buildah drive casemate-oci as they drive runc, and nothing is left."""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import ttrpc

from peers import image_archive, launcher, remove_tree, removed, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root, pytest.mark.slow]

CGROUPS = Path("/sys/fs/cgroup")
NAMESPACE = "casemate-shim"
RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
CONFIG = """version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{0}/sock"
"""


class Ctr:
    """ctr with a containerd of its own, in a mount namespace with a /run of its own: shims keep their sockets there."""

    def __init__(self, directory: Path, holder: int) -> None:
        self.directory = directory
        self.root = f"/proc/{holder}/root"
        self.inside = ["nsenter", "--mount", f"--target={holder}"]
        self.argv = [*self.inside, "ctr", "--address", f"{directory}/sock", "--namespace", NAMESPACE]

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.argv, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def must(self, *words: str) -> str:
        found = self(*words)
        assert found.returncode == 0, f"{words}: {found.stderr}"
        return found.stdout.strip()

    def run(
        self, *options: str, command: tuple[str, ...], detach: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run container c1 on the busybox root."""
        how = ["--detach"] if detach else ["--rm"]
        ours = ["--runc-binary", f"{self.directory}/casemate-oci", "--runc-root", f"{self.directory}/runc"]
        ours += ["--fifo-dir", f"{self.directory}/fifo", "--rootfs"]
        return self("run", *how, *ours, *options, f"{self.directory}/rootfs", "c1", *command)

    def status(self) -> str:
        """(STATUS) of the task."""
        lines = self.must("tasks", "list").splitlines()[1:]
        return lines[0].split()[2] if lines else ""

    def limit(self, controller: str, file: str) -> str:
        """A file of the container's control group."""
        return (CGROUPS / controller / NAMESPACE / "c1" / file).read_text().strip()


def holder(script: str, undo: ExitStack) -> int:
    """A process that keeps a mount namespace in which ``script`` has run."""
    process = undo.enter_context(
        subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-ec",
                f"{script}; echo ready; exec sleep 600",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    )
    undo.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process.pid


@pytest.fixture(scope="module")
def daemon() -> Iterator[Ctr]:
    directory = Path(f"/tmp/cs-{os.getpid()}")
    (directory / "rootfs").mkdir(parents=True)
    with ExitStack() as undo:
        undo.callback(remove_tree, directory)
        launcher(directory)
        subprocess.run(["tar", "-xf", image_archive(directory), "-C", directory / "rootfs"], check=True)
        (directory / "config.toml").write_text(CONFIG.format(directory))
        ctr = Ctr(directory, holder("mount -t tmpfs -o mode=755 none /run", undo))
        log = undo.enter_context((directory / "log").open("w"))
        argv = [*ctr.inside, "containerd", "--config", f"{directory}/config.toml"]
        process = undo.enter_context(
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        )
        undo.callback(process.terminate)
        until(lambda: ctr("version").returncode == 0, (directory / "log").read_text()[-500:], 30)
        # The first container makes what stays: the parent groups.
        assert ctr.run(command=("true",), detach=False).returncode == 0
        yield ctr
    for path in CGROUPS.glob(f"*/{NAMESPACE}"):
        until(lambda path=path: removed(path), f"{path} is empty")


@pytest.fixture
def ctr(daemon: Ctr) -> Iterator[Ctr]:
    yield daemon
    daemon("tasks", "resume", "c1")
    daemon("tasks", "delete", "--force", "c1")
    daemon("containers", "delete", "c1")
    assert daemon.must("tasks", "list", "--quiet") == ""
    runc = daemon.directory / "runc" / NAMESPACE
    assert [name for name in os.listdir(runc) if not name.startswith(".")] == []


def test_containerd_returns_output_and_exit_code(ctr: Ctr) -> None:
    found = ctr.run(command=("sh", "-c", "echo out; echo err >&2; exit 7"), detach=False)
    assert (found.returncode, found.stdout) == (7, "out\n")
    assert "err\n" in found.stderr


def test_containerd_says_which_program_is_missing(ctr: Ctr) -> None:
    found = ctr.run(command=("no-such-program",), detach=False)
    assert found.returncode != 0
    assert 'exec: "no-such-program": no such file or directory' in found.stderr


def test_containerd_execs_pauses_updates_measures_and_removes(ctr: Ctr) -> None:
    assert ctr.run("--memory-limit", str(64 << 20), command=("sleep", "100")).returncode == 0
    assert ctr.status() == "RUNNING"
    assert ctr.limit("memory", "memory.limit_in_bytes") == str(64 << 20)

    fifo = ("--fifo-dir", f"{ctr.directory}/fifo")
    found = ctr("tasks", "exec", *fifo, "--exec-id", "e1", "c1", "sh", "-c", "echo in; exit 9")
    assert (found.returncode, found.stdout) == (9, "in\n"), found.stderr
    ctr.must("tasks", "exec", *fifo, "--detach", "--exec-id", "e2", "c1", "sleep", "50")
    shown = ctr.must("tasks", "ps", "c1").splitlines()[1:]
    assert len(shown) == 2

    ctr.must("tasks", "pause", "c1")
    assert ctr.status() == "PAUSED"
    assert ctr.limit("freezer", "freezer.state") == "FROZEN"
    ctr.must("tasks", "resume", "c1")
    assert ctr.status() == "RUNNING"

    bundle = ctr.directory / f"state/io.containerd.runtime.v2.task/{NAMESPACE}/c1"
    resources = json.dumps({"memory": {"limit": 48 << 20}, "pids": {"limit": 77}}).encode()
    wanted = ttrpc.field(1, RESOURCES.encode()) + ttrpc.field(2, resources)
    address = (bundle / "address").read_text().removeprefix("unix://")
    answer = ttrpc.call(f"{ctr.root}{address}", "Update", ttrpc.field(1, b"c1") + ttrpc.field(2, wanted))
    assert answer in (b"", ttrpc.field(1, b""), ttrpc.field(2, b"")), answer
    assert ctr.limit("memory", "memory.limit_in_bytes") == str(48 << 20)
    assert ctr.limit("pids", "pids.max") == "77"

    figures = ctr.must("tasks", "metrics", "--format", "json", "c1")
    assert re.search(r'"usage_in_bytes"|"usage"', figures), figures

    ctr.must("tasks", "kill", "--signal", "SIGKILL", "--all", "c1")
    until(lambda: ctr.status() == "STOPPED", "stopped")


def test_containerd_sees_an_out_of_memory_kill(ctr: Ctr) -> None:
    with subprocess.Popen([*ctr.argv, "events"], stdout=subprocess.PIPE, text=True) as events:
        try:
            eat = "sleep 0.5; x=a; while :; do x=$x$x; done"
            found = ctr.run("--memory-limit", str(16 << 20), command=("sh", "-c", eat), detach=False)
            assert found.returncode == 137, found.stderr
            assert events.stdout is not None
            topics = ""
            while "/tasks/exit" not in topics:
                topics += events.stdout.readline()
            assert "/tasks/oom" in topics
        finally:
            events.kill()


@pytest.fixture(scope="module")
def buildah() -> Iterator[list[str]]:
    """Buildah with a container `c1` of busybox; the command's first words."""
    directory = Path(f"/tmp/cb-{os.getpid()}")
    directory.mkdir()
    with ExitStack() as undo:
        undo.callback(remove_tree, directory)
        launcher(directory)
        pid = holder("umount /sys/fs/cgroup/unified; mount -t tmpfs -o mode=755 none /run", undo)
        argv = ["nsenter", "--mount", f"--target={pid}", "buildah", "--root", f"{directory}/root"]
        argv += ["--runroot", f"{directory}/runroot", "--storage-driver", "vfs"]
        for words in (
            ["from", "--name", "c1", "scratch"],
            ["add", "c1", str(image_archive(directory)), "/"],
        ):
            subprocess.run([*argv, *words], check=True, capture_output=True, timeout=60)
        yield [
            *argv,
            "run",
            "--runtime",
            f"{directory}/casemate-oci",
            "--isolation",
            "oci",
            "--network",
            "none",
        ]
        subprocess.run([*argv, "rm", "--all"], check=True, capture_output=True, timeout=60)
    for path in CGROUPS.glob("*/buildah*"):
        until(lambda path=path: removed(path), f"{path} is empty")


def build(buildah: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*buildah, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


def test_buildah_runs_steps_and_sees_their_exit_code(buildah: list[str]) -> None:
    made = build(buildah, "c1", "--", "sh", "-c", "id -u; echo made > /made; exit 3")
    assert (made.returncode, made.stdout) == (3, "0\n"), made.stderr
    seen = build(buildah, "--user", "5:6", "c1", "--", "sh", "-c", "cat /made; id -u; id -g")
    assert (seen.returncode, seen.stdout) == (0, "made\n5\n6\n"), seen.stderr


def test_buildah_says_which_program_is_missing(buildah: list[str]) -> None:
    found = build(buildah, "c1", "--", "no-such-program")
    assert found.returncode != 0
    assert "no-such-program" in found.stderr
