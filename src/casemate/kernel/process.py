"""Starting and tuning processes: posix_spawn, prctl, and the identity readers of ``pidfd`` and ``procfs``."""

from __future__ import annotations

import os

from casemate.kernel.const.prctl import PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, PR_SET_PDEATHSIG
from casemate.kernel.libc import LONG, checked, declare_c
from casemate.kernel.pidfd import has_ended, open_same, pidfd_open, pidfd_send_signal, wait_ended
from casemate.kernel.procfs import boot_id, is_same_process, start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The environment of every helper that casemate starts outside a container.
HELPER_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

#: Where helpers with privileges of their own are looked for, whatever PATH says; the last is NixOS's.
HELPER_DIRECTORIES = ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/run/wrappers/bin")

_FIRST_RESETTABLE, _AFTER_SIGNALS = 1, 65
_KEPT_DISPOSITIONS = (9, 19, 32, 33)  # SIGKILL and SIGSTOP have none; 32 and 33 belong to the C library

_prctl = declare_c("prctl", LONG, LONG, LONG, LONG, LONG)


def prctl(option: int, *arguments: int) -> int:
    """The kernel's answer; arguments that are not given are zeros, as several options insist.

    Raises: KernelError.
    Source: prctl(2).
    """
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return checked(_prctl(option, *padded), "prctl", option)


def set_parent_death_signal(signal: int) -> None:
    """Ask for a signal when the thread that created this process ends; then check getppid()."""
    prctl(PR_SET_PDEATHSIG, signal)


def set_dumpable(*, dumpable: bool) -> None:
    """Whether others of the same user may trace this process and read its memory and descriptors."""
    prctl(PR_SET_DUMPABLE, int(dumpable))


def set_subreaper(*, subreaper: bool) -> None:
    """Whether orphaned descendants become children of this process instead of init's."""
    prctl(PR_SET_CHILD_SUBREAPER, int(subreaper))


def find_helper(name: str) -> str | None:
    """The absolute path of a helper program, from the constant list; None when it is not installed."""
    for directory in HELPER_DIRECTORIES:
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def spawn(
    program: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    fds: Mapping[int, int] | None = None,
    session: bool = False,
) -> int:
    """The pid of a new child that runs ``program``: no fork, no handlers, safe beside threads.

    ``program`` is an absolute path (or /proc/self/fd/N). ``fds`` says which descriptor of ours becomes which
    number in the child; 0, 1 and 2 are inherited unless named, all others are closed, also those that our own
    caller left open in us. Signals are unblocked and have their default action. The child keeps the caller's
    working directory. Without ``env`` it is constant. ``session``: it leads a session and process group of its own.
    Raises: OSError with the program's name.
    """
    actions: list[tuple[int, int, int] | tuple[int, int]] = []
    lift: list[int] = []
    try:
        for target, source in (fds or {}).items():
            safe = _lifted(source, fds or {}, lift)
            actions.append((os.POSIX_SPAWN_DUP2, safe, target))
        kept = {0, 1, 2, *(fds or {})}
        actions += [(os.POSIX_SPAWN_CLOSE, number) for number in inheritable_fds() if number not in kept]
        return os.posix_spawn(
            program,
            list(argv),
            dict(HELPER_ENVIRONMENT if env is None else env),
            file_actions=actions,
            setsid=session,
            setsigmask=(),
            setsigdef=[n for n in range(_FIRST_RESETTABLE, _AFTER_SIGNALS) if n not in _KEPT_DISPOSITIONS],
        )
    finally:
        for number in lift:
            os.close(number)


def inheritable_fds() -> list[int]:
    """The descriptors of this process that a program started by it would get, 0, 1 and 2 included."""
    found: list[int] = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:  # the listing's own, or another thread's
            continue
    return found


def _lifted(source: int, fds: Mapping[int, int], lift: list[int]) -> int:
    """``source``, or a copy above every target when an earlier dup2 in the child would overwrite it."""
    if source not in fds or fds[source] == source:
        return source
    import fcntl

    copy = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, max(fds) + 1)
    lift.append(copy)
    return copy


def run_helper(program: str, argv: Sequence[str], *, limit_bytes: int = 4096) -> tuple[int, str]:
    """Run a small helper to its end: exit code (negative: signal) and what it wrote, cut.

    Its standard input is /dev/null. Meant for set-user-id helpers such as newuidmap, which end by themselves.
    Raises: OSError when it cannot be started.
    """
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    reader, writer = os.pipe()
    try:
        pid = spawn(program, argv, fds={0: null, 1: writer, 2: writer})
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
        os.close(null)
    try:
        said = b""
        while chunk := os.read(reader, 4096):
            said = (said + chunk)[:limit_bytes]
    finally:
        os.close(reader)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), said.decode(errors="replace").strip()


__all__ = [
    "HELPER_DIRECTORIES",
    "HELPER_ENVIRONMENT",
    "boot_id",
    "find_helper",
    "has_ended",
    "inheritable_fds",
    "is_same_process",
    "open_same",
    "pidfd_open",
    "pidfd_send_signal",
    "prctl",
    "run_helper",
    "set_dumpable",
    "set_parent_death_signal",
    "set_subreaper",
    "spawn",
    "start_time",
    "wait_ended",
]
