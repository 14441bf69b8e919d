"""Which capability a call asks for when it answers EPERM (connect, bind and sockets: EACCES too).

Source: capabilities(7) and the manual page of each call.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CALLS = {
    "CAP_CHOWN": ("chown", "fchown", "fchownat", "lchown"),
    "CAP_FOWNER": (
        "chmod", "fchmod", "fchmodat", "fchmodat2", "rename", "renameat", "renameat2", "rmdir", "unlink",
        "unlinkat", "utime", "utimensat", "utimes", "futimesat",
    ),
    "CAP_IPC_LOCK": ("mlock", "mlock2", "mlockall"),
    "CAP_KILL": ("kill", "tgkill", "tkill", "pidfd_send_signal"),
    "CAP_MKNOD": ("mknod", "mknodat"),
    "CAP_SETGID": ("setgid", "setgroups", "setregid", "setresgid", "setfsgid"),
    "CAP_SETPCAP": ("capset", "prctl"),
    "CAP_SETUID": ("setuid", "setreuid", "setresuid", "setfsuid"),
    "CAP_SYS_ADMIN": (
        "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree",
        "pivot_root", "quotactl", "setdomainname", "sethostname", "setns", "swapoff", "swapon", "umount2",
        "unshare", "clone", "clone3", "fanotify_init",
    ),
    "CAP_SYS_BOOT": ("reboot",),
    "CAP_SYS_CHROOT": ("chroot",),
    "CAP_SYS_MODULE": ("delete_module", "finit_module", "init_module"),
    "CAP_SYS_NICE": (
        "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "setpriority",
        "ioprio_set", "migrate_pages", "move_pages",
    ),
    "CAP_SYS_PTRACE": ("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"),
    "CAP_SYS_RAWIO": ("ioperm", "iopl"),
    "CAP_SYS_RESOURCE": ("setrlimit", "prlimit64"),
    "CAP_SYS_TIME": ("adjtimex", "clock_adjtime", "clock_settime", "settimeofday"),
    "CAP_SYSLOG": ("syslog",),
    "CAP_BPF": ("bpf",),
    "CAP_PERFMON": ("perf_event_open",),
    "CAP_SETFCAP": ("setxattr", "fsetxattr", "lsetxattr"),
}  # fmt: skip
_OF = {call: capability for capability, calls in _CALLS.items() for call in calls}
_INET = ("2", "10")
_SOCK_RAW = 3
_SOCK_TYPE = 0xF
_PRIVILEGED_PORT = 1024

MOUNTING = frozenset(("mount", "umount2", "move_mount", "pivot_root", "fsconfig", "mount_setattr"))
"""Changes to the tree of mounts, which no program in a Landlock domain may make."""


def capability_for(call: str, arguments: Sequence[str], shown: Sequence[str]) -> str:
    """The capability that the call with these arguments needs; "" when it is not known."""
    if call == "socket":
        if arguments[0] == "17" or (arguments[0] in _INET and int(arguments[1]) & _SOCK_TYPE == _SOCK_RAW):
            return "CAP_NET_RAW"
        return ""
    if call == "bind":
        port = shown[-1].rpartition(":")[2] if shown else ""
        is_inet = bool(shown) and shown[-1].startswith("inet")
        return "CAP_NET_BIND_SERVICE" if is_inet and port.isdigit() and int(port) < _PRIVILEGED_PORT else ""
    if call in ("ioctl", "setsockopt"):
        return "CAP_NET_ADMIN" if shown and shown[0].startswith("socket:") else ""
    return _OF.get(call, "")
