"""System call numbers of the two supported machines.

Calls up to 423 differ between x86-64 and the generic table that aarch64 uses; from 424 on every machine
shares one number.
Source: asm/unistd_64.h and asm-generic/unistd.h; ``tests/unit/kernel/test_constants.py`` compares both with
the headers.
"""

import os

COMMON = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "faccessat2": 439,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
    "process_mrelease": 448,
}

X86_64 = {
    "mount": 165,
    "umount2": 166,
    "pivot_root": 155,
    "ptrace": 101,
    "capget": 125,
    "capset": 126,
    "keyctl": 250,
    "waitid": 247,
    "unshare": 272,
    "setns": 308,
    "kcmp": 312,
    "seccomp": 317,
    "bpf": 321,
    "execveat": 322,
    "userfaultfd": 323,
    "statx": 332,
    "io_uring_setup": 425,
}

AARCH64 = {
    "mount": 40,
    "umount2": 39,
    "pivot_root": 41,
    "ptrace": 117,
    "capget": 90,
    "capset": 91,
    "keyctl": 219,
    "waitid": 95,
    "unshare": 97,
    "setns": 268,
    "kcmp": 272,
    "seccomp": 277,
    "bpf": 280,
    "execveat": 281,
    "userfaultfd": 282,
    "statx": 291,
    "io_uring_setup": 425,
}

TABLES = {"x86_64": {**COMMON, **X86_64}, "aarch64": {**COMMON, **AARCH64}}

MACHINE = os.uname().machine


def number(name: str) -> int:
    """The number of a system call on this machine.

    Raises: OSError (ENOSYS) when casemate does not know this machine.
    """
    table = TABLES.get(MACHINE)
    if table is None:
        raise OSError(38, f"casemate does not know the system call numbers of {MACHINE}")
    return table[name]
