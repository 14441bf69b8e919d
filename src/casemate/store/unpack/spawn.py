"""Starting a confined worker, giving it its id map, and turning what it says into a result or an error."""

from __future__ import annotations

import json
import os
import sys

from casemate import errors
from casemate.errors import CasemateError, Exhausted, Internal, Unsupported
from casemate.kernel.libc import KernelError
from casemate.kernel.process import spawn
from casemate.kernel.socket_fds import recv_fds, send_fds, socketpair_seqpacket
from casemate.kernel.userns import write_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from casemate.kernel.userns import IdMap

CONTROL_FD, EMPTY_FD, SOURCE_FD, FIRST_TREE_FD = 3, 4, 5, 6
JOB_BYTES = 128 << 10
_MESSAGE_BYTES = 64 << 10
_SIGXFSZ = 25
_SIGKILL = 9
_PROGRAM = "import sys; sys.path[:0] = sys.argv[1:]; from casemate.store.unpack.worker import main; main()"


class WorkerOsError(OSError):
    """A system call failed in the worker, outside what a job explains itself."""


def run_worker(
    job: dict[str, Any],
    trees: Sequence[int],
    *,
    id_map: IdMap,
    empty_fd: int,
    source_fd: int | None = None,
) -> dict[str, Any]:
    """The job's result. ``trees`` are borrowed directory descriptors; the first may be written.

    Raises: what the job raised; Unsupported where user namespaces are forbidden; Exhausted when the kernel
    ended the worker for its limits; WorkerOsError.
    """
    is_single = id_map.gids[0].count == 1 and len(id_map.gids) == 1
    job = {**job, "trees": len(trees), "has_groups": not is_single, "parent": os.getpid()}
    ours, theirs = socketpair_seqpacket()
    with ours:
        with theirs:
            pid = _start(theirs.fileno(), empty_fd, source_fd, trees)
        try:
            answer = _converse(ours.fileno(), pid, json.dumps(job).encode(), id_map)
        except BaseException:
            os.kill(pid, _SIGKILL)
            os.waitpid(pid, 0)
            raise
    _, status = os.waitpid(pid, 0)
    return _result(answer, os.waitstatus_to_exitcode(status))


def _start(control_fd: int, empty_fd: int, source_fd: int | None, trees: Sequence[int]) -> int:
    """The pid of a new worker, which waits for its job."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        fds = {0: null, 1: null, 2: null, CONTROL_FD: control_fd, EMPTY_FD: empty_fd}
        fds[SOURCE_FD] = null if source_fd is None else source_fd
        fds.update((FIRST_TREE_FD + index, fd) for index, fd in enumerate(trees))
        if not sys.executable:
            raise Unsupported("start worker", "", "this program does not know its Python interpreter")
        paths = [path for path in (_package_parent(), *sys.path) if path.startswith("/")]
        return spawn(sys.executable, [sys.executable, "-I", "-S", "-B", "-c", _PROGRAM, *paths], fds=fds)
    finally:
        os.close(null)


def _package_parent() -> str:
    """The directory that holds the casemate package this process runs."""
    return os.path.dirname(os.path.dirname(os.path.abspath(errors.__file__)))


def _converse(control_fd: int, pid: int, job: bytes, id_map: IdMap) -> bytes:
    """Send the job, write the maps when asked, and collect the answer."""
    if len(job) > JOB_BYTES:
        raise Exhausted("start worker", "", "the job is too large")
    answer = b""
    try:
        send_fds(control_fd, job)
        data, _ = recv_fds(control_fd, _MESSAGE_BYTES)
        if data == b"U":
            write_maps(pid, id_map)
            send_fds(control_fd, b"M")
        else:
            answer = data
        while chunk := recv_fds(control_fd, _MESSAGE_BYTES)[0]:
            answer += chunk
    except KernelError as error:
        if error.call in ("sendmsg", "recvmsg"):
            return answer  # it has died; its status tells how
        raise Unsupported(
            "start worker",
            "",
            f"the ids of its user namespace could not be mapped: {error}",
            hint="casemate doctor tells what is missing",
        ) from error
    return answer


def _result(answer: bytes, exit_code: int) -> dict[str, Any]:
    """What the worker reported. Raises: what it raised, or what its death means."""
    if not answer:
        if exit_code in (-_SIGKILL, -_SIGXFSZ):
            raise Exhausted(
                "unpack layer", "", f"the worker was ended by signal {-exit_code}: out of memory or too large"
            )
        raise Internal("run worker", "", f"it ended with code {exit_code} and said nothing")
    result: dict[str, Any] = json.loads(answer)
    if "error" in result:
        raise _error(result["error"])
    return result


def _error(said: dict[str, str]) -> Exception:
    """The exception that a worker described."""
    category = getattr(errors, said["category"], None) if said["category"] else None
    if isinstance(category, type) and issubclass(category, CasemateError):
        return category(said["doing"], said["subject"], said["why"], hint=said["hint"])
    if "unshare" in said["why"]:
        why = "the kernel forbids new user namespaces"
        return Unsupported(
            "start worker", "", why, hint="sysctl user.max_user_namespaces, or see: casemate doctor"
        )
    if said["errno"]:
        return WorkerOsError(int(said["errno"]), said["why"])
    return Internal("run worker", "", said["why"])
