"""Following every thread of a container from system call to system call.

Each stop is answered by letting the thread go on as it wished; no register, no memory, no signal and no result is changed. When
this process dies the kernel lets all of them go, and they run on unwatched.
"""

from __future__ import annotations

import errno
import os
import signal
import time

from casemate.kernel.libc import KernelError
from casemate.runtime.witness import filter_program, ptrace, tracee
from casemate.runtime.witness.calls import ARGUMENTS, BIRTHS, OPENING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from casemate.runtime.witness.filter_program import FilterProgram
    from casemate.runtime.witness.ledger import Ledger

_TELLING = frozenset(
    (
        errno.EPERM,
        errno.EACCES,
        errno.EROFS,
        errno.ENOSYS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.ENOMEM,
        errno.EFBIG,
        errno.EAFNOSUPPORT,
        errno.EPROTONOSUPPORT,
        errno.ENETUNREACH,
        errno.EAGAIN,
    )
)
_STOP_SIGNALS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
_KILLING = (filter_program.KILL_PROCESS, filter_program.KILL_THREAD)
_SAVE_AFTER_S = 0.2
_SYS_SECCOMP = 1
_SET_USER_ID = 0o4000


class Follower:
    """``names``: numbers of system calls -> names. ``root``: the first process, of which nothing is told before it executes.

    ``seconds``: when to leave, if they do not end before.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        names: dict[int, str],
        program: FilterProgram | None,
        masked: Collection[str],
        root: int = 0,
        seconds: float = 0.0,
    ) -> None:
        self.ledger = ledger
        self.names = names
        self.program = program
        self.masked = tuple(masked)
        self.telling = _TELLING | (program.errnos() if program is not None else set())
        self.openings = {number for number, name in names.items() if name in OPENING}
        self.quiet = {root}
        self.inside: dict[int, ptrace.Entry] = {}
        self.comm: dict[int, str] = {}
        self.armed = bool(seconds)
        self.until = time.monotonic() + seconds if seconds else 0.0
        signal.signal(signal.SIGALRM, self._save_now)
        if seconds:
            signal.setitimer(signal.ITIMER_REAL, _SAVE_AFTER_S, _SAVE_AFTER_S)

    def run(self) -> None:
        """Follow until nobody is left."""
        while True:
            found = ptrace.wait_any()
            if found is None:
                break
            tid, status = found
            if os.WIFSTOPPED(status):
                self._stopped(tid, os.WSTOPSIG(status), status >> 16)
            else:
                self._ended(tid, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)
            if self.ledger.dirty and not self.armed:
                self.armed = True
                signal.setitimer(signal.ITIMER_REAL, _SAVE_AFTER_S)
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.ledger.save(ended=True)

    def _save_now(self, _number: int, _frame: object) -> None:
        if self.until and time.monotonic() >= self.until:
            self.ledger.save(ended=True)
            os._exit(0)  # the kernel lets everybody go
        self.armed = bool(self.until)
        self.ledger.save()

    def _stopped(self, tid: int, number: int, event: int) -> None:
        if number == ptrace.SYSCALL_STOP:
            self._at_call(tid)
            ptrace.go_on(tid)
        elif event == ptrace.EVENT_STOP and number in _STOP_SIGNALS:
            ptrace.stay_stopped(tid)
        elif event == ptrace.EVENT_EXEC:
            self._executed(tid)
            ptrace.go_on(tid)
        elif event:
            if event != ptrace.EVENT_STOP:
                self.comm[ptrace.event_message(tid)] = self.comm.get(tid, "")
            ptrace.go_on(tid)
        elif number in _FAULTS and ptrace.signal_cause(tid)[0] > 0 and tracee.dies_as_init(tid, number):
            # The kernel keeps a watched init alive that would die of a fault. Unwatched it faults again, and dies as it should.
            ptrace.let_go(tid)
        else:
            if number == signal.SIGSYS:
                self._trapped(tid)
            ptrace.go_on(tid, number)

    def _at_call(self, tid: int) -> None:
        info = ptrace.syscall_info(tid)
        if isinstance(info, ptrace.Entry):
            self.inside[tid] = info
            return
        entry = self.inside.pop(tid, None)
        if info is None or entry is None or tid in self.quiet:
            return
        if info == entry.nr and self._verdict(entry)[0] in _KILLING:
            self.inside[tid] = entry  # it was never made: what ends now is the thread
        elif info < 0:
            if -info in self.telling:
                self._failed(tid, entry, -info)
        elif self.masked and entry.nr in self.openings:
            self._opened(tid, entry)

    def _executed(self, tid: int) -> None:
        former = ptrace.event_message(tid)
        if former != tid and former in self.inside:
            self.inside[tid] = self.inside.pop(former)
        self.quiet.discard(tid)
        self.comm[tid] = tracee.name_of(tid)
        rights = tracee.rights_of(tid)
        try:
            about = os.stat(f"/proc/{tid}/exe")
            path = tracee.plain(os.readlink(f"/proc/{tid}/exe"))
        except OSError:
            return
        if about.st_mode & _SET_USER_ID and rights.get("uid", about.st_uid) != about.st_uid:
            key = ("suid", path)
            if not self.ledger.count(key):
                self.ledger.add(key, {"kind": "suid", "comm": self.comm[tid], "path": path, **rights})

    def _trapped(self, tid: int) -> None:
        code, number, arch = ptrace.signal_cause(tid)
        if code == _SYS_SECCOMP:
            self._killed_by_filter(tid, number, arch)

    def _ended(self, tid: int, number: int) -> None:
        entry = self.inside.pop(tid, None)
        if number == signal.SIGSYS and entry is not None and self._verdict(entry)[0] in _KILLING:
            self._killed_by_filter(tid, entry.nr, entry.arch)
        self.comm.pop(tid, None)

    def _verdict(self, entry: ptrace.Entry) -> tuple[int, int]:
        if self.program is None:
            return filter_program.ALLOW, 0
        return self.program.verdict(nr=entry.nr, arch=entry.arch, args=entry.args, ip=entry.ip)

    def _killed_by_filter(self, tid: int, number: int, arch: int) -> None:
        comm = self.comm.get(tid, "")
        key = ("sigsys", number, arch, comm)
        if not self.ledger.count(key):
            call = self.names.get(number, "") if self._is_native(arch) else ""
            self.ledger.add(
                key, {"kind": "sigsys", "call": call, "number": number, "arch": arch, "comm": comm}
            )

    def _is_native(self, arch: int) -> bool:
        return arch == int(self.ledger.head.get("arch", arch))

    def _failed(self, tid: int, entry: ptrace.Entry, error: int) -> None:
        name = self.names.get(entry.nr, "") if self._is_native(entry.arch) else ""
        verdict = self._verdict(entry)
        if verdict[0] == filter_program.TRAP or (error == errno.EAGAIN and name not in BIRTHS):
            return
        comm = self.comm.get(tid) or tracee.name_of(tid)
        shown, paths = self._arguments(tid, name, entry)
        key = (entry.nr, entry.arch, error, comm, *shown)
        if self.ledger.count(key):
            return
        self.ledger.add(
            key,
            {
                "kind": "failed",
                "call": name,
                "number": entry.nr,
                "arch": entry.arch,
                "args": [str(arg) for arg in entry.args],  # as text: JSON readers lose bits above 2^53
                "shown": shown,
                "paths": paths,
                "errno": error,
                "filtered": verdict == (filter_program.ERRNO, error),
                "comm": comm,
                **tracee.rights_of(tid),
                **(tracee.limits_of(tid) if error == errno.EMFILE else {}),
            },
        )

    def _arguments(self, tid: int, name: str, entry: ptrace.Entry) -> tuple[list[str], list[str]]:
        """The arguments in words, and the paths among them made absolute."""
        shown: list[str] = []
        paths: list[str] = []
        directory: int | None = None
        for letter, value in zip(ARGUMENTS.get(name, ""), entry.args, strict=False):
            if letter == "d":
                directory = value
            elif letter == "p":
                text = tracee.read_text(tid, value)
                paths.append(tracee.whole_path(tid, directory, text))
                shown.append(f'"{text}"')
                directory = None
            elif letter != ".":
                shown.append(_in_words(tid, letter, value))
        return shown, paths

    def _opened(self, tid: int, entry: ptrace.Entry) -> None:
        """A masked file opens, and is empty; a masked directory has nothing in it."""
        name = self.names[entry.nr]
        _, paths = self._arguments(tid, name, entry)
        for path in paths:
            if any(path == mask or path.startswith(f"{mask}/") for mask in self.masked):
                comm = self.comm.get(tid) or tracee.name_of(tid)
                key = ("masked", path, comm)
                if not self.ledger.count(key):
                    self.ledger.add(key, {"kind": "masked", "call": name, "paths": [path], "comm": comm})


def _in_words(tid: int, letter: str, value: int) -> Any:
    if letter == "s":
        return f'"{tracee.read_text(tid, value)}"'
    if letter == "f":
        return tracee.open_on(tid, value) or str(tracee.signed(value))
    if letter == "a":
        return tracee.address_text(tid, value)
    if letter == "o":
        return f"0{value & 0o177777:o}"
    return hex(value & 0xFFFFFFFFFFFFFFFF) if letter == "x" else str(tracee.signed(value))


def begin(tid: int) -> bool:
    """Watch a thread from now on; False when it has ended. Raises: KernelError when it may not be watched."""
    try:
        ptrace.seize(tid)
        ptrace.interrupt(tid)
    except KernelError as error:
        if error.errno == errno.ESRCH:
            return False
        raise
    return True
