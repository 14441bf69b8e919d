"""Checks of what the kernel offers."""

from __future__ import annotations

import os

from casemate.cli.doctor.finding import FAIL, OK, WARN, Finding, read_text

OLDEST, IDMAPPED, IDMAPPED_TMPFS = (5, 11), (5, 12), (6, 3)
NEWEST_USEFUL_LANDLOCK = 4


def release() -> tuple[int, int]:
    """Return major and minor version of the running kernel."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(char for char in minor if char.isdigit()) or 0)


def kernel_version() -> Finding:
    """Check that the kernel is new enough."""
    found = os.uname().release
    if release() < OLDEST:
        return Finding(
            "kernel", FAIL, found, effect="containers cannot start", fix="boot Linux 5.11 or newer"
        )
    return Finding("kernel", OK, found)


def user_namespaces() -> Finding:
    """Check that user namespaces may be made by this user."""
    rootless = os.geteuid() != 0
    status = FAIL if rootless else WARN
    effect = "containers cannot start without root" if rootless else "ordinary users cannot start containers"
    if read_text("/proc/sys/user/max_user_namespaces") == "0":
        fix = "sudo sysctl user.max_user_namespaces=15000"
        return Finding(
            "user namespaces",
            FAIL,
            "user.max_user_namespaces=0",
            effect="no container has ids of its own",
            fix=fix,
        )
    if read_text("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        fix = "sudo sysctl kernel.unprivileged_userns_clone=1"
        return Finding(
            "user namespaces", status, "kernel.unprivileged_userns_clone=0", effect=effect, fix=fix
        )
    if read_text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        fix = "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        return Finding("user namespaces", status, "restricted by AppArmor", effect=effect, fix=fix)
    if not os.path.exists("/proc/self/ns/user"):
        return Finding(
            "user namespaces",
            FAIL,
            "the kernel has none",
            effect="containers cannot start",
            fix="use a kernel with CONFIG_USER_NS",
        )
    return Finding(
        "user namespaces", OK, f"up to {read_text('/proc/sys/user/max_user_namespaces') or 'many'}"
    )


def overlay() -> Finding:
    """Check that overlayfs is there, also for ordinary users."""
    known = read_text("/proc/filesystems") or ""
    if "overlay" not in known.split() and not os.path.isdir("/sys/module/overlay"):
        return Finding(
            "overlayfs",
            WARN,
            "not loaded",
            effect="containers start only if the kernel can load it",
            fix="sudo modprobe overlay",
        )
    if os.geteuid() != 0 and release() < OLDEST:
        return Finding(
            "overlayfs",
            FAIL,
            "root only on this kernel",
            effect="containers cannot start",
            fix="boot Linux 5.11 or newer",
        )
    return Finding("overlayfs", OK, "available, in user namespaces too")


def idmapped_mounts() -> Finding:
    """Check that layers can be shown with a container's own ids."""
    if release() < IDMAPPED:
        effect = "containers of root share one range of ids"
        return Finding(
            "idmapped mounts", WARN, "older than Linux 5.12", effect=effect, fix="boot Linux 5.12 or newer"
        )
    if os.geteuid() == 0 and release() < IDMAPPED_TMPFS:
        return Finding("idmapped mounts", OK, "for most file systems; tmpfs needs Linux 6.3")
    return Finding("idmapped mounts", OK, "available")


def seccomp() -> Finding:
    """Check that system calls can be filtered: by the kernel, and compiled by libseccomp."""
    if not os.path.isdir("/proc/sys/kernel/seccomp"):
        return Finding(
            "seccomp",
            FAIL,
            "the kernel has none",
            effect="no system call is filtered",
            fix="use a kernel with CONFIG_SECCOMP_FILTER",
        )
    from casemate.errors import CasemateError  # loads a library

    try:
        from casemate.runtime.libseccomp import Library

        Library()
    except (CasemateError, OSError, AttributeError) as error:
        fix = "sudo apt install libseccomp2"
        return Finding(
            "seccomp",
            FAIL,
            f"libseccomp: {error}",
            effect="profiles that are not cached cannot be compiled",
            fix=fix,
        )
    return Finding("seccomp", OK, "kernel and libseccomp")


def landlock() -> Finding:
    """Check Landlock and which version of it."""
    from casemate.kernel.landlock import abi  # ctypes
    from casemate.kernel.libc import KernelError

    try:
        version = abi()
    except KernelError:
        version = 0
    if version <= 0:
        effect = "one wall less: files are guarded by namespaces and seccomp only"
        return Finding(
            "Landlock",
            WARN,
            "not active",
            effect=effect,
            fix="boot with lsm=landlock,... (Linux 5.13 or newer)",
        )
    if version < NEWEST_USEFUL_LANDLOCK:
        return Finding("Landlock", OK, f"ABI {version} (ABI {NEWEST_USEFUL_LANDLOCK} can restrict TCP too)")
    return Finding("Landlock", OK, f"ABI {version}")
