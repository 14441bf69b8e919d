"""Hooks of the runtime-spec that run on the host: told the container's state on standard input.

They get their own argv and environment and nothing else: no variable of the image or of our caller reaches them, and their
directory is `/`. Those of the container's namespaces are operations of the plan: compile/hooks.py.
"""

from __future__ import annotations

import errno
import os

from casemate.errors import CasemateError
from casemate.kernel.pidfd import pidfd_open, wait_ended
from casemate.kernel.process import spawn
from casemate.oci.quick_json import dumps
from casemate.runtime.compile.hooks import failed, hooks_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIGKILL = 9
_STATE_KEYS = ("ociVersion", "id", "status", "pid", "bundle", "annotations")
_POSTSTART_COUNTS_SINCE = (1, 3)


def run_create_hooks(spec: dict[str, Any], state: dict[str, Any]) -> None:
    """Run prestart and createRuntime hooks. Raises: Internal, TimedOut."""
    for stage in ("prestart", "createRuntime"):
        run_hooks(spec, stage, state)


def run_poststart(spec: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """Run poststart hooks; return what failed.

    Since version 1.3 of the specification a failure ends the container, before it was only to be logged: the bundle says which.
    Raises: Internal, TimedOut (bundles of 1.3 and later).
    """
    state = {**state, "status": "running"}
    return run_hooks(spec, "poststart", state, ignore_failures=not _poststart_counts(spec))


def run_poststop(spec: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """Run poststop hooks; return what failed, which stops nothing."""
    return run_hooks(spec, "poststop", {**state, "status": "stopped", "pid": 0}, ignore_failures=True)


def _poststart_counts(spec: dict[str, Any]) -> bool:
    numbers = str(spec.get("ociVersion") or "").split(".")[:2]
    return all(number.isdigit() for number in numbers) and tuple(map(int, numbers)) >= _POSTSTART_COUNTS_SINCE


def run_hooks(
    spec: dict[str, Any], stage: str, state: dict[str, Any], *, ignore_failures: bool = False
) -> list[str]:
    """Run the hooks of a stage one after the other; return what failed when that is to be ignored."""
    failures: list[str] = []
    told = dumps({name: state[name] for name in _STATE_KEYS if name in state}).encode()
    for hook in hooks_of(spec, stage):
        try:
            _run(hook, stage, told)
        except CasemateError as error:
            if not ignore_failures:
                raise
            failures.append(error.message)
    return failures


def _environment(hook: dict[str, Any]) -> dict[str, str]:
    return dict(item.split("=", 1) for item in hook.get("env") or ())


def _run(hook: dict[str, Any], stage: str, state: bytes) -> None:
    path = hook["path"]
    words = os.memfd_create("hook", os.MFD_CLOEXEC)
    told = os.memfd_create("state", os.MFD_CLOEXEC)
    try:
        os.write(told, state)
        os.lseek(told, 0, os.SEEK_SET)
        status = _wait(_start(hook, {0: told, 1: words, 2: words}), hook.get("timeout"), stage, path)
        said = os.pread(words, 4096, 0).decode(errors="replace")
    except OSError as error:
        raise failed(f"run {stage} hook", path, number=error.errno or errno.EIO) from error
    finally:
        os.close(words)
        os.close(told)
    if status:
        raise failed(f"run {stage} hook", path, status=status, words=said)


def _start(hook: dict[str, Any], fds: dict[int, int]) -> int:
    """Start the hook in `/` and in a session of its own; our own directory is as before."""
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir("/")
        path = hook["path"]
        return spawn(path, hook.get("args") or [path], env=_environment(hook), fds=fds, session=True)
    finally:
        os.fchdir(here)
        os.close(here)


def _wait(pid: int, timeout_s: int | None, stage: str, path: str) -> int:
    """Return the wait status. Raises: TimedOut, after the whole process group was killed."""
    with pidfd_open(pid) as pidfd:
        in_time = wait_ended(pidfd.fileno(), timeout_s)
    if not in_time:
        os.killpg(pid, _SIGKILL)  # not reaped yet: the number is still its own
    status = os.waitpid(pid, 0)[1]
    if not in_time:
        raise failed(f"run {stage} hook", path, number=errno.ETIMEDOUT, timeout_s=timeout_s or 0)
    return status
