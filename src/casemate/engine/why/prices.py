"""What an option gives away: the second half of every advice.

Capabilities as they count in a container with a user namespace of its own. Those in HOST_ONLY are looked for in the first user
namespace, where such a container never has them, whatever is added.
Source: capabilities(7); capable() and ns_capable() in the kernel.
"""

from __future__ import annotations

from casemate.engine.spec.relaxations import RELAXATIONS

CAPABILITIES = {
    "CAP_AUDIT_WRITE": "records may be written into the host's audit log",
    "CAP_BPF": "BPF programs may be loaded into the kernel that all containers share",
    "CAP_CHOWN": "files of the container may be given to any of its users",
    "CAP_DAC_OVERRIDE": "the owners and modes of the container's files no longer bind root inside",
    "CAP_DAC_READ_SEARCH": "every file of the container can be read, and opened by handle",
    "CAP_FOWNER": "root inside may change modes and times of files that belong to other users of the container",
    "CAP_IPC_LOCK": "memory may be locked: it can not be swapped out",
    "CAP_KILL": "root inside may signal processes of the container's other users",
    "CAP_MKNOD": "device nodes may be made; the device rules still decide who opens them",
    "CAP_NET_ADMIN": "addresses, routes and packet filters of the container's network may be changed",
    "CAP_NET_BIND_SERVICE": "ports below 1024 may be opened",
    "CAP_NET_RAW": "packets of any kind may be made: other machines on its network can be deceived",
    "CAP_PERFMON": "the counters of the machine's processors can be read: a way to listen to neighbours",
    "CAP_SETFCAP": "files may be given capabilities that count inside the container",
    "CAP_SETGID": "a process inside may take any group of the container",
    "CAP_SETPCAP": "capabilities may be handed on and dropped from the bounding set",
    "CAP_SETUID": "a process inside may become any user of the container",
    "CAP_SYS_ADMIN": "mounts and namespaces inside, and a large part of the kernel's attack surface",
    "CAP_SYS_BOOT": "reboot(2) ends the container; with --userns host it reboots the machine",
    "CAP_SYS_CHROOT": "the program may change its root directory: services use it to lock themselves in",
    "CAP_SYS_MODULE": "modules may be loaded into the kernel: the host is given away",
    "CAP_SYS_NICE": "priorities and processors of processes may be changed at the cost of others",
    "CAP_SYS_PACCT": "process accounting of the host may be switched",
    "CAP_SYS_PTRACE": "every process of the container can be read and changed by root inside",
    "CAP_SYS_RAWIO": "the machine's ports and memory: the host is given away",
    "CAP_SYS_RESOURCE": "limits may be raised beyond what was given",
    "CAP_SYS_TIME": "the machine's clock may be set, for everybody",
    "CAP_SYS_TTY_CONFIG": "terminals may be hung up",
    "CAP_SYSLOG": "the kernel's log, with addresses that help an attacker, can be read",
}

HOST_ONLY = frozenset(
    (
        "CAP_AUDIT_CONTROL",
        "CAP_AUDIT_READ",
        "CAP_AUDIT_WRITE",
        "CAP_BLOCK_SUSPEND",
        "CAP_BPF",
        "CAP_DAC_READ_SEARCH",
        "CAP_IPC_LOCK",
        "CAP_LEASE",
        "CAP_LINUX_IMMUTABLE",
        "CAP_MAC_ADMIN",
        "CAP_MKNOD",
        "CAP_PERFMON",
        "CAP_SYS_MODULE",
        "CAP_SYS_NICE",
        "CAP_SYS_PACCT",
        "CAP_SYS_RAWIO",
        "CAP_SYS_RESOURCE",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
        "CAP_SYSLOG",
        "CAP_WAKE_ALARM",
    )
)

USERNS_HOST = "root inside is root of the host: only the rest of the wall stands between them"
SECCOMP_OFF = "every system call of the kernel may be made"
WRITABLE_ROOT = "what runs inside may change its own programs and configuration"
WRITABLE_MOUNT = "what runs inside may change what is mounted there, on the host too"
DEVICE = "the device is the host's: what it can do, the container can do"
HOST_NETWORK = "the container shares the host's network: its services, its loopback, its neighbours"
MORE_MEMORY = "the container may take more memory from its neighbours"
MORE_PROCESSES = "a fork bomb inside takes more of the host before it is stopped"
MORE_FILES = "more kernel memory for each process"
MORE_SPACE = "more memory, for it is memory, is used by files"


def relaxed(name: str) -> tuple[str, str]:
    """The advice to use a named relaxation, with its price."""
    return f"--relax {name}", RELAXATIONS[name].gives_away


def price_of(capability: str) -> str:
    """What it gives away, in words."""
    return CAPABILITIES.get(capability, "see capabilities(7)")
