"""Who sees the output besides the log: the launcher and attached clients, slow, broken and rude ones too."""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING

import pytest
from kept import Kept, attach, eventually, gated, listener, release

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system

PTY_SCRIPT = "tty; stty size; read line; echo got:$line"


@pytest.mark.parametrize("kind", ["pipe", "file", "appended file"])
def test_the_launcher_gets_the_output_too(tmp_path: Path, kind: str) -> None:
    reader, writer = os.pipe()
    out = tmp_path / "out"
    out.write_bytes(b"kept:")
    if kind != "pipe":
        os.close(writer)
        writer = os.open(out, os.O_WRONLY | (os.O_APPEND if kind == "appended file" else 0))
        os.lseek(writer, 5, os.SEEK_SET)
    kept = Kept(tmp_path, "seq 1 2000; echo err >&2; exit 5", client_out=writer, client_err=writer)
    with kept.start() as launched:
        data = b""
        while kind == "pipe" and (part := os.read(reader, 65536)):
            data += part
        assert launched.wait_exit(20) == 5 << 8
    os.close(reader)
    expected = b"".join(b"%d\n" % n for n in range(1, 2001))
    seen = data if kind == "pipe" else out.read_bytes().removeprefix(b"kept:")
    assert seen.replace(b"err\n", b"") == expected
    assert b"err\n" in seen
    assert sorted(kept.log().split()) == sorted(seen.split())


def test_a_slow_launcher_slows_the_container_but_a_gone_one_does_not(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    kept = Kept(tmp_path, "seq 1 100000; exit 6", client_out=writer)
    launched = kept.start()
    eventually(lambda: len(kept.log()) >= 60000)
    stuck = len(kept.log())
    assert not select.select([launched.fileno()], [], [], 0.2)[0]
    assert len(kept.log()) < 400000, f"the container waits for its reader ({stuck} bytes logged)"
    launched.detach()
    assert kept.record().exit_code == 6
    assert kept.log().endswith(b"\n100000\n")
    os.close(reader)


def test_clients_attach_get_output_and_write_input(tmp_path: Path) -> None:
    stdin_r, stdin_w = os.pipe()
    kept = Kept(
        tmp_path,
        "read line; echo got:$line; read line; exit 7",
        listen=listener(tmp_path / "socket"),
        stdin_w=stdin_w,
    )
    kept.plan.add("inside", "STDIO", kept.plan.slot_of(stdin_r, owned=True), 0)
    kept.plan.programs["inside"].insert(0, kept.plan.programs["inside"].pop())
    with kept.start() as launched:
        clients = []
        for _ in range(3):
            reader, writer = os.pipe()
            client, answer, fds = attach(tmp_path / "socket", [writer])
            os.close(writer)
            assert answer == b"O"
            clients.append((client, reader, fds[0]))
        os.write(clients[1][2], b"hello\n")
        for _, reader, _ in clients:
            assert os.read(reader, 100) == b"got:hello\n"
        os.write(clients[2][2], b"end\n")
        assert launched.wait_exit(20) == 7 << 8
        for client, reader, stdin in clients:
            assert client.recv(1) == b"", "the end of the connection is the end of the container"
            client.close()
            os.close(reader)
            os.close(stdin)
    assert kept.log() == b"got:hello\n"


def test_broken_slow_and_rude_clients_harm_nobody(tmp_path: Path) -> None:
    kept, gate = gated(tmp_path, "seq 1 60000; exit 8", listen=listener(tmp_path / "socket"))
    kept.start().detach()
    slow_r, slow_w = os.pipe()
    slow, answer, _ = attach(tmp_path / "socket", [slow_w])
    assert answer == b"N", "there is no input to write to"
    broken_r, broken_w = os.pipe()
    broken, _, _ = attach(tmp_path / "socket", [broken_w])
    os.close(broken_r)
    rude = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    rude.connect(str(tmp_path / "socket"))
    rude.send(b"not a request")
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    silent.connect(str(tmp_path / "socket"))
    release(gate)
    assert kept.record().exit_code == 8
    assert kept.log().endswith(b"\n60000\n")
    for fd in (slow_r, slow_w, broken_w):
        os.close(fd)
    for client in (slow, broken, rude, silent):
        client.close()


@pytest.mark.needs_root  # the host's own devpts; an ordinary user's terminals are the engine's tests
def test_a_terminal_is_kept_and_attached(tmp_path: Path) -> None:
    kept = Kept(tmp_path, PTY_SCRIPT, listen=listener(tmp_path / "socket"))
    plan = kept.plan
    devpts = plan.slot_of(os.open("/dev/pts", os.O_RDONLY | os.O_DIRECTORY), owned=True)
    master, peer = plan.new_slot(), plan.new_slot()
    last = plan.programs["inside"].pop()
    plan.add("inside", "PTMX", master, devpts)
    plan.add("inside", "PTY_PEER", peer, master)
    plan.add("inside", "WINSIZE", master, 33, 77)
    plan.add("inside", "KEEP_FD", master, 0)
    plan.add("inside", "SETSID")
    plan.add("inside", "CTTY", peer)
    for number in range(3):
        plan.add("inside", "STDIO", peer, number)
    plan.programs["inside"].append(last)
    with kept.start() as launched:
        reader, writer = os.pipe()
        client, answer, fds = attach(tmp_path / "socket", [writer])
        os.close(writer)
        assert answer == b"O"
        os.write(fds[0], b"hi\n")
        assert launched.wait_exit(20) == 0
    client.close()
    os.close(reader)
    os.close(fds[0])
    lines = kept.log().replace(b"\r", b"").splitlines()
    assert any(line.startswith(b"/dev/pts/") for line in lines)
    assert b"33 77" in lines
    assert lines[-1] == b"got:hi"
