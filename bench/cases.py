"""What is measured. Each case prepares its contenders, times them interleaved and returns a Result."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from bench import oci
from bench.result import Result
from bench.rounds import CommandError, Row, interleave, timed

if TYPE_CHECKING:
    from bench.rounds import Step
    from bench.stage import Stage

IMAGE = "localhost/bench-busybox:latest"
STOPPED = 500
IDLE = 10


def verb(stage: Stage, *words: str) -> dict[str, Step]:
    """Return, for every engine, a step that runs one of its commands."""

    def step(argv: list[str]) -> Step:
        return lambda _: timed([*argv, *words])

    return {engine: step(argv) for engine, argv in stage.engines.items()}


def engine_run(stage: Stage, rounds: int) -> Result:
    """Time ``run --rm --network none`` of busybox true, cold."""
    steps = verb(stage, "run", "--rm", "--network", "none", IMAGE, "true")
    rows, lost = interleave(steps, rounds)
    return Result("run --rm --network none, busybox true", "ms", rows, {**lost, **stage.missing})


def execute(stage: Stage, rounds: int) -> Result:
    """``exec`` of /bin/true in a running container."""
    name = "bench-exec"
    for argv in stage.engines.values():
        sleep = ["run", "-d", "--network", "none", "--name", name, IMAGE, "sleep", "600"]
        subprocess.run([*argv, *sleep], check=True, capture_output=True)
    steps = verb(stage, "exec", name, "true")
    rows, lost = interleave(steps, rounds)
    for argv in stage.engines.values():
        subprocess.run([*argv, "rm", "-f", name], check=False, capture_output=True)
    return Result("exec of /bin/true", "ms", rows, {**lost, **stage.missing})


def listing(stage: Stage, rounds: int) -> Result:
    """``ps -a`` with 500 stopped containers."""
    for argv in stage.engines.values():
        for number in range(STOPPED):
            create = ["create", "--network", "none", "--name", f"bench-ps-{number}", IMAGE, "true"]
            subprocess.run([*argv, *create], check=True, capture_output=True)
    steps = verb(stage, "ps", "-a")
    rows, lost = interleave(steps, rounds)
    return Result(f"ps -a with {STOPPED} stopped containers", "ms", rows, {**lost, **stage.missing})


def memory(stage: Stage, rounds: int) -> Result:
    """Proportional set size of what an engine keeps for each idle detached container, beside the payload."""
    del rounds
    rows = []
    for engine, argv in stage.engines.items():
        before = keepers_pss(stage)
        names = [f"bench-idle-{number}" for number in range(IDLE)]
        for name in names:
            sleep = ["run", "-d", "--network", "none", "--name", name, IMAGE, "sleep", "600"]
            subprocess.run([*argv, *sleep], check=True, capture_output=True)
        rows.append(Row(engine, [(keepers_pss(stage) - before) / IDLE]))
        subprocess.run([*argv, "rm", "-f", *names], check=False, capture_output=True)
    return Result("memory kept per idle container beside the payload (PSS)", "KiB", rows, stage.missing)


KEEPERS = {
    "conmon",
    "containerd-shim",
    "containerd-shim-runc-v2",
    "containerd-shim-runc-v1",
    "enter",
    "casemate",
}


def keepers_pss(stage: Stage) -> float:
    """Sum the PSS in KiB of all monitor processes (not of the payload, not of shared daemons)."""
    total = 0.0
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        with suppress(OSError, IndexError):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                argv = file.read().split(b"\0")
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                comm = file.read().strip()
            if os.path.basename(argv[0].decode()) not in KEEPERS and comm not in KEEPERS:
                continue
            with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
                total += sum(float(line.split()[1]) for line in file if line.startswith("Pss:"))
    del stage
    return total


def pull(stage: Stage, rounds: int) -> Result:
    """Pull a three-layer Debian from a local registry until it can run, each time into a new store."""
    reference = stage.debian_reference()
    steps: dict[str, Step] = {}
    for engine in stage.engines:
        steps[engine] = partial(stage.pull_into_new_store, engine, reference)
    rows, lost = interleave(steps, max(3, rounds // 4), warmup=1)
    return Result(
        "pull of three gzip layers until runnable, from a loopback registry",
        "ms",
        rows,
        {**lost, **stage.missing},
    )


def pull_memory(stage: Stage, rounds: int) -> Result:
    """Peak resident memory of that pull (the largest single process; daemons are not counted)."""
    del rounds
    reference = stage.debian_reference()
    rows, lost = [], {}
    for engine in stage.engines:
        if engine == "docker":
            lost[engine] = "the daemon pulls, not the client"
            continue
        try:
            rows.append(Row(engine, [stage.peak_of_pull(engine, reference)]))
        except CommandError as error:
            lost[engine] = str(error)
    return Result("peak memory of that pull", "MiB", rows, lost)


CASES = {
    "oci-run": oci.run,
    "oci-life": oci.lifecycle,
    "oci-exec": oci.execute,
    "oci-warm": oci.warm,
    "oci-memory": oci.memory,
    "engine-run": engine_run,
    "exec": execute,
    "memory": memory,
    "pull": pull,
    "pull-memory": pull_memory,
    "ps": listing,
}
