"""How the worker locks itself up before it reads a byte of what came from outside.

In this order: an empty directory as root (nothing of the host can be named), only the capabilities that
writing a tree needs, no new privileges, resource limits, Landlock. Python's imports are closed too: a module
that is not loaded by then is never loaded.
"""

from __future__ import annotations

import os
import resource
import struct
import sys

from casemate.kernel import landlock
from casemate.kernel.capabilities import to_mask
from casemate.kernel.const import landlock as rights
from casemate.kernel.const.prctl import PR_SET_NO_NEW_PRIVS
from casemate.kernel.libc import STRING, checked, declare
from casemate.kernel.process import prctl, set_dumpable, set_parent_death_signal

_CAPABILITY_VERSION_3 = 0x20080522
_KEPT = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_SETFCAP")
_SIGKILL = 9
_MEMORY_BYTES = 2 << 30
_OPEN_FILES = 1024
_ABI_WITH_REFER = 2
"""Before it Landlock forbids every link and rename between directories, which hard links need."""
_ABI_WITH_NETWORK, _ABI_WITH_SCOPES = 4, 6

_capset = declare("capset", STRING, STRING)


def become_root_of_namespace(*, has_groups: bool) -> None:
    """Take uid and gid 0 of the user namespace, and none of the groups outside."""
    if has_groups:
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def confine(tree_fds: list[int], empty_fd: int, *, file_limit_bytes: int) -> None:
    """Lock this process up; it can then write below the first of ``tree_fds``, and read below the others.

    Raises: KernelError, OSError.
    """
    kept = to_mask(_KEPT)  # reads /proc, which is out of reach afterwards
    set_parent_death_signal(_SIGKILL)  # changing the ids has cleared an earlier one
    set_dumpable(dumpable=False)
    os.fchdir(empty_fd)
    os.chroot(".")
    os.umask(0)
    _close_imports()
    _limit(file_limit_bytes)
    _restrict_files(tree_fds)
    _keep_capabilities(kept)
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def _close_imports() -> None:
    """No module is searched any more; the root is empty anyway."""
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()


def _limit(file_limit_bytes: int) -> None:
    """Bound memory, files and core dumps; never raise a limit that is lower already."""
    for kind, wanted in (
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, file_limit_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


def _restrict_files(tree_fds: list[int]) -> None:
    """Landlock: reading below every tree; below the first all else but execution, devices and sockets."""
    version = landlock.abi()
    if version < _ABI_WITH_REFER:
        return
    everything = landlock.fs_rights(version)
    forbidden = (
        rights.LANDLOCK_ACCESS_FS_EXECUTE
        | rights.LANDLOCK_ACCESS_FS_MAKE_BLOCK
        | rights.LANDLOCK_ACCESS_FS_MAKE_SOCK
        | rights.LANDLOCK_ACCESS_FS_IOCTL_DEV
    )
    net = rights.LANDLOCK_ACCESS_NET_BIND_TCP | rights.LANDLOCK_ACCESS_NET_CONNECT_TCP
    scopes = rights.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | rights.LANDLOCK_SCOPE_SIGNAL
    attr = landlock.ruleset_attr(
        version,
        fs=everything,
        net=net if version >= _ABI_WITH_NETWORK else 0,
        scoped=scopes if version >= _ABI_WITH_SCOPES else 0,
    )
    reading = rights.LANDLOCK_ACCESS_FS_READ_FILE | rights.LANDLOCK_ACCESS_FS_READ_DIR
    with landlock.create_ruleset(attr) as ruleset:
        for index, fd in enumerate(tree_fds):
            allowed = reading if index else everything & ~forbidden
            landlock.allow_beneath(ruleset.fileno(), fd, allowed)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict_self(ruleset.fileno())


def _keep_capabilities(mask: int) -> None:
    """Drop every other capability from the permitted and effective sets."""
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    checked(_capset(header, data), "capset", hex(mask))
