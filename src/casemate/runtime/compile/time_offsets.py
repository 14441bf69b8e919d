"""`linux.timeOffsets`: clocks of a new time namespace, which can be set only until the first process is in it.

Root's parent unshares it before the child is born into it. An ordinary user has the right to set clocks only inside the new user
namespace: there the child unshares it for its children, sets the offsets, and enters it itself (time_namespaces(7)).
"""

from __future__ import annotations

import os

from casemate.errors import Unsupported
from casemate.kernel.const.magic import PROC_SUPER_MAGIC
from casemate.kernel.const.sched import CLONE_NEWTIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.runtime.compile.build import Build

_PR_SET_DUMPABLE = 4


def add_time_offsets(build: Build) -> None:
    """Compile the offsets. Raises: Unsupported without a new time namespace, and an ordinary user without a user namespace."""
    if not build.is_new("time"):
        raise Unsupported("set linux.timeOffsets", "", "they need a new time namespace")
    text = "".join(
        f"{clock} {int(value.get('secs') or 0)} {int(value.get('nanosecs') or 0)}\n"
        for clock, value in build.linux["timeOffsets"].items()
    ).encode()
    proc = build.host_path("/proc", meaning="open /proc", directory=True)
    add = build.before if build.privileged else build.inside
    meaning, hint = "set the clock offsets", "no clock can be set to before the host's start"
    add("UNSHARE", CLONE_NEWTIME, meaning="make the time namespace")
    if not build.privileged:  # the files of who is not dumpable belong to the host's root
        build.inside("PRCTL", _PR_SET_DUMPABLE, 1, 0, 0, 0, meaning=meaning)
    add("WRITE_FILE", proc, "self/timens_offsets", text, 0, PROC_SUPER_MAGIC, meaning=meaning, hint=hint)
    if not build.privileged:
        slot = build.slot()
        meaning = "enter the time namespace"
        build.inside("PRCTL", _PR_SET_DUMPABLE, 0, 0, 0, 0, meaning=meaning)
        path = "self/ns/time_for_children"
        build.inside("OPENAT2", slot, proc, path, os.O_RDONLY | os.O_CLOEXEC, 0, 0, meaning=meaning)
        build.inside("SETNS", slot, CLONE_NEWTIME, meaning=meaning)
