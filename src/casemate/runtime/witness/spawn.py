"""Setting a witness beside a container."""

from __future__ import annotations

import base64
import errno
import os
import sys

from casemate.errors import Denied, Internal
from casemate.kernel import memfd, process
from casemate.oci.quick_json import dumps
from casemate.runtime.witness.program import LEDGER_FD, READY_FD, REQUEST_FD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class Watch:
    """What a witness is told.

    ``root``: the first process, which has not executed its program yet; or ``namespace``: the inode of a pid namespace, everybody
    in which is watched for ``seconds``. ``program``: the container's seccomp filter. ``head`` stands in the ledger as given.
    """

    __slots__ = ("head", "masked", "namespace", "program", "root", "seconds")

    def __init__(self, *, program: bytes, masked: Sequence[str], head: dict[str, Any]) -> None:
        self.program = program
        self.masked = masked
        self.head = head
        self.root = 0
        self.namespace = 0
        self.seconds = 0.0


def watch(what: Watch, ledger_fd: int) -> None:
    """Let a process of its own watch and write what fails into the ledger; return when it watches.

    Raises: Denied when this host lets nobody watch, Internal.
    """
    request = {
        "root": what.root,
        "namespace": what.namespace,
        "seconds": what.seconds,
        "filter": base64.b64encode(what.program).decode(),
        "masked": list(what.masked),
        "head": what.head,
    }
    reader, writer = os.pipe2(os.O_CLOEXEC)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        with memfd.sealed("casemate-witness", dumps(request).encode()) as asked:
            fds = {
                0: null,
                1: null,
                2: null,
                REQUEST_FD: asked.fileno(),
                LEDGER_FD: ledger_fd,
                READY_FD: writer,
            }
            argv = [sys.executable, "-I", "-m", "casemate.runtime.witness.program"]
            pid = process.spawn(sys.executable, argv, fds=fds)
        os.close(writer)
        writer = -1
        answer = os.read(reader, 1)
        os.waitpid(pid, 0)
    finally:
        for fd in (reader, writer, null):
            if fd >= 0:
                os.close(fd)
    if answer == b"\0":
        return
    if answer and answer[0] in (errno.EPERM, errno.EACCES):
        raise Denied(
            "watch the container",
            why="another program traces it already, or ptrace is forbidden on this host",
            hint="end the debugger; kernel.yama.ptrace_scope=3 forbids it to everybody until the next boot",
        )
    why = os.strerror(answer[0]) if answer else "the watching process ended"
    raise Internal("watch the container", why=why)
