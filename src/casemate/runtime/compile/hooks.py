"""Hooks that run in the container's namespaces: `enter` runs them as its child is at that moment, no Python goes there.

createContainer: after the mounts and before pivot_root, so that path, interpreter and libraries are the host's, with the
environment of the spec, `/` as directory and nothing of the image on the way (SECURITY.md, C12). startContainer: a program of the
image, therefore behind the whole wall: user, capabilities, seccomp and all that the container's program will have.
Source: runtime-spec config.md "POSIX-platform Hooks".
"""

from __future__ import annotations

import errno
import os
import struct

from casemate.errors import CasemateError, Internal, Invalid, TimedOut
from casemate.oci.quick_json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.compile.build import Build

STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
WENT_WELL = bytes(8)
REPORT = struct.Struct("<iiII1024s")  # struct report in src/enter/hook.c
_LONGEST_MS = 0xFFFFFFFF
_STATE_KEYS = ("bundle", "annotations")


def hooks_of(spec: dict[str, Any], stage: str) -> list[dict[str, Any]]:
    """The hooks of a stage, in their order."""
    found: list[dict[str, Any]] = (spec.get("hooks") or {}).get(stage) or []
    return found


def check(spec: dict[str, Any]) -> None:
    """Raise Invalid for an environment that no program could get; the rest is the schema's."""
    for stage in STAGES:
        for hook in hooks_of(spec, stage):
            for item in hook.get("env") or ():
                if item.find("=") < 1:
                    raise Invalid(f"read hooks.{stage}", hook["path"], f"{item!r} in env is not NAME=value")


def add_hooks(
    build: Build, stage: str, state: dict[str, Any], *, report: int, filtered: bytes | None
) -> None:
    """Compile the hooks of createContainer or startContainer. ``report`` is the slot that a failure is written to.

    ``filtered``: the seccomp filter for a hook of the image, when the container's program gets its own only at exec.
    """
    status = "creating" if stage == "createContainer" else "created"
    for hook in hooks_of(build.spec, stage):
        path = hook["path"]
        build.inside(
            "HOOK",
            [path, *(hook.get("args") or [path])],
            list(hook.get("env") or ()),
            _state(state, status),
            report,
            min((hook.get("timeout") or 0) * 1000, _LONGEST_MS),
            filtered,
            meaning=f"run {stage} hook {path}",
        )


def add_gated_hooks(build: Build, state: dict[str, Any], report_fd: int, filtered: bytes | None) -> None:
    """Compile startContainer hooks that run behind a gate: ``report_fd`` (borrowed) gets a failure, or WENT_WELL at the end."""
    report = build.plan.slot_of(report_fd, owned=False, label="hook report")
    add_hooks(build, "startContainer", state, report=report, filtered=filtered)
    build.inside("WRITE", report, WENT_WELL, 0, meaning="tell that the hooks have ended")


def _state(state: dict[str, Any], status: str) -> bytes:
    """The state object with a NUL for the pid: `enter` alone knows it as the container sees it."""
    head = {"ociVersion": state["ociVersion"], "id": state["id"], "status": status}
    tail = {name: state[name] for name in _STATE_KEYS if name in state}
    return f'{dumps(head)[:-1]},"pid":\0,{dumps(tail)[1:]}'.encode()


def read_report(fd: int, doing: str) -> CasemateError | None:
    """The failure of a hook that ``fd``, which does not block, has a report of; None when it has none."""
    try:
        return told(os.read(fd, REPORT.size), doing)
    except BlockingIOError:
        return None


def told(data: bytes, doing: str) -> CasemateError | None:
    """What `enter` reported about a hook, as an error; None when it said that all went well, or nothing."""
    if len(data) < REPORT.size:
        return None
    number, status, timeout_ms, length, text = REPORT.unpack(data[: REPORT.size])
    path, _, words = text[:length].partition(b"\0")
    return failed(
        doing,
        os.fsdecode(path),
        number=number,
        status=status,
        timeout_s=timeout_ms // 1000,
        words=words.decode(errors="replace"),
    )


def failed(
    doing: str, path: str, *, number: int = 0, status: int = 0, timeout_s: int = 0, words: str = ""
) -> CasemateError:
    """The error about a hook that ran too long, could not be executed (``number``), or ended badly (wait ``status``)."""
    subject = "" if doing.endswith(path) else path
    if number == errno.ETIMEDOUT:
        return TimedOut(doing, subject, f"it took longer than {timeout_s} s and was killed")
    if number:
        return Internal(doing, subject, os.strerror(number))
    code = os.waitstatus_to_exitcode(status)
    outcome = f"exit status {code}" if code >= 0 else f"killed by signal {-code}"
    said = words.strip()
    return Internal(doing, subject, f"{outcome}: {said}" if said else outcome)
