"""``./dev bench [CASE...] [--rounds N] [--json FILE]``: casemate beside its peers in one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile

from bench.cases import CASES
from bench.rounds import load_average, table
from bench.stage import Stage, lift_limits

PRIVATE = "CASEMATE_BENCH_PRIVATE"


def enter_private_mounts() -> None:
    """Re-execute in a private mount namespace without the hybrid's v2 tree, which crun and podman refuse."""
    if PRIVATE in os.environ or os.geteuid() != 0 or shutil.which("unshare") is None:
        return
    script = 'mount --make-rprivate /; umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "bench", *sys.argv[1:]]
    os.execvpe(argv[0], argv, {**os.environ, PRIVATE: "1"})  # noqa: S606 - replaces this process on purpose


def main() -> None:
    """Run the chosen cases and print their tables."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("case", nargs="*", help=f"which of: {' '.join(CASES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=20, help="rounds counted (default: 20)")
    parser.add_argument("--engines", default="casemate,podman,docker", help="engines to compare")
    parser.add_argument("--json", metavar="FILE", help="write the samples too")
    options = parser.parse_args()
    unknown = [name for name in options.case if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]}: choose from {' '.join(CASES)}")
    enter_private_mounts()
    lift_limits()
    print(f"{platform.release()} {platform.machine()}, {os.cpu_count()} CPUs, load {load_average()}")
    samples = {}
    work = tempfile.mkdtemp(prefix="casemate-bench-")
    with Stage(work, options.engines.split(",")) as stage:
        for name in options.case or CASES:
            result = CASES[name](stage, options.rounds)
            print(table(result.title, result.unit, result.rows, result.lost), flush=True)
            samples[name] = {row.name: row.samples for row in result.rows}
    print(f"\nload at the end {load_average()}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(samples, file, indent=1)


if __name__ == "__main__":
    main()
