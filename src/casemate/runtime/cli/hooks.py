"""Hooks of the runtime-spec: programs of the host that are told the container's state on standard input.

They get their own argv and environment and nothing else: no variable of the image or of our caller reaches them, and none is
run in the container's root except startContainer, which the specification puts there.
"""

from __future__ import annotations

import os

from casemate.errors import CasemateError, Internal, Invalid, TimedOut
from casemate.kernel.fd import Fd
from casemate.kernel.pidfd import pidfd_open, pidfd_send_signal, wait_ended
from casemate.kernel.process import spawn
from casemate.oci.quick_json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIGKILL = 9
_BEFORE_PIVOT = ("prestart", "createRuntime")
_LONGEST_WAIT_S = 3600.0


def has_hooks(spec: dict[str, Any], *stages: str) -> bool:
    """Whether the spec has hooks of these stages."""
    hooks = spec.get("hooks") or {}
    return any(hooks.get(stage) for stage in stages)


def run_create_hooks(spec: dict[str, Any], state: dict[str, Any]) -> None:
    """Run prestart and createRuntime hooks. Raises: Internal, TimedOut."""
    for stage in _BEFORE_PIVOT:
        run_hooks(spec, stage, state)


def run_hooks(
    spec: dict[str, Any], stage: str, state: dict[str, Any], *, ignore_failures: bool = False
) -> list[str]:
    """Run the hooks of a stage one after the other; return what failed when that is to be ignored."""
    failed: list[str] = []
    for hook in (spec.get("hooks") or {}).get(stage) or ():
        try:
            _run(_checked(hook, stage), stage, state)
        except CasemateError as error:
            if not ignore_failures:
                raise
            failed.append(error.message)
    return failed


def _checked(hook: dict[str, Any], stage: str) -> dict[str, Any]:
    path = hook.get("path")
    if not isinstance(path, str) or not os.path.isabs(path):
        raise Invalid(f"run {stage} hook", repr(path), "its path is not absolute")
    timeout = hook.get("timeout")
    if timeout is not None and (not isinstance(timeout, int) or timeout <= 0):
        raise Invalid(f"run {stage} hook", path, "its timeout is not a positive number")
    return hook


def _environment(hook: dict[str, Any]) -> dict[str, str]:
    return dict(item.split("=", 1) for item in hook.get("env") or () if "=" in item)


def _run(hook: dict[str, Any], stage: str, state: dict[str, Any]) -> None:
    path = hook["path"]
    reader, writer = os.pipe2(os.O_CLOEXEC)
    error_file = os.memfd_create("hook", os.MFD_CLOEXEC)
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    try:
        fds = {0: reader, 1: null, 2: error_file}
        pid = spawn(path, hook.get("args") or [path], env=_environment(hook), fds=fds)
        os.close(reader)
        reader = -1
        _tell(writer, state)
        writer = -1
        status = _wait(pid, hook.get("timeout"), stage, path)
        said = os.pread(error_file, 4096, 0).decode(errors="replace").strip()
    except OSError as error:
        raise Internal(f"run {stage} hook", path, error.strerror) from error
    finally:
        for fd in (reader, writer, error_file, null):
            if fd >= 0:
                os.close(fd)
    if status != 0:
        raise Internal(f"run {stage} hook", path, f"{_outcome(status)}{': ' + said if said else ''}")


def _tell(writer: int, state: dict[str, Any]) -> None:
    """Write the state and close; a hook that does not read it is its own affair."""
    try:
        os.write(writer, dumps(state).encode())
    except BrokenPipeError:
        return
    finally:
        os.close(writer)


def _wait(pid: int, timeout_s: int | None, stage: str, path: str) -> int:
    with pidfd_open(pid) as pidfd:
        if not wait_ended(pidfd.fileno(), timeout_s or _LONGEST_WAIT_S):
            pidfd_send_signal(pidfd.fileno(), _SIGKILL)
            os.waitpid(pid, 0)
            raise TimedOut(
                f"run {stage} hook", path, f"it took longer than {timeout_s or _LONGEST_WAIT_S:.0f} s"
            )
    return os.waitpid(pid, 0)[1]


def _outcome(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else f"killed by signal {-code}"


def run_inside(spec: dict[str, Any], stage: str, state: dict[str, Any], pid: int) -> None:
    """Run hooks in the namespaces of the container: `enter` joins them, no Python does. Raises: Internal."""
    hooks = (spec.get("hooks") or {}).get(stage) or ()
    for hook in hooks:
        _run_joined(_checked(hook, stage), stage, state, pid)


def _run_joined(hook: dict[str, Any], stage: str, state: dict[str, Any], pid: int) -> None:
    from casemate.runtime.exec import exec_process
    from casemate.runtime.request import ExecRequest, Stdio

    process = {
        "args": hook.get("args") or [hook["path"]],
        "env": hook.get("env") or [],
        "cwd": "/",
        "user": {"uid": 0, "gid": 0},
        "capabilities": _all_capabilities(),
    }
    process["args"] = [hook["path"], *list(process["args"])[1:]]
    with pidfd_open(pid) as pidfd:
        stdio = Stdio(stdin="pipe")
        request = ExecRequest(
            id=f"hook-{pid}",
            pid=pid,
            pidfd=pidfd.fileno(),
            process=process,
            spec={},
            stdio=stdio,
            keyring=False,
        )
        running = exec_process(request)
        with running:
            if isinstance(running.stdin, Fd):
                _tell(running.stdin.detach(), state)
            status = running.wait(float(hook.get("timeout") or _LONGEST_WAIT_S))
    if status != 0:
        raise Internal(f"run {stage} hook", hook["path"], _outcome(status))


def _all_capabilities() -> dict[str, list[str]]:
    from casemate.kernel import capabilities

    names = capabilities.to_names(capabilities.all_mask())
    return {"bounding": names, "effective": names, "permitted": names}
