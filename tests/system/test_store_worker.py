"""The process that reads archives can do nothing else, as the kernel tells while it works."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from casemate.core.snapshots import LayerSpec
from casemate.errors import CasemateError
from casemate.kernel.capabilities import to_names
from casemate.store.overlay.snapshotter import OverlaySnapshotter
from casemate.store.unpack import confine

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system

DIGEST = "sha256:" + "0" * 64


def endless_archive(path: Path) -> None:
    """One file of 7 GiB: the worker is busy for as long as the test looks at it."""
    size = 7 << 30
    block = (
        b"zeros".ljust(100, b"\0") + b"0000644\x000000000\x000000000\x00" + b"%011o\x0000000000000\0" % size
    ).ljust(148, b"\0") + b"        0"
    block = block.ljust(257, b"\0") + b"ustar\x0000"
    block = block.ljust(512, b"\0")
    path.write_bytes(block[:148] + b"%06o\0 " % sum(block) + block[156:])
    os.truncate(path, size + 2048)


def status_of(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def wait_for_worker(deadline: float, outcome: list[CasemateError]) -> int:
    """The pid of our child that has locked itself up and started its threads."""
    while time.monotonic() < deadline and not outcome:
        with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children", encoding="ascii") as file:
            children = file.read()
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
                children += " " + file.read()
        for pid in map(int, children.split()):
            try:
                if int(status_of(pid)["Threads"]) > 2:
                    return pid
            except (FileNotFoundError, ProcessLookupError, KeyError):
                continue
    raise AssertionError(f"no worker was seen: {outcome}")


def links_of(pid: int) -> tuple[set[str], str, str]:
    """What a process has open, its root and its user namespace."""
    descriptors = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    return descriptors, os.readlink(f"/proc/{pid}/root"), os.readlink(f"/proc/{pid}/ns/user")


@pytest.mark.needs_root  # the worker is not dumpable: an ordinary user may not look at it
def test_the_worker_is_confined_before_it_reads(tmp_path: Path) -> None:
    endless_archive(tmp_path / "blob")
    snapshotter = OverlaySnapshotter(str(tmp_path / "store"))
    spec = LayerSpec(
        blob_digest=DIGEST, media_type="t", diff_id=DIGEST, chain_id=DIGEST, parent_chain_id=None
    )
    outcome: list[CasemateError] = []

    def unpack() -> None:
        try:
            with (tmp_path / "blob").open("rb", buffering=0) as blob:
                snapshotter.unpack(spec, blob)
        except CasemateError as error:
            outcome.append(error)

    thread = threading.Thread(target=unpack)
    thread.start()
    pid = wait_for_worker(time.monotonic() + 40, outcome)
    try:
        os.kill(pid, signal.SIGSTOP)
        status = status_of(pid)
        descriptors, root, namespace = links_of(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        thread.join()
    expected_uid = "1073741824" if snapshotter.identity.is_root else str(os.geteuid())
    assert set(status["Uid"].split()) == {expected_uid}
    assert not status["Groups"] or not snapshotter.identity.is_root
    assert status["NoNewPrivs"] == "1"
    assert set(to_names(int(status["CapEff"], 16))) == set(confine._KEPT)
    assert set(to_names(int(status["CapPrm"], 16))) == set(confine._KEPT)
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert root == f"{tmp_path}/store/empty"
    assert namespace != os.readlink("/proc/self/ns/user")
    real = {name for name in descriptors if name.startswith("/") and name != "/dev/null"}
    in_layer = {name for name in real if name.startswith(f"{tmp_path}/store/")}
    assert real - in_layer == {f"{tmp_path}/blob"}
    assert "signal 9" in outcome[0].why
    assert snapshotter.layers() == []
    assert os.listdir(f"{tmp_path}/store/trash") == []


def test_the_worker_cannot_reach_the_host(tmp_path: Path) -> None:
    """What confine.py takes away, tried from inside a process that has been confined."""
    directory = tmp_path / "tree"
    directory.mkdir()
    (tmp_path / "outside").write_text("x")
    script = f"""
import os, _socket
from casemate.store.unpack import confine
tree = os.open({str(directory)!r}, os.O_RDONLY | os.O_DIRECTORY)
outside = os.open({str(tmp_path)!r}, os.O_RDONLY | os.O_DIRECTORY)
empty = os.open({str(empty(tmp_path))!r}, os.O_RDONLY | os.O_DIRECTORY)
from casemate.kernel.namespaces import unshare
uid, gid = os.geteuid(), os.getegid()
unshare(0x10000000)
for name, text in (("setgroups", "deny"), ("uid_map", f"0 {{uid}} 1"), ("gid_map", f"0 {{gid}} 1")):
    with open("/proc/self/" + name, "w") as file:
        file.write(text)
confine.confine([tree], empty, file_limit_bytes=1 << 20)
def tried(what, do):
    try:
        do()
    except (OSError, ImportError) as error:
        print(what, type(error).__name__)
    else:
        print(what, "WORKED")
def import_new():
    import colorsys
flags = os.O_WRONLY | os.O_CREAT
os.close(os.open("inside", flags, dir_fd=tree))
tried("absolute path", lambda: os.open("/etc/passwd", os.O_RDONLY))
tried("write by descriptor", lambda: os.open("evil", flags, dir_fd=outside))
tried("read by descriptor", lambda: os.open("outside", os.O_RDONLY, dir_fd=outside))
tried("climb", lambda: os.open("../outside", os.O_RDONLY, dir_fd=tree))
tried("execute", lambda: os.execve("/proc/self/exe", ["x"], {{}}))
tried("import", import_new)
tried("large file", lambda: os.truncate(tree and os.open("big", flags, dir_fd=tree), 1 << 30))
tried("new namespace", lambda: unshare(0x00020000))
tried("network", lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM).connect(("127.0.0.1", 1)))
"""
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "WORKED" not in done.stdout
    assert len(done.stdout.splitlines()) >= 9, done.stderr
    assert "network PermissionError" in done.stdout
    assert "import ModuleNotFoundError" in done.stdout


def empty(tmp_path: Path) -> Path:
    path = tmp_path / "empty"
    path.mkdir()
    return path
