"""Namespaces of a container: which are new, which are joined, who maps the ids, when the cgroup is entered."""

from __future__ import annotations

import os

from casemate.errors import Conflict, Invalid, Unsupported
from casemate.kernel.const.magic import PROC_SUPER_MAGIC
from casemate.kernel.const.sched import CLONE_NEWCGROUP, CLONE_NEWTIME
from casemate.kernel.namespaces import FILES, FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.cgroups.manager import Cgroup
    from casemate.kernel.userns import IdMap
    from casemate.runtime.compile.build import Build

ASK_MAPS = 1  # Python maps the ids of the child with newuidmap and newgidmap
LEAVE_OOM_SCORE = 1001
_PR_SET_DUMPABLE = 4
_LONGEST_MAP = 4096  # user_namespaces(7): one page


def read_namespaces(linux: dict[str, Any]) -> dict[str, str]:
    """Return kind -> path ("" for new). Raises: Invalid (unknown, twice), Unsupported (this kernel has no such kind)."""
    found: dict[str, str] = {}
    for item in linux.get("namespaces") or ():
        kind, path = item.get("type"), item.get("path") or ""
        if kind not in FLAGS:
            raise Invalid("read linux.namespaces", kind, "unknown namespace type")
        if kind in found:
            raise Invalid("read linux.namespaces", kind, "listed twice")
        if not os.path.lexists(f"/proc/self/ns/{FILES[kind]}"):
            raise Unsupported("make namespace", kind, "this kernel has none of that type")
        if path and not os.path.isabs(path):
            raise Invalid("read linux.namespaces", path, "the path is not absolute")
        found[kind] = path
    if found.get("mount") != "":
        why = "joining an existing one is not possible" if found.get("mount") else "a container needs its own"
        raise Unsupported("prepare container", "mount namespace", why)
    return found


def read_id_map(linux: dict[str, Any]) -> IdMap | None:
    """Return the spec's own mappings, None without. Raises: Invalid."""
    return read_mappings(linux.get("uidMappings"), linux.get("gidMappings"), doing="read linux.uidMappings")


def read_mappings(uids: Any, gids: Any, *, doing: str) -> IdMap | None:
    """Return a pair of mappings of the spec, None when there is neither. Raises: Invalid for one alone, or overlapping ranges."""
    if not uids and not gids:
        return None
    if not uids or not gids:
        raise Invalid(doing, "", "uidMappings and gidMappings go together")
    from casemate.kernel.userns import IdMap, IdRange

    try:
        found = IdMap([IdRange(*_range(item)) for item in uids], [IdRange(*_range(item)) for item in gids])
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid(doing, "", error) from error
    if max(len(found.uid_text()), len(found.gid_text())) >= _LONGEST_MAP:
        raise Invalid(
            doing, "", f"the kernel reads less than {_LONGEST_MAP} bytes of a map: give fewer ranges"
        )
    return found


def _range(item: dict[str, Any]) -> tuple[int, int, int]:
    return int(item["containerID"]), int(item["hostID"]), int(item["size"])


def add_namespaces(build: Build, *, id_map: IdMap | None) -> None:
    """Choose the clone flags, join existing namespaces in the parent, and let the parent map the ids."""
    build.namespaces = kinds = read_namespaces(build.linux)
    if any(kinds.values()):
        from casemate.runtime.compile.joins import check_paths

        check_paths(kinds)
    build.id_map = _checked_map(build, id_map)
    flags = 0
    for kind, path in kinds.items():
        if not path and kind != "cgroup":
            flags |= FLAGS[kind]
    if build.linux.get("timeOffsets"):
        from casemate.runtime.compile.time_offsets import add_time_offsets

        add_time_offsets(build)
        flags &= ~CLONE_NEWTIME
    build.plan.clone_flags = flags


def add_joins(build: Build) -> None:
    """Join existing namespaces in the parent, after everything that it mounts with its old privileges."""
    if any(build.namespaces.values()):
        from casemate.runtime.compile import joins

        joins.add_joins(build)


def _checked_map(build: Build, id_map: IdMap | None) -> IdMap | None:
    found = id_map or read_id_map(build.linux)
    if build.is_new("user"):
        if found is None:
            raise Invalid(
                "prepare container", "user namespace", "linux.uidMappings and gidMappings are missing"
            )
        return found
    if build.own_userns:
        from casemate.runtime.compile.joins import joined_map

        return joined_map(build, found)
    if found is not None:
        raise Invalid("prepare container", "linux.uidMappings", "there is no user namespace to map")
    if not build.privileged:
        raise Unsupported(
            "prepare container",
            "",
            "an ordinary user needs a user namespace",
            hint="casemate-oci spec --rootless makes one",
        )
    return None


def add_maps(build: Build, *, oom_score_adj: int | None) -> None:
    """Let the parent map the child's ids and set its out-of-memory score while the child waits."""
    score = _possible_score(build, oom_score_adj)
    id_map = build.id_map
    if id_map is None or not build.is_new("user"):
        if score != LEAVE_OOM_SCORE:
            build.beside("MAP_IDS", None, None, 0, score, meaning=f"set oom_score_adj to {score}")
        return
    if build.privileged or _maps_only_self(id_map):
        deny = 0 if build.privileged else 1
        build.beside(
            "MAP_IDS", id_map.uid_text(), id_map.gid_text(), deny, score, meaning="map the user and group ids"
        )
        return
    build.beside("ASK", ASK_MAPS, meaning="map the user and group ids with newuidmap")
    if score != LEAVE_OOM_SCORE:
        build.beside("MAP_IDS", None, None, 0, score, meaning=f"set oom_score_adj to {score}")


def add_inherited_score(build: Build, *, oom_score_adj: int | None) -> None:
    """Let a child inherit the score that is born in a container's user namespace without privilege: nobody could write it later.

    The parent keeps the score too. To write its own it must be dumpable; that is before the child exists, so nobody of the
    container can see it.
    """
    score = _possible_score(build, oom_score_adj)
    if score == LEAVE_OOM_SCORE:
        return
    meaning = f"set oom_score_adj to {score}"
    proc = build.host_path("/proc", meaning="open /proc", directory=True)
    build.before("PRCTL", _PR_SET_DUMPABLE, 1, 0, 0, 0, meaning=meaning)
    data = str(score).encode()
    build.before("WRITE_FILE", proc, "self/oom_score_adj", data, 0, PROC_SUPER_MAGIC, meaning=meaning)
    build.before("PRCTL", _PR_SET_DUMPABLE, 0, 0, 0, 0, meaning=meaning)


def _maps_only_self(id_map: IdMap) -> bool:
    return len(id_map.uids) == len(id_map.gids) == id_map.uids[0].count == id_map.gids[0].count == 1


def denies_setgroups(build: Build) -> bool:
    """Whether the child cannot choose its supplementary groups: an unprivileged user maps only itself."""
    return build.id_map is not None and not build.privileged and _maps_only_self(build.id_map)


def _possible_score(build: Build, wanted: int | None) -> int:
    """Return the score to set, LEAVE_OOM_SCORE for none; lowering needs CAP_SYS_RESOURCE and is said when it cannot be."""
    if wanted is None:
        return LEAVE_OOM_SCORE
    if not -1000 <= wanted <= 1000:  # noqa: PLR2004 - proc(5)
        raise Invalid("set process.oomScoreAdj", wanted, "it is a number from -1000 to 1000")
    with open("/proc/self/oom_score_adj", encoding="utf-8") as file:
        current = int(file.read())
    if wanted == current:
        return LEAVE_OOM_SCORE
    if wanted < current and not has_capability(24):
        build.notes.append(f"oomScoreAdj stays {current}: lowering it to {wanted} needs CAP_SYS_RESOURCE")
        return LEAVE_OOM_SCORE
    return wanted


def has_capability(bit: int) -> bool:
    """Whether this process has an effective capability."""
    with open("/proc/self/status", "rb") as file:
        text = file.read()
    start = text.index(b"CapEff:") + 7
    return bool(int(text[start : text.index(b"\n", start)], 16) >> bit & 1)


def add_cgroup(build: Build, cgroup: Cgroup | None) -> None:
    """Let the child be born inside its version 2 group, and enter its version 1 groups first of all.

    It does so itself: being moved by another process costs a grace period of the kernel, 5 to 35 ms (cgroups/v1.py).
    """
    if cgroup is None:
        return
    birth = cgroup.birth_fd()
    if birth is not None:
        build.plan.cgroup_slot = build.plan.slot_of(birth, owned=True, label="cgroup")
    for number, fd in enumerate(cgroup.join_fds(born=birth is not None)):
        slot = build.plan.slot_of(fd, owned=True, label=f"cgroup {number}")
        build.inside("JOIN_CGROUP", slot, meaning="enter the control group")


def add_cgroup_namespace(build: Build) -> None:
    """We are in our cgroups: a new cgroup namespace has them as its root."""
    if build.is_new("cgroup"):
        build.inside("UNSHARE", CLONE_NEWCGROUP, meaning="make the cgroup namespace")


def add_root_ids(build: Build) -> None:
    """Become root of the user namespace, so that what is made belongs to it. All groups of the host are dropped first."""
    if not build.own_userns:
        return
    if not denies_setgroups(build):
        build.inside("GROUPS", b"", meaning="drop the host's groups")
    if build.id_map is None or (
        build.id_map.host_uid(0) is not None and build.id_map.host_gid(0) is not None
    ):
        build.inside("GID", 0, meaning="become group 0 of the user namespace")
        build.inside("UID", 0, meaning="become user 0 of the user namespace")


def has_own(build: Build, kind: str) -> bool:
    """Whether the container has a namespace of this kind that is not ours: a new one, or another one that it joins."""
    path = build.namespaces.get(kind)
    if not path:
        return path is not None
    from casemate.runtime.compile.joins import is_our_own

    return not is_our_own(kind, path)


def add_names(build: Build) -> None:
    """Set host and domain name, and bring the loopback interface of a new network namespace up."""
    hostname, domainname = build.spec.get("hostname"), build.spec.get("domainname")
    if (hostname or domainname) and not has_own(build, "uts"):
        raise Invalid("set hostname", hostname or domainname, "the container has no UTS namespace of its own")
    if hostname:
        build.inside("HOSTNAME", hostname, meaning=f"set the host name {hostname}")
    if domainname:
        build.inside("DOMAINNAME", domainname, meaning=f"set the domain name {domainname}")
    if build.is_new("network"):
        build.inside("LOOPBACK_UP", meaning="bring the loopback interface up")


def joined_flags(build: Build, pid: int) -> int:
    """The kinds of namespace that an additional process must join: all that differ from our own.

    Raises: Conflict when the process is about to end: its namespaces are gone before it is, and a kind that is not joined
    would be the host's.
    """
    flags = 0
    for kind, file in FILES.items():
        try:
            ours = os.stat(f"/proc/self/ns/{file}")
        except FileNotFoundError:
            continue  # this kernel has no such kind
        try:
            theirs = os.stat(f"/proc/{pid}/ns/{file}")
        except (FileNotFoundError, ProcessLookupError):
            raise Conflict(
                "join the container", pid, "container not running: its process has ended"
            ) from None
        if theirs.st_ino != ours.st_ino:
            flags |= FLAGS[kind]
            build.namespaces[kind] = f"/proc/{pid}/ns/{file}"
    return flags


def setgroups_denied(pid: int) -> bool:
    """Whether the user namespace of a process forbids choosing supplementary groups."""
    try:
        with open(f"/proc/{pid}/setgroups", encoding="utf-8") as file:
            return file.read().startswith("deny")
    except OSError:
        return False


def become_root(build: Build, pid: int, *, setgroups: bool) -> None:
    """Become root of the joined user namespace where it maps one; host groups are dropped first."""
    if setgroups:
        build.inside("GROUPS", b"", meaning="drop the host's groups")
    for name, operation in (("gid_map", "GID"), ("uid_map", "UID")):
        with open(f"/proc/{pid}/{name}", encoding="utf-8") as file:
            maps_root = any(line.split()[0] == "0" for line in file)
        if maps_root:
            build.inside(operation, 0, meaning="become root of the user namespace")
