"""Mount targets, masks, kernel files and volumes: what is mounted goes inside the root or nowhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from casemate.prove.verdict import Broken, require
from casemate.prove.walls.wall import Container, quoted
from casemate.runtime import default_profile

if TYPE_CHECKING:
    from casemate.prove.payload import Content
    from casemate.prove.place import Canary
    from casemate.prove.walls.wall import Wall

DIRECTORIES = ("proc", "sys", "dev", "dev/pts", "dev/shm", "mnt/volume", "mnt/tmp")
FILES = ("etc/hosts", "mnt/file")
KINDS = ("absolute", "parents", "dangling")
SWAPS, STARTS = 4000, 12
PORT_FILE = "proc/sys/net/ipv4/ip_unprivileged_port_start"


def link_to(canary: Canary, place: str, kind: str) -> str:
    """Where the link of a hostile image points."""
    target = canary.file if place in FILES else canary.place
    return {"absolute": target, "parents": "../" * 12 + target[1:], "dangling": f"{canary.place}/new"}[kind]


def mount_targets(wall: Wall) -> str:
    """C1: each mount target of the image is a link to the outside."""
    canary, source = wall.place.canary(), wall.place.directory("source", 0o755)
    with open(f"{source}/file", "w", encoding="ascii") as file:
        file.write("harmless\n")
    started = count = 0
    for place in (*DIRECTORIES, *FILES):
        mounts = {"mnt/volume": [(source, "/mnt/volume")], "mnt/file": [(f"{source}/file", "/mnt/file")]}
        if wall.is_oci:
            mounts["etc/hosts"] = [(f"{source}/file", "/etc/hosts")]
        tmpfs = ["/mnt/tmp"] if place == "mnt/tmp" else []
        for kind in KINDS:
            files: dict[str, Content] = {os.path.dirname(place): None} if "/" in place else {}
            files[place] = link_to(canary, place, kind)
            container = Container(files=files, mounts=mounts.get(place, ()), tmpfs=tmpfs)
            look = f"cat /{place} /{place}/file; touch /{place}/made; ls /{place}; chmod 777 /{place}"
            said = wall.script(look, container)
            harm = canary.harm(said.everything)
            require(held=not harm, otherwise=f"/{place} in the image is a link ({kind}): {harm}")
            started, count = started + said.started, count + 1
    return f"{count} images, {started} started with everything inside, {count - started} refused; canary untouched"


def masks(wall: Wall) -> str:
    """C2: device nodes of the image are links to the outside, masked and read-only paths are used."""
    canary = wall.place.canary()
    nodes = ("null", "zero", "console", "ptmx", "tty")
    files = {"dev": None, **{f"dev/{name}": canary.file for name in nodes}}
    masked, kept = default_profile.masked_paths(), default_profile.READONLY_PATHS
    script = (
        f"for f in {quoted(*masked)}; do"
        " if [ -d $f ]; then n=$(ls -A $f | wc -c); else n=$(timeout 1 head -c 64 $f | wc -c); fi 2>/dev/null;"
        " [ $n -gt 0 ] && echo read $f; done;"
        f" find {quoted(*kept)} -type f 2>/dev/null | while read -r f; do (: >> $f) 2>/dev/null && echo write $f; done;"
        " echo x > /dev/null; echo x > /dev/console; cat /dev/null; true"
    )
    said = wall.script(script, Container(files=files))
    harm = canary.harm(said.everything)
    require(held=not harm, otherwise=f"the image's /dev/null is a link: {harm}")
    require(held=said.started, otherwise=f"the container does not start: {said.answer.last_words}")
    open_ones = [line for line in said.out.splitlines() if line.startswith(("read /", "write /"))]
    require(held=not open_ones, otherwise=f"a protected kernel path is open: {', '.join(open_ones[:5])}")
    return f"{len(masked)} masked paths are empty, nothing below {len(kept)} others opens for writing; canary untouched"


def kernel_files(wall: Wall) -> str:
    """C3: the image has files of its own where the runtime writes kernel settings."""
    fake = wall.place.directory("fake", 0o777)
    os.makedirs(f"{fake}/ipv4")
    traps = (PORT_FILE, "proc/self/attr/exec", "proc/self/oom_score_adj", "proc/self/uid_map")
    sysctls = {"net.ipv4.ip_unprivileged_port_start": "777"}
    files: dict[str, Content] = dict.fromkeys(traps, b"untouched\n")
    said = wall.script(f"cat /{PORT_FILE}", Container(files=files, sysctls=sysctls))
    if said.started:
        seen = said.out.strip()
        require(held=seen == "777", otherwise=f"asked for the setting 777, the kernel has {seen or 'none'!r}")
    with open(f"{fake}/ipv4/ip_unprivileged_port_start", "w", encoding="ascii") as file:
        file.write("untouched\n")
    os.chmod(file.name, 0o666)  # noqa: S103 - the trap must be easy to fall into
    over = wall.script("true", Container(mounts=[(fake, "/proc/sys/net")], sysctls=sysctls))
    with open(file.name, encoding="ascii") as again:
        require(
            held=again.read() == "untouched\n",
            otherwise="a kernel setting was written into a file of a volume",
        )
    first = (
        "took effect beside files of the image" if said.started else "was refused beside files of the image"
    )
    return f"a setting {first}; with a volume over /proc/sys/net the start was {'harmless' if over.started else 'refused'}"


def shared_volume(wall: Wall) -> str:
    """C6: one container swaps a directory of a volume for a link to the outside while others mount below it."""
    canary, volume = wall.place.canary(), wall.place.directory("volume", 0o777)
    swap = (
        f"cd /v; mkdir -m 777 real real/place; ln -s {canary.directory} link; i=0; mv real a;"
        f" while [ $i -lt {SWAPS} ]; do mv a real; mv link a; mv a link; mv real a; i=$((i+1)); done"
    )
    started = 0
    with wall.running(swap, Container(mounts=[(volume, "/v")])):
        for number in range(STARTS):
            target = ("/v/a/place", "/v/a/place/deep", "/v/a/new")[number % 3]
            container = Container(mounts=[(volume, "/v")], tmpfs=[target])
            said = wall.script(f"echo x > {target}/written; cat /v/a/file", container)
            harm = canary.harm(said.everything)
            require(held=not harm, otherwise=f"a mount at {target} was led outside: {harm}")
            started += said.started
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        if canary.directory in file.read():
            raise Broken("a mount of a container is left on the host")
    return f"{STARTS} starts while the path was swapped, {started} started inside, the others refused; canary untouched"
