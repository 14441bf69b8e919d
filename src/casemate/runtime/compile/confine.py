"""What a program is allowed, in one code path for the first process of a container and for every later one (exec).

Order matters. Seccomp and Landlock without no_new_privs need CAP_SYS_ADMIN, so they are applied before the capabilities go, and
seccomp must allow what follows; with no_new_privs it is the last thing before exec. The bounding set needs CAP_SETPCAP; the ids
need CAP_SETUID and CAP_SETGID and would clear the capabilities, so they are kept over the change (PR_SET_KEEPCAPS) and set
exactly afterwards.
"""

from __future__ import annotations

import os

from casemate.errors import Invalid, Unsupported
from casemate.kernel import capabilities
from casemate.runtime.compile.namespaces import denies_setgroups, has_capability
from casemate.runtime.users import MAX_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.compile.build import Build
    from casemate.runtime.seccomp import Filter

_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 4, 8, 38
_CAP_SYS_ADMIN, _CAP_SYS_RESOURCE = 21, 24
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEFAULT_UMASK = 0o022
_LANDLOCK_REFER_SINCE = 2
_LANDLOCK_SCOPES_SINCE = 6
_RLIMITS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}


class Confinement:
    """Where confinement comes from besides the spec: the seccomp cache, Landlock, the keyring's name, setgroups.

    ``init``: the first process stays an init of ours and the program is its child. ``filter`` is the compiled seccomp profile,
    made when confinement is added.
    """

    __slots__ = ("filter", "init", "keyring", "landlock", "seccomp_cache_dir", "setgroups_denied")

    def __init__(
        self,
        *,
        seccomp_cache_dir: str | None,
        landlock: bool,
        keyring: str | None,
        setgroups_denied: bool | None = None,
        init: bool = False,
    ) -> None:
        self.filter: Filter | None = None
        self.init = init
        self.seccomp_cache_dir = seccomp_cache_dir
        self.landlock = landlock
        self.keyring = keyring
        self.setgroups_denied = setgroups_denied


def add_confinement(build: Build, how: Confinement) -> None:
    """Compile limits, ids, capabilities, no_new_privs, Landlock and what the program finds: all but seccomp's last place."""
    process = build.process
    no_new_privs = bool(process.get("noNewPrivileges"))
    if process.get("apparmorProfile") or process.get("selinuxLabel"):
        from casemate.runtime.compile.labels import add_labels

        add_labels(build)
    _compile_seccomp(build, how)
    # Before the limits: what is opened here must not fail because the program may open few files.
    ruleset = _make_landlock(build, no_new_privs=no_new_privs) if how.landlock else -1
    for item in process.get("rlimits") or ():
        _add_rlimit(build, item)
    if how.keyring is not None:
        build.inside("KEYRING", f"_ses.{how.keyring}", meaning="join a session keyring of its own")
    cwd = _cwd(process)
    build.inside("CHDIR", cwd, meaning=f"change to the working directory {cwd}")
    if build.linux.get("memoryPolicy") or build.linux.get("personality"):
        from casemate.runtime.compile.scheduling import add_surroundings

        add_surroundings(build)
    if not no_new_privs:
        _apply_landlock(build, ruleset)
        _add_seccomp(build, how)
    _add_identity(build, how)
    if no_new_privs:
        build.inside("PRCTL", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, meaning="set no_new_privs")
        _apply_landlock(build, ruleset)
    umask = (process.get("user") or {}).get("umask")
    build.inside("UMASK", _DEFAULT_UMASK if umask is None else int(umask) & 0o777)
    build.inside("FIND_EXEC", program_candidates(process), meaning="run")


def add_exec(build: Build, how: Confinement) -> None:
    """Compile the very last steps: seccomp, when no_new_privs allows it to be this late, and exec."""
    process = build.process
    if process.get("noNewPrivileges"):
        _add_seccomp(build, how)
    if how.init:
        if not build.privileged:  # else nobody could join the namespaces of this first process
            build.inside("PRCTL", _PR_SET_DUMPABLE, 1, 0, 0, 0, meaning="let its user join the container")
        build.inside("INIT", meaning="start the program below an init")
    build.inside("EXEC", _argv(process), _environment(process), meaning="run")


def _argv(process: dict[str, Any]) -> list[str]:
    argv = process.get("args")
    if (
        not isinstance(argv, list)
        or not argv
        or not all(isinstance(item, str) and "\0" not in item for item in argv)
    ):
        raise Invalid("read process.args", repr(argv)[:80], "it is a list of at least one string without NUL")
    if not argv[0]:
        raise Invalid("read process.args", "", "the program's name is empty")
    return argv


def _environment(process: dict[str, Any]) -> list[str]:
    found: dict[str, str] = {}
    for item in process.get("env") or ():
        name, sign, _ = item.partition("=")
        if not sign or not name or "\0" in item:
            raise Invalid("read process.env", repr(item)[:80], "it is not NAME=value")
        found[name] = item
    return list(found.values())


def _cwd(process: dict[str, Any]) -> str:
    cwd = process.get("cwd") or "/"
    if not isinstance(cwd, str) or not cwd.startswith("/") or "\0" in cwd:
        raise Invalid("read process.cwd", repr(cwd), "it is not an absolute path")
    return cwd


def program_candidates(process: dict[str, Any]) -> list[str]:
    """Return the paths at which the program may be, by the container's own PATH; empty and relative entries are passed over."""
    program = _argv(process)[0]
    if "/" in program:
        return [program]
    path = _DEFAULT_PATH
    for item in process.get("env") or ():
        if item.startswith("PATH="):
            path = item[5:]
    found = [
        f"{directory.rstrip('/')}/{program}" for directory in path.split(":") if directory.startswith("/")
    ]
    return found or [f"/{program}"]


def _add_rlimit(build: Build, item: dict[str, Any]) -> None:
    """Compile one limit. A hard limit can only be raised with CAP_SYS_RESOURCE in the first user namespace: else it is said."""
    import resource

    name, soft, hard = item.get("type"), item.get("soft"), item.get("hard")
    if name not in _RLIMITS or not isinstance(soft, int) or not isinstance(hard, int):
        raise Invalid("read process.rlimits", name, "unknown limit, or soft and hard are not numbers")
    if soft > hard:
        raise Invalid("read process.rlimits", name, f"soft {soft} is above hard {hard}")
    number = _RLIMITS[name]
    current = resource.getrlimit(number)[1]
    ceiling = (1 << 64) - 1 if current == resource.RLIM_INFINITY else current
    if hard > ceiling and (build.own_userns or not has_capability(_CAP_SYS_RESOURCE)):
        build.notes.append(
            f"{name}: the hard limit stays {ceiling}, raising it to {hard} needs CAP_SYS_RESOURCE"
        )
        hard = ceiling
    build.inside("RLIMIT", number, min(soft, hard), hard, meaning=f"set {name} to {min(soft, hard)}:{hard}")


def _add_identity(build: Build, how: Confinement) -> None:
    """Compile bounding set, groups, gid, uid and the other four capability sets."""
    process = build.process
    user = process.get("user") or {}
    sets = _capability_sets(build, process.get("capabilities"))
    uid, gid = _id(build, user, "uid"), _id(build, user, "gid")
    build.inside("CAP_BOUNDING", sets["bounding"], meaning="drop capabilities from the bounding set")
    build.inside("PRCTL", _PR_SET_KEEPCAPS, 1, 0, 0, 0, meaning="keep capabilities while the user changes")
    _add_groups(build, how, user.get("additionalGids") or ())
    build.inside("GID", gid, meaning=f"become group {gid}")
    build.inside("UID", uid, meaning=f"become user {uid}")
    build.inside(
        "CAPS", sets["effective"], sets["permitted"], sets["inheritable"], meaning="set the capabilities"
    )
    build.inside("CAP_AMBIENT", sets["ambient"], meaning="set the ambient capabilities")


def _id(build: Build, user: dict[str, Any], kind: str) -> int:
    number = user.get(kind, 0)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_ID:
        raise Invalid(f"read process.user.{kind}", repr(number), f"it is a number from 0 to {MAX_ID}")
    if build.id_map is not None:
        mapped = build.id_map.host_uid(number) if kind == "uid" else build.id_map.host_gid(number)
        if mapped is None:
            raise Invalid(f"read process.user.{kind}", number, "the user namespace does not map it")
    return number


def _add_groups(build: Build, how: Confinement, gids: Any) -> None:
    wanted = [_id(build, {"gid": gid}, "gid") for gid in gids]
    denied = denies_setgroups(build) if how.setgroups_denied is None else how.setgroups_denied
    if denied:
        if wanted:
            raise Unsupported(
                "set process.user.additionalGids",
                wanted,
                "a user namespace with one id cannot choose groups",
                hint="give the user ranges in /etc/subuid and /etc/subgid",
            )
        return
    packed = b"".join(gid.to_bytes(4, "little") for gid in wanted)
    build.inside("GROUPS", packed, meaning=f"set the groups {wanted}")


def _capability_sets(build: Build, spec: dict[str, Any] | None) -> dict[str, int]:
    """Return the five masks. Without `capabilities` there are none; inheritable and ambient only what was asked."""
    spec = spec or {}
    masks = {}
    ours = _ceiling(build)
    for name in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        mask = 0
        for capability in spec.get(name) or ():
            bit = _capability_bit(build, capability)
            if bit is not None:
                mask |= 1 << bit
        if mask & ~ours:
            missing = " ".join(capabilities.to_names(mask & ~ours))
            build.notes.append(f"{name} capabilities that we do not have ourselves are left out: {missing}")
        masks[name] = mask & ours
    masks["effective"] &= masks["permitted"]
    masks["ambient"] &= masks["permitted"] & masks["inheritable"]
    return masks


def _capability_bit(build: Build, name: str) -> int | None:
    canonical = capabilities.canonical(name)
    if canonical is None or capabilities.BITS[canonical] > capabilities.last_cap():
        build.notes.append(f"this kernel has no capability {name}")
        return None
    return capabilities.BITS[canonical]


def _ceiling(build: Build) -> int:
    """Return what can be given at all: everything inside another user namespace, else our own bounding set."""
    if build.own_userns:
        return capabilities.all_mask()
    with open("/proc/self/status", "rb") as file:
        text = file.read()
    masks = []
    for field in (b"CapPrm:", b"CapBnd:"):
        start = text.index(field) + len(field)
        masks.append(int(text[start : text.index(b"\n", start)], 16))
    return masks[0] & masks[1]


def _compile_seccomp(build: Build, how: Confinement) -> None:
    """Compile the profile; when an agent gives verdicts, call it, and let Python tell it the pid while the child waits."""
    profile = build.linux.get("seccomp")
    if not profile:
        return
    from casemate.runtime.seccomp import compile_profile

    how.filter = compile_profile(profile, cache_dir=how.seccomp_cache_dir)
    build.notes += how.filter.notes
    if how.filter.notifies:
        from casemate.runtime.compile.listener import ASK_LISTENER, Agent

        build.agent = Agent(build, profile)
        build.inside("ASK", ASK_LISTENER, meaning="write down the state for the seccomp agent")


def _add_seccomp(build: Build, how: Confinement) -> None:
    if how.filter is None:
        return
    program, flags = how.filter.program, how.filter.flags
    if build.agent is None:
        build.inside("SECCOMP", program, flags, meaning="load the seccomp filter")
    else:
        meaning = "load the seccomp filter and hand its listener to the agent"
        build.inside("SECCOMP_NOTIFY", program, flags, *build.agent.slots, meaning=meaning)


def _apply_landlock(build: Build, ruleset: int) -> None:
    if ruleset >= 0:
        build.inside("LANDLOCK_APPLY", ruleset, 0, meaning="apply the Landlock rules")


def _make_landlock(build: Build, *, no_new_privs: bool) -> int:
    """Compile the making of a domain, and return its slot; -1 when there is none.

    It makes no device nodes and reaches no foreign abstract sockets or processes.

    Signals and abstract sockets are scoped only where the container shares the host's pid or network namespace: a namespace of
    its own already is that wall, and a domain would keep `exec` from signalling the container's first process.
    """
    from casemate.kernel import landlock
    from casemate.kernel.const.landlock import (
        LANDLOCK_ACCESS_FS_MAKE_BLOCK,
        LANDLOCK_ACCESS_FS_MAKE_CHAR,
        LANDLOCK_ACCESS_FS_REFER,
        LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET,
        LANDLOCK_SCOPE_SIGNAL,
    )

    version = landlock.abi()
    can_apply = no_new_privs or build.own_userns or has_capability(_CAP_SYS_ADMIN)
    if version < _LANDLOCK_REFER_SINCE or not can_apply:
        old = "this kernel has none that lets a program move files between directories"
        why = old if version < _LANDLOCK_REFER_SINCE else "it needs no_new_privs or CAP_SYS_ADMIN"
        build.notes.append(f"Landlock is not applied: {why}")
        return -1
    scoped = 0
    if version >= _LANDLOCK_SCOPES_SINCE:
        if "network" not in build.namespaces:
            scoped |= LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
        if "pid" not in build.namespaces:
            scoped |= LANDLOCK_SCOPE_SIGNAL
    # Every domain forbids moving and linking files between directories (EXDEV) unless it handles REFER and a rule allows it.
    handled = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_REFER
    ruleset, root = build.slot(), build.slot()
    attr = landlock.ruleset_attr(version, fs=handled, scoped=scoped)
    build.inside("LANDLOCK_CREATE", ruleset, attr, 0, meaning="make the Landlock rules")
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    build.inside("OPENAT2", root, -1, "/", flags, 0, 0, meaning="open the container's root for Landlock")
    build.inside("LANDLOCK_RULE", ruleset, root, LANDLOCK_ACCESS_FS_REFER, meaning="allow moving files")
    return ruleset
