"""Descriptors, terminals and groups that a caller hands to casemate-oci: preserved fds, socket activation, consoles, pidfds."""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import struct
import subprocess
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ocibundle import Runtime, made_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root]


@pytest.fixture(params=["root", "rootless"])
def oci(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with made_runtime(rootless=request.param == "rootless") as runtime:
        yield runtime


@pytest.fixture
def root_oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        yield runtime


class Listener:
    """A socket of the caller that gets one message with one descriptor."""

    def __init__(self, runtime: Runtime) -> None:
        self.path = runtime.base / f"socket{time.monotonic_ns()}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(self.path))
        os.chown(self.path, os.stat(runtime.bundle).st_uid, -1)
        self.socket.listen()
        self.socket.settimeout(10)

    def receive(self) -> tuple[bytes, int]:
        """(message, descriptor); the socket is closed then."""
        connection, _ = self.socket.accept()
        with connection, self.socket:
            connection.settimeout(10)
            data, control, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(16))
        fds = array.array("i", control[0][2])
        assert len(fds) == 1
        return data, fds[0]


def read_until(fd: int, text: str) -> str:
    """What a descriptor gives, until it has given ``text``."""
    shown = b""
    with suppress(OSError):
        while text.encode() not in shown:
            assert select.select([fd], [], [], 10)[0], f"{text!r} never came, only {shown!r}"
            block = os.read(fd, 4096)
            if not block:
                break
            shown += block
    assert text.encode() in shown, shown
    return shown.decode().replace("\r\n", "\n")


def resize(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_preserved_descriptors_arrive_under_their_numbers(oci: Runtime, verb: str) -> None:
    show = ["sh", "-c", "cat <&3; cat <&4; cd /proc/self/fd; echo *"]
    if verb == "exec":
        oci.args("sleep", "100")
        assert oci("run", "--detach", "c").returncode == 0
        words = ["exec", "--preserve-fds", "2", "c", *show]
    else:
        oci.args(*show)
        words = ["run", "--preserve-fds", "2", "c"]
    oci.save()
    readers = []
    for number in range(2):
        reader, writer = os.pipe()
        os.write(writer, f"pipe {number}\n".encode())
        os.close(writer)
        readers.append(fcntl.fcntl(reader, fcntl.F_DUPFD, 60))  # out of the way of the numbers below
        os.close(reader)
    # A shell gives the two readers the numbers 3 and 4, and the runtime one more that nobody asked for.
    moves = f'exec 3<&{readers[0]} 4<&{readers[1]} 5<&{readers[0]} {readers[0]}<&- {readers[1]}<&-; exec "$@"'
    found = subprocess.run(
        ["bash", "-c", moves, "sh", *oci.command(*words)],
        cwd=oci.bundle,
        pass_fds=readers,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    for reader in readers:
        os.close(reader)
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[:2] == ["pipe 0", "pipe 1"]
    assert lines[2].split() in (
        ["0", "1", "2", "3", "4"],
        ["0", "1", "2", "3", "4", "5"],
    )  # 5: the shell's own directory


def test_socket_activation_reaches_the_program_with_its_environment(oci: Runtime) -> None:
    oci.args("sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; readlink /proc/self/fd/3")
    oci.save()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(f"\0casemate-test-{os.getpid()}")
        listening.listen()
        moves = f'exec 3<&{listening.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'
        found = subprocess.run(
            ["bash", "-c", moves, "sh", *oci.command("run", "c")],
            cwd=oci.bundle,
            pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        inode = os.readlink(f"/proc/self/fd/{listening.fileno()}")
    assert found.stdout.splitlines() == ["1 1", inode], found.stderr


def test_the_console_socket_gets_the_master_of_the_terminal(oci: Runtime) -> None:
    oci.spec["process"]["terminal"] = True
    oci.args(
        "sh",
        "-c",
        "trap 'busybox stty size; exit 0' WINCH; tty=$(readlink /proc/self/fd/0); echo at $tty; while :; do sleep 0.1; done",
    )
    listener = Listener(oci)
    made = oci("create", "--console-socket", str(listener.path), "c")
    assert made.returncode == 0, made.stderr
    name, master = listener.receive()
    assert name
    resize(master, 31, 77)
    assert oci("start", "c").returncode == 0
    assert "at /dev/pts/0" in read_until(master, "at /dev/pts/0\r\n")
    resize(master, 33, 99)
    read_until(master, "33 99")
    os.close(master)


def test_a_console_socket_serves_exec_too(oci: Runtime) -> None:
    oci.args("sleep", "100")
    assert oci("run", "--detach", "c").returncode == 0
    listener = Listener(oci)
    words = ["exec", "--detach", "--tty", "--console-socket", str(listener.path), "c"]
    found = oci(*words, "sh", "-c", "echo hello; read x; echo got $x")
    assert found.returncode == 0, found.stderr
    _, master = listener.receive()
    read_until(master, "hello")
    os.write(master, b"words\n")
    read_until(master, "got words")
    os.close(master)


@pytest.mark.parametrize("socket_path", ["/nosuch/socket", ""])
def test_a_terminal_that_nobody_takes_is_refused_and_nothing_is_left(oci: Runtime, socket_path: str) -> None:
    oci.spec["process"]["terminal"] = True
    oci.args("sh")
    found = oci("create", *(["--console-socket", socket_path] if socket_path else []), "c")
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert oci("list", "--quiet").stdout == ""


def test_a_foreground_terminal_follows_the_size_of_ours(oci: Runtime) -> None:
    oci.spec["process"]["terminal"] = True
    oci.args(
        "sh",
        "-c",
        "trap 'busybox stty size; exit 5' WINCH; busybox stty size; echo ready; while :; do sleep 0.1; done",
    )
    oci.save()
    master, slave = os.openpty()
    resize(master, 24, 80)
    command = ["setsid", "--ctty", *oci.command("run", "c")]
    with subprocess.Popen(command, cwd=oci.bundle, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        assert "24 80\n" in read_until(master, "ready\r\n")
        resize(master, 40, 132)
        read_until(master, "40 132")
        assert process.wait(10) == 5
    os.close(master)


def test_a_pidfd_socket_gets_the_process(oci: Runtime) -> None:
    oci.args("sleep", "100")
    listener = Listener(oci)
    assert oci("run", "--detach", "--pidfd-socket", str(listener.path), "c").returncode == 0
    _, pidfd = listener.receive()
    info = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    os.close(pidfd)
    assert f"Pid:\t{oci.state()['pid']}\n" in info


@pytest.mark.parametrize("form", ["{}", "memory:{}", "memory,pids:{}"])
def test_exec_joins_a_group_below_the_containers(root_oci: Runtime, form: str) -> None:
    oci = root_oci
    oci.args("sleep", "100")
    assert oci("run", "--detach", "c").returncode == 0
    lines = Path(f"/proc/{oci.state()['pid']}/cgroup").read_text().splitlines()
    groups = dict(line.split(":", 2)[1:] for line in lines)
    below = [Path(f"/sys/fs/cgroup/{name}{groups[name]}/deep") for name in ("memory", "pids")]
    for path in below:
        path.mkdir()
    show = ["sh", "-c", "grep -E ':(memory|pids|cpu):' /proc/self/cgroup"]
    found = oci("exec", "--cgroup", form.format("deep"), "c", *show)
    joined = {line.split(":")[1]: line.endswith("/deep") for line in found.stdout.splitlines()}
    assert joined == {"memory": True, "pids": form != "memory:{}", "cpu": False}, found
    for wrong in ("../x", "/..", "nosuch:deep", "absent", ":"):
        refused = oci("exec", "--cgroup", wrong, "c", "true")
        assert refused.returncode == 255
        assert "Traceback" not in refused.stderr
