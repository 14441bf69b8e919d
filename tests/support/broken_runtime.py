"""An OCI runtime with one fault: it spoils what it is given, then lets casemate-oci do the work.

broken_runtime.py FAULT casemate-oci --root DIR VERB ...
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

NEW_PID = 0x20000000
EIGHT = 0x4FB
PAUSE_S = 0.1
LINGER_S = 7


class Call:
    """One command line."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.verb = words[3]
        self.bundle = Path(words[words.index("--bundle") + 1]) if "--bundle" in words else Path()
        self.spec: dict[str, Any] = {}
        if self.verb == "run":
            self.spec = json.loads((self.bundle / "config.json").read_text())

    @property
    def rootfs(self) -> Path:
        return self.bundle / "rootfs"

    def add(self, *options: str) -> None:
        self.words[4:4] = options


def no_masks(call: Call) -> None:
    call.spec["linux"]["maskedPaths"] = []


def no_read_only(call: Call) -> None:
    call.spec["linux"]["readonlyPaths"] = []


def follows_links(call: Call) -> None:
    for mount in call.spec["mounts"]:
        path = call.rootfs / mount["destination"].lstrip("/")
        if path.is_symlink() and path.is_dir():
            (path / "made").mkdir(exist_ok=True)


def settings_into_files(call: Call) -> None:
    for name, value in call.spec["linux"].pop("sysctl", {}).items():
        path = call.rootfs / "proc/sys" / name.replace(".", "/")
        if path.exists():
            path.write_text(value)


def leaks_descriptor(call: Call) -> None:
    os.dup2(os.open("/", os.O_RDONLY), 3)
    call.add("--preserve-fds", "1")


def runs_itself(call: Call) -> None:
    if call.spec["process"]["args"][0] == "/trap/entry":
        call.spec["process"]["args"] = ["/bin/true"]


def makes_mount_points_by_path(call: Call) -> None:
    for mount in call.spec["mounts"]:
        if mount["destination"] == "/v":
            for number in range(400):
                with suppress(OSError):  # between two swaps
                    (Path(mount["source"]) / f"a/made-{number}").mkdir(exist_ok=True)


def open_groups(call: Call) -> None:
    for mount in call.spec["mounts"]:
        if mount["type"] == "cgroup":
            mount["options"].remove("ro")


def one_capability_more(call: Call) -> None:
    for kind in ("bounding", "effective", "permitted"):
        call.spec["process"]["capabilities"][kind].append("CAP_NET_RAW")


def another_exec(call: Call) -> None:
    if call.verb == "exec":
        call.add("--env", "EXTRA=1")


def one_group_more(call: Call) -> None:
    call.spec["process"]["user"]["additionalGids"].append(4321)


def drops_settings(call: Call) -> None:
    sysctl = call.spec["linux"].get("sysctl", {})
    call.spec["linux"]["sysctl"] = {key: value for key, value in sysctl.items() if key.startswith("net.ipv4")}


def helper_from_the_image(call: Call) -> None:
    environment = dict(pair.split("=", 1) for pair in call.spec["process"]["env"])
    subprocess.run(["sh", "-c", "xz --version"], env={"PATH": environment["PATH"] + ":/usr/bin"}, check=False)


def _linger(keep: Any, *, seconds: float = LINGER_S) -> None:
    """A process of the runtime that stays."""
    if not os.fork():
        for number in range(3):
            os.close(number)
        time.sleep(seconds)
        del keep
        os._exit(0)


def listens(call: Call) -> None:
    if "--detach" in call.words:
        server = socket.socket(socket.AF_UNIX)
        server.bind(f"\0broken-{os.getpid()}")
        server.listen()
        _linger(server, seconds=2)


def buffers(call: Call) -> None:
    if "--detach" in call.words:
        _linger(b"x" * (100 << 20), seconds=4)


def any_name(call: Call) -> None:
    name = call.words[-1]
    if not name.replace("-", "").isalnum() or len(name) > 1000:
        call.words[-1] = f"renamed-{os.getpid()}"


def shares_the_network(call: Call) -> None:
    linux = call.spec["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "network"]


def looks_up_inside(call: Call) -> None:
    del call
    subprocess.run(["unshare", "--uts", "cat", "/etc/hostname"], capture_output=True, check=False)


def imports_the_image(call: Call) -> None:
    path = call.rootfs / "usr/lib/python3/sitecustomize.py"
    if path.exists():
        subprocess.run(
            [sys.executable, "-c", path.read_text().splitlines()[0].replace("__file__", "'it'")], check=False
        )


def passes_the_environment(call: Call) -> None:
    if "SECRET" in os.environ:
        call.spec["process"]["env"].append(f"SECRET={os.environ['SECRET']}")


def leaves_a_process(call: Call) -> None:
    del call
    _linger(None)


def enters_visibly(call: Call) -> None:
    """A process with the program of the host, in the container's process namespace, with its capabilities."""
    if call.verb != "exec":
        return
    name = next(word for word in call.words[4:] if word.startswith("prove-"))
    state = subprocess.run([*call.words[:3], "state", name], capture_output=True, text=True, check=True)
    helper = os.fork()
    if not helper:
        _be_visible(json.loads(state.stdout)["pid"])
    os.waitpid(helper, 0)


def _be_visible(container: int) -> NoReturn:
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{container}/ns/pid", "rb") as namespace:
        if libc.setns(namespace.fileno(), NEW_PID):
            os._exit(1)
    pid = os.fork()
    if not pid:
        head = (ctypes.c_uint32 * 2)(0x20080522, 0)
        libc.capset(head, (ctypes.c_uint32 * 6)(EIGHT, EIGHT, 0, 0, 0, 0))
        time.sleep(PAUSE_S)
        os._exit(0)
    os.waitpid(pid, 0)
    os._exit(0)


ALWAYS: tuple[Callable[[Call], None], ...] = (another_exec, enters_visibly)


def main() -> None:
    fault: Callable[[Call], None] = globals()[sys.argv[1]]
    call = Call(sys.argv[2:])
    if call.verb == "run" or (fault in ALWAYS and call.verb == "exec"):
        fault(call)
    if call.spec:
        (call.bundle / "config.json").write_text(json.dumps(call.spec))
    os.execv(call.words[0], call.words)  # noqa: S606 - the runtime takes this process over


if __name__ == "__main__":
    main()
