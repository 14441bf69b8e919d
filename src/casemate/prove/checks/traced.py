"""T1: which paths are looked up between the first namespace and the program, seen by strace."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from casemate.prove import command
from casemate.prove.verdict import Broken, CannotTry
from casemate.prove.walls.wall import PLAIN, new_name

if TYPE_CHECKING:
    from casemate.prove.walls.wall import Wall

LIBRARIES = re.compile(
    r"\.(py|pyc|pth|so)\b|\.so\.\d|^/(usr/)?(lib|lib64|share)/|^/etc/|^/usr/share/|/site-packages/|^/root/|^/home/"
)
PATH = re.compile(r'^\d+ +(\w+)\((?:AT_FDCWD(?:<[^>]*>)?, |\d+(?:<[^>]*>)?, )?"([^"]*)"')
HIDDEN = re.compile(r"^\d+ +(?:openat2?|mkdirat|newfstatat|readlinkat)\((?:AT_FDCWD|\d+), 0x")
ENTERS = re.compile(r"^\d+ +(?:unshare|setns)\(.*CLONE_NEW\w+.*= 0")
BEARS = re.compile(r"^\d+ +(?:clone3?|v?fork)\(.*= (\d+)")
PROGRAM = "/bin/true"


def whole_calls(lines: list[str]) -> list[str]:
    """Put calls together that another process interrupted in the trace; they stand where they end."""
    begun: dict[str, str] = {}
    whole = []
    for line in lines:
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[pid] = line.removesuffix("<unfinished ...>")
        elif " resumed>" in line and pid in begun:
            whole.append(begun.pop(pid).rstrip() + line.partition(" resumed>")[2])
        else:
            whole.append(line)
    return whole


def looked_up(lines: list[str]) -> tuple[int, list[str]]:
    """(number of all look-ups, those of libraries and configuration) of processes that have entered a namespace.

    A look-up that ``openat2`` confines to a root is that of a mount target, not of a library.
    """
    entered: set[str] = set()
    every, bad = 0, []
    for line in lines:
        pid = line.split(" ", 1)[0]
        if pid in entered and f'"{PROGRAM}"' in line and "execve" in line:
            entered.discard(pid)
        if pid in entered and "RESOLVE_IN_ROOT" not in line and (found := PATH.match(line)) and found[2]:
            every += 1
            if LIBRARIES.search(found[2]):
                bad.append(f"{found[1]} {found[2]}")
        if ENTERS.match(line):
            entered.add(pid)
        if (born := BEARS.match(line)) and (pid in entered or "CLONE_NEW" in line):
            entered.add(born[1])
    return every, bad


def no_library_look_up(wall: Wall) -> str:
    """T1: trace a start."""
    strace = shutil.which("strace", path=command.SEARCH)
    if strace is None:
        raise CannotTry("strace is not installed: apt-get install strace")
    trace, name = f"{wall.place.path}/trace", new_name()
    start = wall.language.start_argv(PLAIN, name, [PROGRAM], detach=False)
    calls = "trace=%file,clone,clone3,fork,vfork,unshare,setns"
    answer = command.run(
        [strace, "-f", "-q", "-s", "300", "-o", trace, "-e", calls, *start], cwd=wall.place.path
    )
    wall.remove(name)
    if answer.code != 0 or not os.path.exists(trace):
        raise CannotTry(f"the start cannot be traced here: {answer.last_words}")
    with open(trace, encoding="utf-8", errors="replace") as file:
        lines = whole_calls(file.read().splitlines())
    if not any("CLONE_NEW" in line for line in lines):
        raise CannotTry("the trace shows no new namespace: the runtime hands its work to somebody else")
    every, bad = looked_up(lines)
    if any(HIDDEN.match(line) for line in lines):
        raise CannotTry(
            "the entering process cannot be read by an ordinary user's strace (as it should be): run it as root"
        )
    if bad:
        raise Broken(
            f"{len(bad)} look-ups of libraries or configuration in the container's namespaces: {', '.join(bad[:3])}"
        )
    return f"{every} look-ups from the first namespace to the program, none of a library or of configuration"
