"""The sealed default profile: what a container may do when nobody said otherwise.

Everything here is OCI runtime-spec vocabulary, so that the same profile can be given to a foreign runtime. Each relaxation has a
name (`relax`), never "privileged": what was given up is recorded and shown.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Any

# Enough for entrypoints that chown their data and then step down (postgres, redis, nginx); not MKNOD, NET_RAW, SETPCAP,
# SETFCAP, SYS_CHROOT and AUDIT_WRITE, which docker also gives.
ROOT_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
)

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/softirqs",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/class/dmi",
    "/sys/devices/virtual/dmi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/bpf",
    "/sys/fs/pstore",
    "/sys/kernel/boot_params",
    "/sys/kernel/debug",
    "/sys/kernel/irq",
    "/sys/kernel/notes",
    "/sys/kernel/security",
    "/sys/kernel/slab",
    "/sys/kernel/tracing",
    "/sys/kernel/vmcoreinfo",
    "/sys/module",
)

_CPUS = "/sys/devices/system/cpu"

# Whoever may write to /proc/pressure can have the kernel poll for the whole host.
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/pressure", "/proc/sys")

MOUNTS: tuple[dict[str, Any], ...] = (
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {
        "destination": "/dev/shm",  # noqa: S108 - the container's own
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
    {
        "destination": "/dev/mqueue",
        "type": "mqueue",
        "source": "mqueue",
        "options": ["nosuid", "noexec", "nodev"],
    },
    {
        "destination": "/sys",
        "type": "sysfs",
        "source": "sysfs",
        "options": ["nosuid", "noexec", "nodev", "ro"],
    },
    {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "ro"],
    },
)

NAMESPACES = ("mount", "pid", "network", "ipc", "uts", "cgroup", "user", "time")

# Containers may not make namespaces at all, whatever they become; ping and low ports need no capability in a network namespace
# of one's own.
SYSCTLS = {
    f"user.max_{kind}_namespaces": "0"
    for kind in ("user", "cgroup", "ipc", "mnt", "net", "pid", "time", "uts")
}
NETWORK_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 65535"}

RLIMITS = (
    {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 524288},
    {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    {"type": "RLIMIT_MEMLOCK", "soft": 8 << 20, "hard": 8 << 20},
)
OOM_SCORE_ADJ = 500
PIDS_LIMIT = 2048
MEMORY_SHARE_OF_HOST = 0.8
SHM_SIZE_BYTES = 64 << 20

# Majors and minors of null, zero, full, random, urandom, tty; ptmx and pts of the container's own devpts.
_DEVICE_NUMBERS = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, None))
# "m" lets the runtime make the nodes while the process is in its group already; the container has neither CAP_MKNOD nor mknod.
DEVICE_RULES: tuple[dict[str, Any], ...] = (
    {"allow": False, "access": "rwm"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in _DEVICE_NUMBERS
    ),
)

_EPERM, _ENOSYS, _EAFNOSUPPORT, _EPROTONOSUPPORT = 1, 38, 97, 93
_FAMILIES = {"UNIX": 1, "INET": 2, "INET6": 10}
_NETLINK = 16
_NETLINK_PROTOCOLS = {"ROUTE": 0, "KOBJECT_UEVENT": 15}
_FIRST_NEVER_USED_FAMILY = 46
OTHER_FAMILIES = {
    "AX25": 3,
    "PACKET": 17,
    "BLUETOOTH": 31,
    "CAN": 29,
    "VSOCK": 40,
    "ALG": 38,
    "XDP": 44,
    "NETLINK": _NETLINK,
}
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_CLONE_NEW_FLAGS = 0x7E020000
_S_IFMT = 0o170000
_FILE_TYPES_ALLOWED = (0, 0o010000, 0o100000, 0o140000)
_FILE_TYPES_REFUSED = (0o020000, 0o060000)
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


def masked_paths() -> list[str]:
    """Return MASKED_PATHS and, where this host has them, the counters by which a neighbour's work shows in a CPU's heat."""
    import os

    paths = list(MASKED_PATHS)
    if os.path.exists(f"{_CPUS}/cpu0/thermal_throttle"):
        paths += [f"{_CPUS}/{name}/thermal_throttle" for name in os.listdir(_CPUS) if name[3:].isdigit()]
    return paths


def default_capabilities(uid: int) -> dict[str, list[str]]:
    """Return OCI `process.capabilities`: eight for root, none (bounding set too) for anybody else."""
    kept = list(ROOT_CAPABILITIES) if uid == 0 else []
    return {
        "bounding": kept,
        "effective": list(kept),
        "permitted": list(kept),
        "inheritable": [],
        "ambient": [],
    }


def default_seccomp(capabilities: Collection[str] = (), relax: Iterable[str] = ()) -> dict[str, Any]:
    """Return OCI `linux.seccomp`: an allow list that answers ENOSYS to the unknown and EPERM to the known-bad.

    ``capabilities`` widen it by the calls that only make sense with them, ``relax`` by named relaxations: the keys of
    RELAXED_BY, "tiocsti" and "family=NAME". Raises: KeyError for an unknown family.
    """
    relaxed = set(relax)
    from casemate.runtime.default_syscalls import ALLOWED, GRANTED_BY, REFUSED

    granted = {call for name in capabilities for call in GRANTED_BY.get(name, ())}
    if relaxed:
        from casemate.runtime.relaxed_syscalls import RELAXED_BY

        granted.update(call for name in relaxed for call in RELAXED_BY.get(name, ()))
    free_clone = "CAP_SYS_ADMIN" in capabilities or "nested" in relaxed
    allowed = [*ALLOWED, *sorted(granted.difference(ALLOWED))]
    if free_clone:
        allowed += [name for name in ("clone", "clone3") if name not in granted]
    if "tiocsti" in relaxed:
        allowed.append("ioctl")
    rules = [
        {"names": allowed, "action": "SCMP_ACT_ALLOW"},
        {
            "names": [name for name in REFUSED if name not in granted],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": _EPERM,
        },
        *_socket_rules(relaxed),
        *_node_rules("mknod", 1, free="CAP_MKNOD" in capabilities),
        *_node_rules("mknodat", 2, free="CAP_MKNOD" in capabilities),
        *(_allow("personality", (0, value)) for value in _PERSONALITIES),
    ]
    if "tiocsti" not in relaxed:
        rules += _ioctl_rules()
    if not free_clone:
        rules += _clone_rules()
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _ENOSYS,
        "architectures": _architectures(with_32_bit=bool(relaxed & {"abi32", "socketcall"})),
        "syscalls": rules,
    }


def _architectures(*, with_32_bit: bool) -> list[str]:
    import os

    machine = os.uname().machine
    if machine == "aarch64":
        return ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"] if with_32_bit else ["SCMP_ARCH_AARCH64"]
    return ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"] if with_32_bit else ["SCMP_ARCH_X86_64"]


def _condition(index: int, value: int, mask: int = 0) -> dict[str, Any]:
    if mask:
        return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _allow(name: str, *conditions: tuple[int, ...]) -> dict[str, Any]:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [_condition(*item) for item in conditions]}


def _refuse(name: str, errno: int, *conditions: tuple[int, ...]) -> dict[str, Any]:
    return {
        "names": [name],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": errno,
        "args": [_condition(*item) for item in conditions],
    }


def _socket_rules(relaxed: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the family allow list; every other family fails as if the kernel did not have it."""
    extra = {name.split("=", 1)[1].upper() for name in relaxed if name.startswith("family=")}
    families = set(_FAMILIES.values()) | {OTHER_FAMILIES[name] for name in extra}
    for family in range(_FIRST_NEVER_USED_FAMILY):
        if family in families:
            yield _allow("socket", (0, family))
        elif family != _NETLINK:
            yield _refuse("socket", _EAFNOSUPPORT, (0, family))
    if _NETLINK in families:
        return
    for protocol in range(23):
        if protocol in _NETLINK_PROTOCOLS.values():
            yield _allow("socket", (0, _NETLINK), (2, protocol))
        else:
            yield _refuse("socket", _EPROTONOSUPPORT, (0, _NETLINK), (2, protocol))


def _node_rules(name: str, index: int, *, free: bool) -> Iterator[dict[str, Any]]:
    """Yield the rules for mknod: files, FIFOs and sockets; device nodes only with CAP_MKNOD."""
    for kind in _FILE_TYPES_ALLOWED:
        yield _allow(name, (index, kind, _S_IFMT))
    for kind in _FILE_TYPES_REFUSED:
        yield _allow(name, (index, kind, _S_IFMT)) if free else _refuse(name, _EPERM, (index, kind, _S_IFMT))


def _clone_rules() -> Iterator[dict[str, Any]]:
    """Yield clone without CLONE_NEW*; clone3 hides its flags behind a pointer and therefore does not exist."""
    yield _allow("clone", (0, 0, _CLONE_NEW_FLAGS))
    for bit in range(32):
        if _CLONE_NEW_FLAGS >> bit & 1:
            yield _refuse("clone", _EPERM, (0, 1 << bit, 1 << bit))
    yield {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS}


def _ioctl_rules() -> Iterator[dict[str, Any]]:
    """Yield ioctl for every request but TIOCSTI and TIOCLINUX.

    The kernel reads 32 bits of the request, so the comparison must too: whatever stands above them is ignored.
    """
    forbidden = (_TIOCSTI, _TIOCLINUX)
    for mask, value in masked_complement(forbidden):
        yield _allow("ioctl", (1, value, mask))
    for request in forbidden:
        yield _refuse("ioctl", _EPERM, (1, request, 0xFFFFFFFF))


def masked_complement(values: Iterable[int], bits: int = 32) -> list[tuple[int, int]]:
    """Return disjoint (mask, value) pairs that together match every number of ``bits`` bits except ``values``."""
    found: list[tuple[int, int]] = []
    pending = [(0, 0, bits, list(values))]
    while pending:
        mask, prefix, left, inside = pending.pop()
        if not inside:
            found.append((mask, prefix))
        elif left:
            bit = 1 << (left - 1)
            pending.append((mask | bit, prefix, left - 1, [value for value in inside if not value & bit]))
            pending.append((mask | bit, prefix | bit, left - 1, [value for value in inside if value & bit]))
    return found
