"""Descriptors, the working directory, and the program of the runtime: nothing of the host comes along."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from casemate.prove.command import Caller
from casemate.prove.verdict import Broken, CannotTry, require
from casemate.prove.walls.wall import Container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casemate.prove.place import Canary
    from casemate.prove.walls.wall import Running, Wall

LEAKED = 20
LIST = 'for f in /proc/$$/fd/*; do [ -L $f ] && echo "fd ${f##*/}"; done'
STARTS_OF_OTHERS = 40
WATCH = """
cd /proc
while :; do for p in [0-9]*; do
  if [ -e $p/exe ] && ! [ $p/exe -ef /bin/busybox ] && [ -e $p/exe ]; then echo "exe $p" >> /seen/exe; fi
  if read -r l < $p/maps; then case $l in */bin/busybox|*"]"|"") ;; */*) echo "maps $l" >> /seen/maps;; esac; fi
  if read -r l < $p/environ; then case $l in *SECRET=*) echo "environ $p" >> /seen/environ;; esac; fi
done; done 2>/dev/null
"""


@contextmanager
def leaks(canary: Canary) -> Iterator[Caller]:
    """A caller that leaks descriptors of a canary's directory and file."""
    fds = [os.open((canary.directory, canary.file)[number % 2], os.O_RDONLY) for number in range(LEAKED)]
    try:
        yield Caller(fds=fds)
    finally:
        for fd in fds:
            os.close(fd)


def leaked_descriptors(wall: Wall) -> str:
    """C4: the caller leaks descriptors, the image asks for a working directory behind one."""
    canary = wall.place.canary()
    with leaks(canary) as caller:
        _only_standard("run", wall.script(LIST, caller=caller).out)
        with wall.running(caller=caller) as container:
            _only_standard("exec", container.exec(LIST, caller=caller).out)
            _nothing_of(canary, container)
        places = [f"/proc/self/fd/{number}" for number in range(3, 3 + LEAKED)]
        places += ["/proc/self/cwd/..", "/proc/thread-self/root/../..", "/proc/self/fd/5/../.."]
        refused = 0
        for place in places:
            said = wall.script("pwd; cat file ../file; ls", Container(cwd=place), caller)
            harm = canary.harm(said.everything) or (
                "place" in said.out.split() and "the host's files are listed"
            )
            outside = said.started and "(unreachable)" in said.out
            require(
                held=not harm and not outside,
                otherwise=f"working directory {place}: {harm or said.out.strip()}",
            )
            refused += not said.started
    return (
        f"{LEAKED} leaked descriptors, none reached a program by run or exec; {len(places)} odd working directories:"
        f" {refused} refused, none outside"
    )


def _only_standard(how: str, out: str) -> None:
    numbers = {int(line.split()[1]) for line in out.splitlines() if line.startswith("fd ")}
    require(held=bool(numbers), otherwise=f"{how}: the program did not list its descriptors")
    extra = sorted(numbers - {0, 1, 2})
    require(held=not extra, otherwise=f"{how}: the program has the descriptors {extra} beside 0, 1 and 2")


def _nothing_of(canary: Canary, container: Running) -> None:
    """Look at the first process from outside."""
    directory = f"/proc/{container.pid}/fd"
    try:
        found = [os.readlink(f"{directory}/{name}") for name in os.listdir(directory)]
    except OSError as error:
        raise CannotTry(f"the descriptors of the first process cannot be read: {error.strerror}") from None
    bad = [target for target in found if target.startswith(canary.directory)]
    require(held=not bad, otherwise=f"the first process holds {bad[0] if bad else ''}")


def runtime_program(wall: Wall) -> str:
    """C5: the image's program is a link to, or interpreted by, whatever executes it."""
    tricks = {
        "a script with the interpreter /proc/self/exe": b"#!/proc/self/exe\n",
        "a link to /proc/self/exe": "/proc/self/exe",
        "a link to /proc/1/exe": "/proc/1/exe",
    }
    for what, content in tricks.items():
        answer = wall.run("/trap/entry", container=Container(files={"trap": None, "trap/entry": content}))
        require(held=answer.code not in (0, None), otherwise=f"{what} was executed (exit code {answer.code})")
    seen = _watched(wall).get("exe", "")
    require(
        held=not seen, otherwise="a process that entered the container could be resolved by its /proc/PID/exe"
    )
    return f"{len(tricks)} programs that lead back to the runtime refused; {_watch_text()}: its program never showed"


def entering_process(wall: Wall) -> str:
    """T8: a container watches /proc while others programs are started in it."""
    seen = _watched(wall)
    for what in ("maps", "environ"):
        if what in seen:
            raise Broken(
                f"the container could read /proc/PID/{what} of a process that entered it: {seen[what][:120]}"
            )
    return f"{_watch_text()}: its memory map and environment could not be read"


def _watch_text() -> str:
    return f"{STARTS_OF_OTHERS} programs started in a container that watched each new process"


def _watched(wall: Wall) -> dict[str, str]:
    """What a container saw of the processes that entered it, by kind."""
    with wall.running(WATCH) as container:
        for _ in range(STARTS_OF_OTHERS):
            container.exec("true", caller=Caller(environment={"SECRET": "of the caller"}))
        said = container.exec("cd /seen; for f in *; do [ -f $f ] && echo $f $(head -n 1 $f); done")
    lines = [line.partition(" ") for line in said.out.splitlines()]
    return {kind: text for kind, _, text in lines}
