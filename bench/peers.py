"""The programs that casemate is measured beside: found, started in private directories, stopped by id."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 30
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def find(name: str) -> str | None:
    """Return the path of a program: Debian's own before anything that /usr/local may hold."""
    return shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin") or shutil.which(name)


def casemate(name: str = "casemate") -> str:
    """Return our own command from the environment that runs this benchmark."""
    return os.path.join(os.path.dirname(sys.executable), name)


def wait_for(ready: list[str], what: subprocess.Popen[bytes], log: str) -> None:
    """Poll ``ready`` until it succeeds. Raises RuntimeError with the tail of the log when it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and what.poll() is None:
        if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.05)
    with open(log, encoding="utf-8", errors="replace") as file:
        message = f"{ready[0]} did not come up: {file.read()[-500:]}"
    raise RuntimeError(message)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a server to end, then insist."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def dockerd(work: str) -> Iterator[list[str]]:
    """Run a docker daemon of our own and yield the client's command line for it."""
    os.makedirs(work, exist_ok=True)
    socket, log = os.path.join(work, "docker.sock"), os.path.join(work, "dockerd.log")
    daemon = find("dockerd")
    client = find("docker")
    if daemon is None or client is None:
        message = "docker.io is not installed"
        raise RuntimeError(message)
    argv = [daemon, "--data-root", f"{work}/data", "--exec-root", f"{work}/exec", "--pidfile", f"{work}/pid"]
    argv += ["-H", f"unix://{socket}", "--bridge=none", "--iptables=false", "--ip6tables=false"]
    with ExitStack() as undo:
        output = undo.enter_context(open(log, "ab"))
        process = subprocess.Popen(argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        undo.callback(stop, process)
        wait_for([client, "-H", f"unix://{socket}", "version"], process, log)
        yield [client, "-H", f"unix://{socket}"]


def podman(work: str) -> list[str]:
    """Return podman's command line with a private store. Raises RuntimeError when it is not installed."""
    program = find("podman")
    if program is None:
        message = "podman is not installed"
        raise RuntimeError(message)
    os.makedirs(work, exist_ok=True)
    with open(os.path.join(work, "containers.conf"), "w", encoding="utf-8") as file:
        file.write(CONTAINERS_CONF)
    os.environ["CONTAINERS_CONF"] = os.path.join(work, "containers.conf")
    runtime = find("crun") or find("runc") or "crun"
    return [program, "--root", f"{work}/root", "--runroot", f"{work}/run", "--runtime", runtime]


@contextmanager
def registry(work: str, port: int) -> Iterator[str]:
    """Run Debian's docker-registry on loopback and yield ``host:port``."""
    program = find("docker-registry")
    if program is None:
        message = "docker-registry is not installed"
        raise RuntimeError(message)
    os.makedirs(work, exist_ok=True)
    config, log = os.path.join(work, "config.yml"), os.path.join(work, "registry.log")
    with open(config, "w", encoding="utf-8") as file:
        file.write(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {work}/data}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        )
    with ExitStack() as undo:
        output = undo.enter_context(open(log, "ab"))
        process = subprocess.Popen([program, "serve", config], stdout=output, stderr=output)
        undo.callback(stop, process)
        probe = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/v2/', timeout=2)"
        wait_for([sys.executable, "-c", probe], process, log)
        yield f"127.0.0.1:{port}"


@contextmanager
def no_new_groups() -> Iterator[None]:
    """Remove the empty parent control groups that engines leave, if they were not there before."""

    def groups() -> set[str]:
        found: set[str] = set()
        for hierarchy, names, _ in os.walk("/sys/fs/cgroup"):
            if hierarchy.count("/") > 4:  # noqa: PLR2004 - /sys/fs/cgroup/HIERARCHY/GROUP
                names.clear()
            found.update(os.path.join(hierarchy, name) for name in names)
        return found

    before = groups()
    yield
    for group in sorted(groups() - before, key=len, reverse=True):
        with suppress(OSError):
            os.rmdir(group)


def remove_tree(path: str) -> None:
    """Delete a work directory at the very end (deleting between runs would spoil later ones on ext4)."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = [line.split()[4] for line in file]
    for mount in reversed([mount for mount in mounts if mount.startswith(path + "/")]):
        subprocess.run(["umount", "--lazy", mount], check=False)  # podman keeps its store mounted
    with suppress(OSError):
        subprocess.run(["rm", "-rf", "--one-file-system", path], check=False)
