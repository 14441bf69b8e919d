"""What an image, an annotation or a name says never acts on the host."""

from __future__ import annotations

import os
import platform
import secrets
from typing import TYPE_CHECKING

from casemate.prove import payload
from casemate.prove.command import Caller
from casemate.prove.verdict import require
from casemate.prove.walls.wall import Container

if TYPE_CHECKING:
    from casemate.prove.payload import Content
    from casemate.prove.walls.wall import Wall

HOST_SETTINGS = (
    "kernel/core_pattern", "kernel/modprobe", "kernel/shmmax", "kernel/msgmax", "kernel/hostname", "kernel/domainname",
    "net/ipv4/ip_forward", "net/ipv4/ip_unprivileged_port_start", "net/ipv4/ping_group_range", "vm/overcommit_memory",
    "fs/suid_dumpable", "kernel/yama/ptrace_scope", "kernel/randomize_va_space",
)  # fmt: skip
ANNOTATIONS = {
    "org.systemd.property.ExecStart": "['/bin/touch']",
    "org.systemd.property.Slice": "'system.slice\n[Service]\nExecStart=/bin/touch'",
    "run.oci.hooks.stdout": "PLACE/annotated",
    "run.oci.hooks.stderr": "PLACE/annotated",
    "io.katacontainers.config.hypervisor.path": "PLACE/program",
    "io.kubernetes.cri-o.UnifiedCgroup": "memory.max=1;--x",
    "with space\n--log=PLACE/annotated": "+$(touch PLACE/annotated)",
}
TRAPPED = (
    "xz",
    "gzip",
    "zstd",
    "git",
    "tar",
    "sh",
    "python3",
    "modprobe",
    "newuidmap",
    "newgidmap",
    "id",
    "mount",
    "ldconfig",
)
LIBRARY = tuple(
    f"usr/lib/python{version}/{name}"
    for version in ("3", platform.python_version().rpartition(".")[0])
    for name in (
        "sitecustomize.py",
        "usercustomize.py",
        "os.py",
        "encodings/__init__.py",
        "encodings/cp1250.py",
        "site.py",
    )
)
PIPES = (
    "etc/passwd",
    "etc/group",
    "etc/localtime",
    "etc/nsswitch.conf",
    "etc/ld.so.preload",
    "etc/ld.so.cache",
)
POISON = {
    "PYTHONPATH": "TRAP", "PYTHONHOME": "/nonexistent", "PYTHONSTARTUP": "TRAP/sitecustomize.py", "PYTHONINSPECT": "1",
    "PYTHONVERBOSE": "1", "PYTHONDEBUG": "1", "PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1", "PYTHONUTF8": "0",
    "PYTHONIOENCODING": "utf-16", "PYTHONHASHSEED": "0", "PYTHONOPTIMIZE": "2", "PYTHONPLATLIBDIR": "trap",
    "PYTHONUSERBASE": "TRAP", "PYTHONEXECUTABLE": "TRAP/python3", "PYTHONBREAKPOINT": "trap.go",
    "LD_LIBRARY_PATH": "TRAP", "LD_BIND_NOW": "1", "LD_PROFILE_OUTPUT": "TRAP", "GCONV_PATH": "TRAP", "LOCPATH": "TRAP",
    "NLSPATH": "TRAP/%N", "HOSTALIASES": "TRAP/aliases", "RES_OPTIONS": "debug", "LOCALDOMAIN": "trap", "TZDIR": "TRAP",
    "TZ": "TRAP/zone", "LC_ALL": "tr_TR.UTF-8", "LANGUAGE": "tr", "GLIBC_TUNABLES": "glibc.malloc.check=3",
    "MALLOC_PERTURB_": "165", "MALLOC_TRACE": "TRAP/trace", "TMPDIR": "/nonexistent", "IFS": "x", "ENV": "TRAP/rc",
    "BASH_ENV": "TRAP/rc", "CDPATH": "TRAP", "GODEBUG": "inittrace=1",
    "SECRET": "of the caller",
}  # fmt: skip
NAMES = (
    "..",
    "../up",
    "a/b",
    "/a/b",
    "a\nb",
    "a b",
    "a;b",
    "$(id)",
    "-rm",
    ".",
    "a" * 2000,
    "\x1b[31m",
    "ünïcode",
)


def _host_settings() -> dict[str, str]:
    found = {}
    for name in HOST_SETTINGS:
        try:
            with open(f"/proc/sys/{name}", encoding="utf-8") as file:
                found[name] = file.read().strip()
        except OSError:
            continue
    return found


def settings_and_annotations(wall: Wall) -> str:
    """C11: settings that are not the container's own (asked for at the value they have), annotations with tricks."""
    before = _host_settings()
    asked = [
        ("kernel.core_pattern", before.get("kernel/core_pattern") or "core"),
        ("kernel/core_pattern", before.get("kernel/core_pattern") or "core"),
        ("kernel.modprobe", before.get("kernel/modprobe") or "/sbin/modprobe"),
        ("vm.overcommit_memory", before.get("vm/overcommit_memory", "0")),
        ("net.../../kernel/core_pattern", before.get("kernel/core_pattern") or "core"),
        ("net/../kernel/core_pattern", before.get("kernel/core_pattern") or "core"),
        ("fs.suid_dumpable", before.get("fs/suid_dumpable", "0")),
    ]
    for name, value in asked:
        said = wall.script("true", Container(sysctls={name: value}))
        require(held=not said.started, otherwise=f"the setting {name} of the host was accepted")
    canary = wall.place.canary()
    for key, value in ANNOTATIONS.items():
        annotation = {key.replace("PLACE", canary.place): value.replace("PLACE", canary.place)}
        said = wall.script("true", Container(annotations=annotation))
        harm = canary.harm(said.everything)
        require(held=not harm, otherwise=f"the annotation {key!r} acted on the host: {harm}")
    after = _host_settings()
    changed = [name for name in before if before[name] != after.get(name)]
    require(held=not changed, otherwise=f"settings of the host changed: {', '.join(changed)}")
    return f"{len(asked)} settings of the host refused, {len(ANNOTATIONS)} hostile annotations without effect"


class Traps:
    """Programs and libraries of an image that, run anywhere else, leave a note."""

    def __init__(self, wall: Wall) -> None:
        self.directory = wall.place.directory("traps", 0o777)
        self.notes = wall.place.directory("notes", 0o777)
        self.script = f'#!/bin/sh\necho "$0" >> {self.notes}/ran\n'.encode()
        line = f"open('{self.notes}/ran', 'a').write(__file__ + '\\n')\n"
        self.python = line.encode()
        self.files: dict[str, Content] = {"trap": None}
        self.files |= {f"trap/{name}": self.script for name in TRAPPED}
        self.files |= {f"trap/{os.path.basename(name)}": self.python for name in LIBRARY[:2]}
        payload.write_tree(
            self.directory, {name.removeprefix("trap/"): data for name, data in self.files.items() if data}
        )
        for name in os.listdir(self.directory):
            os.chmod(f"{self.directory}/{name}", 0o755)  # noqa: S103 - traps must be easy to run

    def sprung(self) -> str:
        """Which trap was run where the notes can be reached: on the host."""
        try:
            with open(f"{self.notes}/ran", encoding="utf-8", errors="replace") as file:
                return file.read().splitlines()[0]
        except FileNotFoundError:
            return ""


def environment_of_the_image(wall: Wall) -> str:
    """C12: variables and programs of the image, where helpers of the host could pick them up."""
    traps = Traps(wall)
    env = {
        "PATH": f"/trap:{traps.directory}:/bin", "LD_PRELOAD": "/trap/lib.so", "LD_LIBRARY_PATH": f"/trap:{traps.directory}",
        "PYTHONPATH": f"/trap:{traps.directory}", "GCONV_PATH": "/trap", "TZ": "/trap/zone", "BASH_ENV": f"{traps.directory}/sh",
        "HOME": "/trap", "XDG_RUNTIME_DIR": "/trap", "XDG_CONFIG_HOME": "/trap", "TMPDIR": "/trap",
    }  # fmt: skip
    container = Container(files=traps.files, env=env)
    said = wall.script("/bin/env", container)
    require(held=said.started, otherwise=f"the container does not start: {said.answer.last_words}")
    with wall.running(container=container) as running:
        running.exec("/bin/true")
        running.exec("/bin/true", user="0:0")
    sprung = traps.sprung()
    require(held=not sprung, otherwise=f"a program of the image ran on the host: {sprung}")
    return f"run and exec with {len(env)} hostile variables and {len(TRAPPED)} programs of the image: none ran on the host"


def poisoned_root(wall: Wall) -> str:
    """T2: the image has traps wherever an interpreter, the C library or a runtime might look."""
    traps = Traps(wall)
    marker = f"/seen/{secrets.token_hex(4)}"
    note = f"import os\nos.close(os.open('{marker}', os.O_CREAT))\n"
    files: dict[str, Content] = {**traps.files, **dict.fromkeys(LIBRARY, traps.python + note.encode())}
    files |= {"usr/bin/env": "/trap/sh", "lib64": None, "lib64/ld-linux-x86-64.so.2": traps.script}
    pipes: dict[str, Content] = {**files, **dict.fromkeys(PIPES, payload.FIFO)}
    outcomes = []
    for what, some in (("libraries and programs", files), ("named pipes in /etc", pipes)):
        said = wall.script(f"ls {marker}; true", Container(files=some))
        require(held=said.answer.code is not None, otherwise=f"{what} of the image: the start hangs")
        require(held=marker not in said.out, otherwise="a library of the image was imported on the way in")
        sprung = traps.sprung()
        require(held=not sprung, otherwise=f"a file of the image was run on the host: {sprung}")
        outcomes.append(f"with {what} {'started' if said.started else 'refused'}")
    return f"{len(pipes)} traps where interpreters and libraries look: none sprung; {', '.join(outcomes)}"


def poisoned_caller(wall: Wall) -> str:
    """T3: the caller's environment is full of variables that change interpreters and libraries."""
    traps = Traps(wall)
    poison = {name: value.replace("TRAP", traps.directory) for name, value in POISON.items()}
    look = "env | grep -v -e ^PWD= -e ^HOSTNAME= | sort; cat /proc/self/limits; umask; grep -E 'Cap|Sec|NoNew' /proc/self/status"
    clean, odd = wall.script(look), wall.script(look, caller=Caller(environment=poison))
    require(held=clean.started, otherwise=f"the container does not start: {clean.answer.last_words}")
    require(
        held=odd.started,
        otherwise=f"a poisoned environment of the caller prevents the start: {odd.answer.last_words}",
    )
    differ = sorted(set(clean.out.splitlines()) ^ set(odd.out.splitlines()))
    require(
        held=not differ, otherwise=f"the caller's environment reached the container: {'; '.join(differ[:3])}"
    )
    sprung = traps.sprung()
    require(held=not sprung, otherwise=f"the caller's environment ran {sprung}")
    return f"{len(poison)} poisoned variables of the caller: the container is the same, no trap sprung"


def names(wall: Wall) -> str:
    """C32: container names that are paths, options or terminal sequences."""
    above = wall.place.path
    before = set(os.listdir(above))
    for name in NAMES:
        said = wall.script("true", Container(name=name))
        require(held=not said.started, otherwise=f"the name {name[:20]!r} was accepted")
        require(
            held="\x1b" not in said.everything,
            otherwise="a name drives the terminal through an error message",
        )
    made = {entry for entry in set(os.listdir(above)) - before if not entry.startswith("bundle-")}
    require(held=not made, otherwise=f"a name made {', '.join(sorted(made))} outside its directory")
    return f"{len(NAMES)} hostile names refused, nothing made outside the state directory"
