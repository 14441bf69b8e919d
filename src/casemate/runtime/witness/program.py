"""``python -I -m casemate.runtime.witness.program``: the process that watches.

Descriptors: 3 the request (JSON), 4 the ledger's file, 5 told one byte when everybody is watched, or an error number before that.
It leaves its caller's session, and its caller need not wait for it.
"""

from __future__ import annotations

import base64
import os
import platform
import sys

from casemate.kernel.libc import KernelError
from casemate.oci.quick_json import loads
from casemate.runtime.witness.filter_program import FilterProgram
from casemate.runtime.witness.follow import Follower, begin
from casemate.runtime.witness.ledger import Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REQUEST_FD, LEDGER_FD, READY_FD = 3, 4, 5
_MAX_REQUEST = 1 << 20
_NATIVE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def main() -> int:
    """Detach, watch, write; 0 also when there was nothing left to watch."""
    if os.fork():
        os._exit(0)
    os.setsid()
    request: dict[str, Any] = loads(os.pread(REQUEST_FD, _MAX_REQUEST, 0).decode(), what="request")
    ledger = Ledger(LEDGER_FD, {"arch": _NATIVE.get(platform.machine(), 0), **request["head"]})
    follower = Follower(
        ledger,
        names=call_names(),
        program=FilterProgram(base64.b64decode(request["filter"])) if request["filter"] else None,
        masked=request["masked"],
        root=request["root"],
        seconds=request["seconds"],
    )
    try:
        watch_all(request)
    except KernelError as error:
        os.write(READY_FD, bytes([(error.errno or 1) & 0xFF]))
        return 1
    ledger.save()
    os.write(READY_FD, b"\0")
    os.close(READY_FD)
    follower.run()
    return 0


def watch_all(request: dict[str, Any]) -> None:
    """Watch the first process, or everybody in its pid namespace; who is born meanwhile is watched as a child, or found next.

    Raises: KernelError.
    """
    if request["root"]:
        begin(request["root"])
        return
    seen: set[int] = set()
    while new := [tid for tid in threads_in(request["namespace"]) if tid not in seen]:
        seen.update(new)
        for tid in new:
            begin(tid)


def threads_in(namespace: int) -> list[int]:
    """Every thread of the pid namespace with this inode."""
    found: list[int] = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}/ns/pid").st_ino == namespace:
                found += [int(tid) for tid in os.listdir(f"/proc/{name}/task")]
        except OSError:  # it has ended, or is somebody else's
            continue
    return found


def call_names() -> dict[int, str]:
    """Native numbers -> names of every system call that our profile, or a failure, may be about."""
    from casemate.errors import Unsupported
    from casemate.kernel.sysnum import TABLES
    from casemate.runtime.default_syscalls import ALLOWED, REFUSED
    from casemate.runtime.libseccomp import Library
    from casemate.runtime.witness.calls import ARGUMENTS

    found = {number: name for name, number in TABLES.get(platform.machine(), {}).items()}
    try:
        library = Library()
    except Unsupported:  # no filter was compiled then either
        return found
    for name in {*ALLOWED, *REFUSED, *ARGUMENTS, "clone", "clone3", "socket", "ioctl", "mknod", "mknodat"}:
        number = library.number(name)
        if number is not None and number >= 0:
            found[number] = name
    return found


if __name__ == "__main__":
    sys.exit(main())
