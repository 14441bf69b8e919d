"""``./dev lab``: boot the guest, run tests in it, bring their junit files home."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import glob
import os
import sys
import time
from typing import TYPE_CHECKING

from tools.lab import exchange, machine, report, selections
from tools.lab.image import CACHE, BuildFailed, ensure_image

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOT_AND_PREPARE_S = 300


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(prog="./dev lab", description=__doc__)
    made.add_argument("--list", action="store_true", help="show the selections and end")
    made.add_argument("--shell", action="store_true", help="root's shell in the guest, on this terminal")
    made.add_argument("--rebuild", action="store_true", help="build the image even if it is in the cache")
    made.add_argument(
        "words", nargs="*", metavar="SELECTION", help="a selection, a group of them, or paths of tests"
    )
    return made


def run_tests(chosen: list[selections.Selection], *, rebuild: bool) -> int:
    """Run the selections in one boot; 0 when every one of them passed."""
    paths = machine.Paths(**{name: os.path.join(CACHE, f"{name}.{kind}") for name, kind in
                             (("checkout", "tar"), ("results", "tar"), ("console", "log"), ("output", "log"))})  # fmt: skip
    for name in glob.glob("*.xml", root_dir=CACHE):
        os.unlink(os.path.join(CACHE, name))  # of former runs
    left_out = [f"--deselect={name}" for name in selections.NOT_HERE]
    job = [
        {**dataclasses.asdict(s), "options": ["-m", selections.MARKERS[s.user], *left_out]} for s in chosen
    ]
    # At once: building the image takes a minute, in which a person may go on working.
    exchange.write_checkout(paths.checkout, {"selections": job})
    exchange.make_results_disk(paths.results)
    image = ensure_image(rebuild=rebuild)
    limits = machine.Deadlines(
        silence_s=max(240, min(900, *(s.deadline_s for s in chosen))),
        whole_s=BOOT_AND_PREPARE_S + sum(s.deadline_s for s in chosen),
    )
    started = time.monotonic()
    trouble = machine.boot(image, paths, limits, show)
    print(f"lab: guest: {time.monotonic() - started:.0f} s", flush=True)
    outcomes = report.collect(exchange.read_results(paths.results), chosen, trouble, paths)
    os.unlink(paths.results)
    os.unlink(paths.checkout)
    return report.tell(outcomes, trouble, paths)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold this checkout's lab: its disks, logs and junit files are one set."""
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, "lock"), "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("lab: another ./dev lab runs in this checkout: wait for it, or use a second checkout")
        yield


def show(data: bytes) -> None:
    """Pass on what the guest's port says."""
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def shell(*, rebuild: bool) -> int:
    """Boot for a person."""
    image = ensure_image(rebuild=rebuild)
    paths = machine.Paths(checkout=os.path.join(CACHE, "shell-checkout.tar"), results=os.path.join(CACHE, "shell.tar"),
                          console=os.devnull, output=os.path.join(CACHE, "shell-output.log"))  # fmt: skip
    exchange.write_checkout(paths.checkout, {"selections": []})
    exchange.make_results_disk(paths.results)
    print("lab: the console follows (Ctrl-A X ends the machine, Ctrl-A C is QEMU's monitor)", flush=True)
    try:
        return machine.boot_interactive(image, paths)
    finally:
        for path in (paths.checkout, paths.results, paths.output):
            if os.path.exists(path):
                os.unlink(path)


def main() -> int:
    """Do what the command line says."""
    options, rest = parser().parse_known_args()
    try:
        chosen = selections.choose(options.words + rest)
    except LookupError as unknown:
        print(f"lab: there is no selection {unknown.args[0]}: see ./dev lab --list", file=sys.stderr)
        return 2
    if options.list:
        for selection in selections.SELECTIONS:
            print(f"{selection.name:16} {' '.join(selection.arguments)}")
        print("left out:", *(f"  {name}: {why}" for name, why in selections.NOT_HERE.items()), sep="\n")
        return 0
    try:
        with alone():
            return (
                shell(rebuild=options.rebuild)
                if options.shell
                else run_tests(chosen, rebuild=options.rebuild)
            )
    except BuildFailed as failed:
        print(f"lab: {failed}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
