"""The runtime beside runc and crun, from the same bundle of busybox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from bench import peers
from bench.images import busybox_rootfs
from bench.result import Result
from bench.rounds import Row, interleave, timed

if TYPE_CHECKING:
    from bench.rounds import Step
    from bench.stage import Stage

NAMES = ("casemate-oci", "runc", "crun")
WARM = """
import sys, time
from casemate.runtime.cli.main import main
for line in sys.stdin:
    started = time.perf_counter()
    status = main(["--root", sys.argv[1], "run", "--bundle", sys.argv[2], line.strip()])
    print(status, (time.perf_counter() - started) * 1000, flush=True)
"""


class Runtimes:
    """The command lines of the installed runtimes, each with a state directory of its own, and the bundle."""

    def __init__(self, stage: Stage, *argv: str) -> None:
        self.work = stage.work
        self.bundle = bundle(stage, *argv)
        found = {name: peers.casemate(name) if "casemate" in name else peers.find(name) for name in NAMES}
        self.missing = {name: "not installed" for name, program in found.items() if not program}
        self.argv = {
            name: [program, "--root", os.path.join(stage.work, f"oci-{name}")]
            for name, program in found.items()
            if program
        }


def bundle(stage: Stage, *argv: str) -> str:
    """Write a bundle that runs ``argv`` with what ``runc spec`` asks for; return its directory."""
    directory = os.path.join(stage.work, f"bundle-{os.path.basename(argv[0])}")
    if not os.path.exists(directory):
        os.makedirs(directory)
        busybox_rootfs(directory)
        subprocess.run([peers.find("runc") or "runc", "spec", "--bundle", directory], check=True)
        path = os.path.join(directory, "config.json")
        with open(path, encoding="utf-8") as file:
            spec = json.load(file)
        spec["process"].update(args=list(argv), terminal=False, rlimits=[])
        with open(path, "w", encoding="utf-8") as file:
            json.dump(spec, file)
    return directory


def run(stage: Stage, rounds: int) -> Result:
    """Time ``run`` of /bin/true."""
    runtimes = Runtimes(stage, "/bin/true")

    def step(argv: list[str], number: int) -> float:
        return timed([*argv, "run", "--bundle", runtimes.bundle, f"bench-{number}"])

    steps: dict[str, Step] = {name: partial(step, argv) for name, argv in runtimes.argv.items()}
    rows, lost = interleave(steps, rounds, warmup=3)
    return Result("OCI run of /bin/true", "ms", rows, {**lost, **runtimes.missing})


def lifecycle(stage: Stage, rounds: int) -> Result:
    """Time ``create``, ``start`` and ``delete`` of a container whose program ends at once."""
    runtimes = Runtimes(stage, "/bin/true")

    def step(argv: list[str], number: int) -> float:
        name = f"bench-life-{number}"
        # The container's first process inherits the output, so it must not be a pipe that is read to its end.
        started = time.perf_counter()
        silent(*argv, "create", "--bundle", runtimes.bundle, name)
        silent(*argv, "start", name)
        elapsed = (time.perf_counter() - started) * 1000
        wait_until_stopped(argv, name)
        started = time.perf_counter()
        silent(*argv, "delete", name)
        return elapsed + (time.perf_counter() - started) * 1000

    steps: dict[str, Step] = {name: partial(step, argv) for name, argv in runtimes.argv.items()}
    rows, lost = interleave(steps, rounds, warmup=3)
    return Result("OCI create + start + delete", "ms", rows, {**lost, **runtimes.missing})


def execute(stage: Stage, rounds: int) -> Result:
    """Time ``exec`` of /bin/true in a container that sleeps."""
    runtimes = Runtimes(stage, "/bin/sleep", "600")
    name = "bench-exec"
    steps: dict[str, Step] = {}
    for runtime, argv in runtimes.argv.items():
        silent(*argv, "run", "--detach", "--bundle", runtimes.bundle, name)
        command = [*argv, "exec", name, "/bin/true"]
        steps[runtime] = lambda _, command=command: timed(command)
    rows, lost = interleave(steps, rounds, warmup=3)
    for argv in runtimes.argv.values():
        silent(*argv, "delete", "--force", name)
    return Result("OCI exec of /bin/true", "ms", rows, {**lost, **runtimes.missing})


def warm(stage: Stage, rounds: int) -> Result:
    """Time the whole of ``run`` from a Python process that has run one before, beside ``crun run``."""
    runtimes = Runtimes(stage, "/bin/true")
    root = os.path.join(stage.work, "oci-warm")
    with subprocess.Popen(
        [sys.executable, "-c", WARM, root, runtimes.bundle],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def ours(number: int) -> float:
            assert process.stdin is not None  # noqa: S101 - PIPE was asked for
            assert process.stdout is not None  # noqa: S101 - same
            process.stdin.write(f"bench-warm-{number}\n")
            process.stdin.flush()
            return float(process.stdout.readline().split()[1])

        steps: dict[str, Step] = {"casemate (warm process)": ours}
        for name in ("crun", "runc"):
            if name in runtimes.argv:
                argv = [*runtimes.argv[name], "run", "--bundle", runtimes.bundle]
                steps[name] = lambda number, argv=argv: timed([*argv, f"bench-warm-{number}"])
        rows, lost = interleave(steps, rounds, warmup=3)
        process.communicate()
    return Result("start from a warm Python process to reaped", "ms", rows, {**lost, **runtimes.missing})


def memory(stage: Stage, rounds: int) -> Result:
    """Peak resident memory of ``run`` (largest process, the payload is 1 MiB), and of ``enter`` alone."""
    del rounds
    runtimes = Runtimes(stage, "/bin/sleep", "600")
    rows = [Row("enter", [peak_of_enter(runtimes)])]
    quick = bundle(stage, "/bin/true")
    for name, argv in runtimes.argv.items():
        # GNU time starts it from a small process: of a child of ours the kernel would count our own 10 MiB too.
        command = ["/usr/bin/time", "-f", "%M", *argv, "run", "--bundle", quick, "bench-peak"]
        answer = subprocess.run(command, capture_output=True, check=True)
        rows.append(Row(name, [int(answer.stderr.split()[-1]) / 1024]))
    return Result("peak resident memory of OCI run", "MiB", rows, runtimes.missing)


def peak_of_enter(runtimes: Runtimes) -> float:
    """VmHWM in MiB of the ``enter`` that waits for a running container."""
    argv = runtimes.argv["casemate-oci"]
    command = [*argv, "run", "--bundle", runtimes.bundle, "bench-peak-enter"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with suppress(OSError, IndexError, ValueError):
                    with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="utf-8") as file:
                        child = file.read().split()[0]
                    with open(f"/proc/{child}/task/{child}/children", encoding="utf-8") as file:
                        file.read().split()[
                            0
                        ]  # the container's first process is there: enter has done its work
                    with open(f"/proc/{child}/status", encoding="utf-8") as file:
                        return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) / 1024
                time.sleep(0.01)
        finally:
            silent(*argv, "delete", "--force", "bench-peak-enter")
    message = "the container did not start within 10 s"
    raise RuntimeError(message)


def silent(*argv: str) -> None:
    """Run a command that must succeed, without a pipe that its children could hold open."""
    null = subprocess.DEVNULL
    subprocess.run(argv, check=True, stdin=null, stdout=null, stderr=null)


def wait_until_stopped(argv: list[str], name: str) -> None:
    """Poll ``state`` until the container has stopped."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        answer = subprocess.run([*argv, "state", name], capture_output=True, check=True)
        if json.loads(answer.stdout)["status"] == "stopped":
            return
        time.sleep(0.01)
