"""Capabilities, groups, users and control groups: a program has what it was given, by every way in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casemate.prove.command import Caller
from casemate.prove.verdict import CannotTry, require
from casemate.prove.walls.wall import Container
from casemate.runtime.default_profile import ROOT_CAPABILITIES

if TYPE_CHECKING:
    from casemate.prove.walls.wall import Said, Wall

SETS = "grep ^Cap /proc/self/status"
WALL = (
    "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status; umask; ulimit -a; pwd;"
    " for n in mnt pid net ipc uts cgroup user time; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup; env | sort"
)
USERS = ("1", "1:", "0x1", "01", " 1", "4294967295", "4294967296", "-1", "99999999999", "name:1", "1,0", "+1")
NUMBERS = {
    "CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_FOWNER": 3, "CAP_FSETID": 4, "CAP_KILL": 5, "CAP_SETGID": 6,
    "CAP_SETUID": 7, "CAP_NET_BIND_SERVICE": 10,
}  # fmt: skip
EIGHT = sum(1 << NUMBERS[name] for name in ROOT_CAPABILITIES)


def capability_sets(wall: Wall) -> str:
    """C8: the five capability sets of root and of another user, by run and by exec."""
    tried = 0
    for user, kept in (("0", EIGHT), ("1000", 0)):
        if user != "0" and not _has_user(wall, user):
            continue
        container = Container(user=user)
        with wall.running(container=container) as running:
            ways = {
                "run": wall.script(SETS, container),
                "exec": running.exec(SETS, user="" if wall.is_oci else user),
            }
        for how, said in ways.items():
            require(held=said.started, otherwise=f"{how} as user {user}: {said.answer.last_words}")
            found = _sets(said)
            expected = {"CapInh": 0, "CapPrm": kept, "CapEff": kept, "CapBnd": kept, "CapAmb": 0}
            wrong = [
                f"{name} is {found[name]:x}, not {bits:x}"
                for name, bits in expected.items()
                if found[name] != bits
            ]
            require(held=not wrong, otherwise=f"{how} as user {user}: {', '.join(wrong)}")
            tried += 1
    return f"{tried} programs: five sets each as the profile says, inheritable and ambient empty"


def _sets(said: Said) -> dict[str, int]:
    pairs = (line.split() for line in said.out.splitlines() if line.startswith("Cap"))
    return {name.rstrip(":"): int(bits, 16) for name, bits in pairs}


def _has_user(wall: Wall, user: str) -> bool:
    """Whether the wall can give this user at all: without subordinate ids there is one id only."""
    return wall.script("true", Container(user=user)).started


def exec_equals_start(wall: Wall) -> str:
    """C9: the confinement seen by the first program and by a later one; odd user names."""
    with wall.running(f"({WALL}) > /seen/first 2>&1; sleep 600") as container:
        second = container.exec(f"({WALL}) > /seen/second 2>&1; cat /seen/first; echo ==; cat /seen/second")
        first, _, later = second.out.partition("==\n")
        require(
            held=bool(first and later), otherwise=f"the dump could not be made: {second.answer.last_words}"
        )
        lines = {*first.splitlines(), *later.splitlines()}
        common = set(first.splitlines()) & set(later.splitlines())
        odd = sorted(
            line for line in lines - common if not line.startswith(("SHLVL=", "PWD=", "OLDPWD=", "_="))
        )
        require(held=not odd, otherwise=f"exec differs from the start: {'; '.join(odd[:4])}")
        refused = 0
        for user in USERS:
            said = container.exec("id -u", user=user)
            refused += not said.started
            plain = user.partition(":")[0]
            meant = int(plain) if plain.isascii() and plain.isdigit() else -1
            got = int(said.out) if said.started else meant
            require(held=got == meant, otherwise=f"user {user!r} became uid {got}")
    return f"{len(common)} facts equal for start and exec; of {len(USERS)} odd user names {refused} refused, none mistaken"


def groups(wall: Wall) -> str:
    """C10: a file that a group may not read; groups of the caller."""
    if not _has_user(wall, "1000"):
        raise CannotTry("there is one id only: give the user subordinate ids in /etc/subuid and /etc/subgid")
    container = Container(user="1000:1000", groups=(1234,))
    caller = Caller(groups=(54321,)) if wall.is_root else Caller()
    said = wall.script("id -G", container, caller)
    require(held=said.started, otherwise=f"the container does not start: {said.answer.last_words}")
    found = {int(word) for word in said.out.split()}
    require(
        held=found == {1000, 1234},
        otherwise=f"asked for the groups 1000 and 1234, the program has {sorted(found)}",
    )
    plain = wall.script("id -G", Container(user="1000:1000"), caller)
    own = {int(word) for word in plain.out.split()}
    require(
        held=own == {1000}, otherwise=f"asked for no more groups than 1000, the program has {sorted(own)}"
    )
    with wall.running() as running:
        running.exec("echo secret > /seen/f; chown 0:1234 /seen/f; chmod 604 /seen/f")
        readers = {
            user: "secret" in running.exec("cat /seen/f", user=user).out
            for user in ("1000:1000", "1000:1234")
        }
    require(held=not readers["1000:1234"], otherwise="a member of a group read what that group may not read")
    require(held=readers["1000:1000"], otherwise="the file that a stranger may read could not be read at all")
    return "supplementary groups are exactly those asked for, none of the caller's; a file closed to a group stays closed"


def control_groups(wall: Wall) -> str:
    """C7: control group files, mounts of hierarchies, new namespaces."""
    script = (
        "find /sys/fs/cgroup -type f 2>/dev/null | while read -r f; do (: >> $f) 2>/dev/null && echo write $f; done;"
        " while read -r _ at kind _; do case $kind in cgroup*) mkdir $at/made && rmdir $at/made && echo made a group;; esac;"
        " done < /proc/self/mounts 2>/dev/null; mkdir -p /tmp/c;"
        " for t in cgroup cgroup2; do mount -t $t none /tmp/c 2>/dev/null && echo mounted $t; done;"
        " for n in U C m n; do unshare -$n true 2>/dev/null && echo new namespace $n; done;"
        " find /sys/fs/cgroup -type f 2>/dev/null | wc -l"
    )
    said = wall.script(script)
    require(held=said.started, otherwise=f"the container does not start: {said.answer.last_words}")
    lines = said.out.splitlines()
    require(held=len(lines) == 1, otherwise=f"possible inside: {', '.join(lines[:4])}")
    return (
        f"{lines[0]} control group files, none opens for writing; no mount of a hierarchy, no new namespace"
    )
