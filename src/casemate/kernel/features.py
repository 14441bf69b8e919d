"""What this kernel and machine offer, for ``casemate doctor``. Probes change nothing and start nothing.

A system call is probed by calling it with arguments that it must refuse: ENOSYS means that it does not
exist, any other answer that it does. What cannot be told without doing it (making a user namespace) is read
from its switches.
"""

from __future__ import annotations

import ctypes
import errno
import os

from casemate.kernel import capabilities, landlock
from casemate.kernel.const.prctl import (
    SECCOMP_FILTER_FLAG_NEW_LISTENER,
    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    SECCOMP_SET_MODE_FILTER,
)
from casemate.kernel.libc import LONG, POINTER, KernelError, declare, last_errno
from casemate.kernel.process import find_helper
from casemate.kernel.procfs import capability_sets
from casemate.kernel.sysnum import MACHINE, TABLES
from casemate.kernel.userns import own_subid_ranges

OLDEST_KERNEL = (5, 11)
_IDMAPPED_OVERLAY = (5, 19)

_SECCOMP_GET_ACTION_AVAIL = 2
_SECCOMP_RET_USER_NOTIF = 0x7FC00000


class Feature:
    """One answer: ``detail`` says how much of it there is, or why there is none."""

    __slots__ = ("available", "detail", "name", "needed_for", "required")

    def __init__(
        self, name: str, needed_for: str, *, available: bool, detail: str = "", required: bool = False
    ) -> None:
        self.name = name
        self.needed_for = needed_for
        self.available = available
        self.detail = detail
        self.required = required

    def __repr__(self) -> str:
        return f"Feature({self.name!r}, available={self.available}, detail={self.detail!r})"


def kernel_version(release: str | None = None) -> tuple[int, int]:
    """Major and minor number of the running kernel, (0, 0) when its release does not start with them."""
    fields = (os.uname().release if release is None else release).split("-")[0].split(".")
    try:
        return int(fields[0]), int(fields[1])
    except (IndexError, ValueError):
        return 0, 0


def probe_all() -> list[Feature]:
    """Every feature, required ones first."""
    found = [
        _machine(),
        _kernel(),
        *_calls(),
        *_namespaces(),
        *_file_systems(),
        _idmapped_overlay(),
        _landlock(),
        _seccomp_notify(),
        _subordinate_ids(),
        _device_programs(),
        *_modules(),
    ]
    return sorted(found, key=lambda feature: not feature.required)


def _machine() -> Feature:
    known = MACHINE in TABLES
    detail = MACHINE if known else f"{MACHINE}; supported are {', '.join(TABLES)}"
    return Feature("machine", "every system call", available=known, detail=detail, required=True)


def _kernel() -> Feature:
    version = kernel_version()
    oldest = ".".join(map(str, OLDEST_KERNEL))
    enough = version >= OLDEST_KERNEL
    detail = os.uname().release if enough else f"{os.uname().release} is older than {oldest}"
    return Feature("kernel", f"Linux {oldest} or newer", available=enough, detail=detail, required=True)


def call_exists(name: str, arguments: int) -> bool:
    """Whether the kernel, and no filter around us, knows a system call: it is made with all arguments -1.

    All of those probed refuse that before they do anything: no descriptor, flag word or pointer is valid.
    """
    function = declare(name, *([LONG] * arguments))
    return function(*([-1] * arguments)) != -1 or last_errno() != errno.ENOSYS


def _calls() -> list[Feature]:
    wanted = (
        ("openat2", 4, "resolving paths inside a container's root", True),
        ("open_tree", 3, "mounts without paths", True),
        ("fsopen", 2, "new file systems without paths", True),
        ("mount_setattr", 5, "a private id range for each container on shared layers", False),
        ("pidfd_open", 2, "signalling the right process", True),
        ("close_range", 3, "leaking no descriptor", True),
        ("clone3", 2, "starting inside a cgroup v2", False),
    )
    found: list[Feature] = []
    for name, arguments, needed_for, required in wanted:
        exists = call_exists(name, arguments)
        detail = "" if exists else "the kernel or a seccomp filter around us answers ENOSYS"
        found.append(Feature(name, needed_for, available=exists, detail=detail, required=required))
    return found


def _namespaces() -> list[Feature]:
    found: list[Feature] = []
    for kind, file, required in (
        ("user", "user", True),
        ("mount", "mnt", True),
        ("pid", "pid", True),
        ("network", "net", True),
        ("ipc", "ipc", True),
        ("uts", "uts", True),
        ("cgroup", "cgroup", False),
        ("time", "time", False),
    ):
        why = "" if os.path.exists(f"/proc/self/ns/{file}") else "the kernel was built without it"
        if kind == "user" and not why:
            why = _userns_refusal()
        name = f"{kind} namespace"
        found.append(Feature(name, "isolation", available=not why, detail=why, required=required))
    return found


def _userns_refusal() -> str:
    """Why making a user namespace will fail; empty when nothing says so."""
    if _sysctl("user/max_user_namespaces") == "0":
        return "user.max_user_namespaces is 0"
    if os.geteuid() == 0:
        return ""
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return "kernel.unprivileged_userns_clone is 0"
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "kernel.apparmor_restrict_unprivileged_userns is 1: an AppArmor profile must allow userns"
    return ""


def _sysctl(name: str) -> str | None:
    return _text(f"/proc/sys/{name}")


def _text(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 16).decode(errors="replace").strip()
    except OSError:
        return None


def _file_systems() -> list[Feature]:
    lines = (_text("/proc/filesystems") or "").splitlines()
    known = {line.split("\t")[-1] for line in lines}
    found: list[Feature] = []
    for name, needed_for, required in (
        ("overlay", "writable containers over shared layers", True),
        ("erofs", "layers that are mounted instead of extracted", False),
        ("fuse", "file systems in user space", False),
    ):
        why = "" if name in known else "not in /proc/filesystems: the module is not loaded or was not built"
        found.append(Feature(name, needed_for, available=not why, detail=why, required=required))
    return found


def _idmapped_overlay() -> Feature:
    enough = kernel_version() >= _IDMAPPED_OVERLAY
    why = "" if enough else "Linux 5.19 is the first"
    return Feature(
        "idmapped overlay layers", "a private id range without copying", available=enough, detail=why
    )


def _landlock() -> Feature:
    try:
        version = landlock.abi()
    except KernelError as error:
        return Feature("landlock", "file and network rules in depth", available=False, detail=str(error))
    detail = (
        f"ABI {version}" if version else "not built in, or not in the lsm= list of the kernel's command line"
    )
    return Feature("landlock", "file and network rules in depth", available=version > 0, detail=detail)


def supports_seccomp_flags(flags: int) -> bool:
    """Whether a filter could be loaded with one of SECCOMP_FILTER_FLAG_*; nothing is loaded.

    The flag that goes with a listener only is asked for together with one.
    Source: seccomp(2): the filter is read (EFAULT) after the flags were checked (EINVAL).
    """
    if flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV:
        flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER
    found = declare("seccomp", LONG, LONG, POINTER)(SECCOMP_SET_MODE_FILTER, flags, None)
    return found == -1 and last_errno() == errno.EFAULT


def _seccomp_notify() -> Feature:
    seccomp = declare("seccomp", LONG, LONG, POINTER)
    action = ctypes.c_uint32(_SECCOMP_RET_USER_NOTIF)
    available = seccomp(_SECCOMP_GET_ACTION_AVAIL, 0, ctypes.addressof(action)) == 0
    why = "" if available else os.strerror(last_errno())
    return Feature("seccomp notification", "recording what an image needs", available=available, detail=why)


def _subordinate_ids() -> Feature:
    name, needed_for = "subordinate ids", "more than one user in rootless containers"
    for helper in ("newuidmap", "newgidmap"):
        if find_helper(helper) is None:
            why = f"{helper} is not installed (Debian: uidmap)"
            return Feature(name, needed_for, available=os.geteuid() == 0, detail=why)
    uids, gids = own_subid_ranges()
    counts = [sum(count for _, count in ranges) for ranges in (uids, gids)]
    if os.geteuid() != 0 and not all(counts):
        why = "this user has no line in /etc/subuid or /etc/subgid: see usermod --add-subuids"
        return Feature(name, needed_for, available=False, detail=why)
    return Feature(name, needed_for, available=True, detail=f"{counts[0]} uids, {counts[1]} gids")


def _device_programs() -> Feature:
    name, needed_for = "BPF device rules", "device rules under cgroup v2"
    held = capability_sets().get("effective", 0)
    wanted = capabilities.to_mask(("CAP_BPF", "CAP_NET_ADMIN"))
    enough = held & wanted == wanted or bool(held & capabilities.to_mask(("CAP_SYS_ADMIN",)))
    return Feature(name, needed_for, available=enough, detail="" if enough else "CAP_BPF is not held")


def _modules() -> list[Feature]:
    """Security modules that can confine a container further."""
    listed = _text("/sys/kernel/security/lsm")
    active = listed.split(",") if listed else []
    if _text("/sys/module/apparmor/parameters/enabled") == "Y" and "apparmor" not in active:
        active.append("apparmor")
    found: list[Feature] = []
    for name in ("apparmor", "selinux"):
        there = name in active
        why = "" if there else "not among the kernel's active security modules"
        found.append(Feature(name, "mandatory access control", available=there, detail=why))
    return found
