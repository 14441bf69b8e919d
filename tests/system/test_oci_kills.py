"""kill -9 of casemate-oci between any two of its steps: `delete --force` removes everything, and no command shows a traceback.

A step is a system call that changes something. strace records those of a whole command once, then each is the last one in turn:
the process is killed on entering it, so that all before it have happened and it has not.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from ocibundle import Runtime, made_runtime, reap

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root, pytest.mark.slow]

CHANGING = [
    "clone3",
    "fchmod",
    "memfd_create",
    "mkdir",
    "mknodat",
    "pidfd_send_signal",
    "poll",
    "recvmsg",
    "rename",
    "renameat",
    "rmdir",
    "sendmsg",
    "socketpair",
    "unlink",
    "vfork",
    "wait4",
    "write",
    "exit_group",
]
AT_LEAST = {"create": 30, "run": 40, "start": 3, "delete": 12, "kill": 2, "exec": 8}


@pytest.fixture(params=["root", "rootless"])
def oci(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with made_runtime(rootless=request.param == "rootless") as runtime:
        yield runtime


def traced(oci: Runtime, words: tuple[str, ...], *options: str) -> str:
    """Run a command below strace, which does not follow its children; return what strace wrote."""
    log = oci.base / "strace"
    oci.save()
    subprocess.run(
        ["strace", "-o", str(log), "-e", f"trace={','.join(CHANGING)}", *options, *oci.command(*words)],
        cwd=oci.bundle,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    return log.read_text()


def steps(oci: Runtime, words: tuple[str, ...]) -> list[tuple[str, int]]:
    """(system call, its how-manieth) of every step of a command that is let alone."""
    seen: Counter[str] = Counter()
    found = []
    for line in traced(oci, words).splitlines():
        name = re.match(r"(\w+)\(", line)
        if name:
            seen[name[1]] += 1
            found.append((name[1], seen[name[1]]))
    assert len(found) >= AT_LEAST[words[0]] or oci.rootless, found
    return found


def leftovers(oci: Runtime) -> list[str]:
    """What a removed container has left: its control groups, its state, its processes."""
    state = oci.base / "state"
    group = f"casemate-oci/{crc32(os.path.realpath(state).encode()):08x}-c"
    found = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{group}")]
    found += [name.name for name in state.iterdir() if name.name == "c"] if state.exists() else []
    # Whoever lost its parent is our child now: pytest is the subreaper (conftest.py).
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    for child in children:
        with suppress(OSError):
            stat = Path(f"/proc/{child}/stat").read_text()
            if stat.rpartition(")")[2].split()[0] != "Z":
                found.append(stat)
    return found


def before(oci: Runtime, verb: str) -> None:
    """Bring container c to where a verb begins."""
    if verb in ("start", "delete"):
        assert oci("create", "c").returncode == 0
    elif verb in ("exec", "kill"):
        assert oci("run", "--detach", "c").returncode == 0


COMMANDS = [
    ("create", "c"),
    ("run", "c"),
    ("start", "c"),
    ("kill", "c", "KILL"),
    ("exec", "c", "true"),
    ("delete", "c"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=[words[0] for words in COMMANDS])
def test_killed_between_any_two_steps_it_leaves_nothing_after_delete(
    oci: Runtime, words: tuple[str, ...]
) -> None:
    oci.args(*(["true"] if words[0] == "run" else ["sleep", "100"]))
    for _ in range(2):  # the first time some files are made that stay, as that of the compiled filter
        before(oci, words[0])
        every = steps(oci, words)
        assert oci("delete", "--force", "c").returncode == 0
    for name, count in every:
        before(oci, words[0])
        killed = traced(oci, words, "-e", f"inject={name}:signal=KILL:when={count}")
        assert "+++ killed by SIGKILL +++" in killed, (name, count)
        told = oci("state", "c")
        assert "Traceback" not in told.stderr, (name, count, told.stderr)
        reap()
        gone = oci("delete", "--force", "c")
        reap()
        assert (gone.returncode, gone.stderr) == (0, ""), (name, count)
        deadline = (
            time.monotonic() + 2
        )  # for `enter`, which ends by itself when it sees that its parent is gone
        while leftovers(oci) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert leftovers(oci) == [], (name, count)
