"""What the host still has after containers ran, and what a container reaches of it."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from casemate.prove import command, processes
from casemate.prove.verdict import require
from casemate.prove.walls.wall import PLAIN, new_name

if TYPE_CHECKING:
    from casemate.prove.walls.wall import Wall

CYCLES = 15
STORMS = 15
LATEST_SIGNAL_S = 0.12
QUIET_S = 5.0
FLOOD_BYTES = 64 << 20
MOST_RESIDENT_BYTES = 64 << 20
MOST_LOG_BYTES = 48 << 20
MEGABYTE = 1 << 20


def _left(wall: Wall) -> list[str]:
    """What is there although no container is."""
    found = [f"the process {text}" for text in processes.strangers()]
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        found += [f"the mount {line.split()[4]}" for line in file if wall.place.path in line]
    found += [f"the record {name}" for name in wall.language.leftovers()]
    return found


def _settled(wall: Wall) -> list[str]:
    """The same, after whatever ends by itself had time to."""
    deadline = time.monotonic() + QUIET_S
    while (left := _left(wall)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _groups() -> set[str]:
    """Control groups that carry the name of one of our containers."""
    return {base for base, _, _ in os.walk("/sys/fs/cgroup") if "prove-" in os.path.basename(base)}


def cycles(wall: Wall) -> str:
    """T5: containers are started, entered and removed; what the host has is counted."""
    for _ in range(CYCLES):
        wall.script("true")
        with wall.running() as container:
            container.exec("true")
    left = _settled(wall) + [f"the control group {path}" for path in _groups()]
    require(held=not left, otherwise=f"left behind after {2 * CYCLES} containers: {', '.join(left[:4])}")
    return (
        f"{2 * CYCLES} containers and {CYCLES} more programs: no process, mount, control group or record left"
    )


def signal_storm(wall: Wall) -> str:
    """T6: the start is hit by signals at random moments."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGWINCH, signal.SIGKILL)
    moment = random.Random(6)  # noqa: S311 - moments, not secrets
    for number in range(STORMS):
        name = new_name()
        line = wall.language.start_argv(PLAIN, name, ["/bin/true"], detach=False)
        with open(os.devnull, "wb") as nowhere:
            process = command.begin(line, cwd=wall.place.path, out=nowhere, err=nowhere)
            time.sleep(moment.random() * LATEST_SIGNAL_S)
            for repeated in (numbers[number % len(numbers)],) * 3:
                with suppress(ProcessLookupError):
                    process.send_signal(repeated)
            process.wait(command.PATIENCE_S)
        wall.remove(name)
    left = _settled(wall) + [f"the control group {path}" for path in _groups()]
    require(held=not left, otherwise=f"left behind after {STORMS} interrupted starts: {', '.join(left[:4])}")
    return f"{STORMS} starts interrupted by {len(numbers)} kinds of signals: nothing left after removal"


def sockets(wall: Wall) -> str:
    """C30: what our processes listen on while a container runs, and which sockets of the host it sees."""
    name = new_name()
    with closing(socket.socket(socket.AF_UNIX)) as abstract, wall.running() as container:
        abstract.bind(f"\0{name}")
        abstract.listen()
        said = container.exec("cat /proc/net/unix")
        tcp, unix = processes.listening(processes.family() - {container.pid})
    require(held=name not in said.out, otherwise="the container sees the host's abstract sockets")
    require(held=not tcp, otherwise=f"a process of the runtime listens on TCP: {', '.join(tcp)}")
    abstract_ones = [path for path in unix if path.startswith("@")]
    require(
        held=not abstract_ones,
        otherwise=f"a process of the runtime listens on an abstract socket: {abstract_ones[:1]}",
    )
    open_ones = [path for path in unix if _others_reach(path)]
    require(held=not open_ones, otherwise=f"others can connect to {', '.join(open_ones)}")
    return f"no TCP and no abstract listener beside the container; {len(unix)} sockets, for their owner alone"


def _others_reach(path: str) -> bool:
    """Whether group or others may write to a socket and enter its directory."""
    try:
        return bool(os.stat(path).st_mode & 0o022 and os.stat(os.path.dirname(path)).st_mode & 0o011)
    except OSError:
        return False


def output_flood(wall: Wall) -> str:
    """C31: a program writes far more than anybody reads."""
    script = f"yes | head -c {FLOOD_BYTES}; yes | head -c {MEGABYTE} >&2; touch /seen/done; sleep 600"
    largest = 0
    with wall.running(script) as container:
        deadline = time.monotonic() + command.PATIENCE_S
        while time.monotonic() < deadline:
            largest = max(
                largest, processes.resident_bytes(processes.family() - processes.inside(container.pid))
            )
            if container.exec("ls /seen").out.strip():
                break
        else:
            require(held=False, otherwise="the program is held up for good by its own output")
        log = 0 if wall.is_oci else _size(f"{wall.place.path}/root/containers")
    require(
        held=largest < MOST_RESIDENT_BYTES,
        otherwise=f"beside the container {largest / MEGABYTE:.0f} MiB are in use",
    )
    require(held=log < MOST_LOG_BYTES, otherwise=f"the log grew to {log / MEGABYTE:.0f} MiB")
    kept = "the runtime keeps no log" if wall.is_oci else f"{log / MEGABYTE:.0f} MiB of log"
    return (
        f"{FLOOD_BYTES >> 20} MiB of output: at most {largest / MEGABYTE:.1f} MiB of memory beside it, {kept}"
    )


def _size(path: str) -> int:
    return sum(
        os.lstat(os.path.join(base, name)).st_size for base, _, names in os.walk(path) for name in names
    )


def network(wall: Wall) -> str:
    """C34: a container without a network looks for one."""
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        said = wall.script(
            f"cat /proc/net/dev /proc/net/route; echo x | timeout 2 nc -w 1 127.0.0.1 {port} && echo connected; true"
        )
        server.settimeout(0.05)
        with suppress(TimeoutError):
            server.accept()
            require(held=False, otherwise="the container reached a service of the host on 127.0.0.1")
    require(held=said.started, otherwise=f"the container does not start: {said.answer.last_words}")
    links = [line.partition(":")[0].strip() for line in said.out.splitlines() if ":" in line]
    devices = [
        link for link in links if link not in ("lo", "tunl0", "sit0", "gre0", "ip6tnl0", "gretap0", "erspan0")
    ]
    require(held=not devices, otherwise=f"the container has the network links {', '.join(devices)}")
    return "loopback only, no route, no service of the host within reach"
