"""Programs that the checks start: a constant environment, a time limit, and everything they said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

PATIENCE_S = 30.0
MOST_BYTES = 4 << 20
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("HOME", "USER", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")


class Answer:
    """How a program ended (``code`` is None when it had to be killed) and what it wrote."""

    __slots__ = ("code", "err", "out")

    def __init__(self, code: int | None, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def last_words(self) -> str:
        """One line that explains a failure."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        return " ".join(lines[:3])[:300] if lines else f"exit code {self.code}, without a word"


class Caller:
    """Who starts a program: what it leaks, which groups it has, what stands in its environment."""

    __slots__ = ("environment", "fds", "groups")

    def __init__(
        self,
        *,
        fds: Sequence[int] = (),
        groups: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.fds = tuple(fds)
        self.groups = tuple(groups)
        self.environment = dict(environment or {})


NOBODY_SPECIAL = Caller()


def environment() -> dict[str, str]:
    """The environment of everything that is started: what a login gives, and nothing else."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {"PATH": SEARCH, "LANG": "C.UTF-8", "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1", **kept}


def ours(function: str) -> list[str]:
    """Our own command (``casemate`` or ``casemate_oci``), by the interpreter and the path that run us."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from casemate.quickstart import {function}; sys.exit({function}())"
    return [sys.executable, "-IS", "-c", code]


def begin(
    argv: Sequence[str],
    *,
    cwd: str,
    out: IO[bytes] | int,
    err: IO[bytes] | int,
    caller: Caller = NOBODY_SPECIAL,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own and do not wait."""
    return subprocess.Popen(  # noqa: S603 - a runtime that the user named, with arguments of ours
        argv,
        cwd=cwd,
        env=environment() | caller.environment,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        pass_fds=caller.fds,
        start_new_session=True,
        extra_groups=caller.groups or None,
    )


def run(
    argv: Sequence[str], *, cwd: str, timeout_s: float = PATIENCE_S, caller: Caller = NOBODY_SPECIAL
) -> Answer:
    """Run a program to its end. Its output goes to files: what stays behind may keep a pipe open for ever."""
    with tempfile.TemporaryFile(dir=cwd) as out, tempfile.TemporaryFile(dir=cwd) as err:
        process = begin(argv, cwd=cwd, out=out, err=err, caller=caller)
        try:
            code: int | None = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            end(process)
            code = None
        except BaseException:
            end(process)
            raise
        return Answer(code, _text(out), _text(err))


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program of ``begin`` with the children that it has left in its session, and reap it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # a start that hangs hangs in a child of the runtime
    process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(MOST_BYTES).decode("utf-8", "replace")
