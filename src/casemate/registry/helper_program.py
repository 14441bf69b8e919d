"""One call of a docker-credential-* program.

The name comes from a configuration file, so it may not leave PATH; the environment is a short fixed list, so
that no secret of the caller reaches the helper and no LD_PRELOAD of a project's environment file does.
Source: github.com/docker/docker-credential-helpers, "Development".
"""

from __future__ import annotations

import os
import select
import signal
import time

from casemate.errors import Invalid, NotFound, TimedOut, Unavailable
from casemate.oci.quoting import quoted

TIME_LIMIT_S = 30.0
_OUTPUT_LIMIT_BYTES = 64 << 10
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What keyrings need to find the user's session; everything else stays here.
_PASSED_ON = (
    "HOME",
    "USER",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "GPG_TTY",
)
_NOT_STORED = b"credentials not found"


def run_helper(name: str, action: str, sent: bytes) -> bytes | None:
    """Return what ``docker-credential-<name> <action>`` printed when it got ``sent``; None for "not found".

    Raises: Invalid (name), NotFound (no such program), TimedOut, Unavailable (it failed).
    """
    subject = f"docker-credential-{name}"
    if not name or not _NAME.issuperset(name):
        raise Invalid(
            "run credential helper",
            quoted(subject),
            "its name holds characters other than letters, '.', '_', '-'",
        )
    program = _find_program(subject)
    stdin_read, stdin_write = os.pipe2(os.O_CLOEXEC)
    stdout_read, stdout_write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = _spawn(program, action, stdin_read, stdout_write)
        os.close(stdin_read)
        os.close(stdout_write)
        stdin_read = stdout_write = -1
        try:
            output = _converse(pid, subject, (stdin_write, stdout_read), sent)
        finally:
            stdin_write = -1  # closed by _converse
    finally:
        for fd in (stdin_read, stdin_write, stdout_read, stdout_write):
            if fd >= 0:
                os.close(fd)
    return output


def _converse(pid: int, subject: str, pipes: tuple[int, int], sent: bytes) -> bytes | None:
    stdin_write, stdout_read = pipes
    try:
        with open(stdin_write, "wb", buffering=0) as pipe:
            pipe.write(sent)
    except BrokenPipeError:
        pass  # it ended without reading: its exit status says why
    try:
        output = _read_all(stdout_read, subject)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    _, status = os.waitpid(pid, 0)
    if status == 0:
        return output
    if _NOT_STORED in output.lower():
        return None
    raise Unavailable("run credential helper", subject, f"it ended with {os.waitstatus_to_exitcode(status)}")


def _read_all(fd: int, subject: str) -> bytes:
    deadline = time.monotonic() + TIME_LIMIT_S
    output = b""
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([fd], [], [], left_s)[0]:
            raise TimedOut("run credential helper", subject, f"no answer within {TIME_LIMIT_S:g} s")
        data = os.read(fd, 1 << 16)
        if not data:
            return output
        output += data
        if len(output) > _OUTPUT_LIMIT_BYTES:
            raise Unavailable(
                "run credential helper", subject, f"it printed more than {_OUTPUT_LIMIT_BYTES} bytes"
            )


def _spawn(program: str, action: str, stdin_fd: int, stdout_fd: int) -> int:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {"PATH": _PATH, "LC_ALL": "C.UTF-8"}
    null_fd = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    try:
        return os.posix_spawn(
            program,
            [program, action],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin_fd, 0),
                (os.POSIX_SPAWN_DUP2, stdout_fd, 1),
                (os.POSIX_SPAWN_DUP2, null_fd, 2),
            ],
        )
    finally:
        os.close(null_fd)


def _find_program(name: str) -> str:
    for folder in os.environ.get("PATH", _PATH).split(":"):
        if folder.startswith("/"):
            path = os.path.join(folder, name)
            if os.access(path, os.X_OK) and os.path.isfile(path):
                return path
    raise NotFound("run credential helper", name, "no such program on PATH")
