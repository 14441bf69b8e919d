"""The worker process: takes a job and descriptors, locks itself up, does the job, reports, ends.

Descriptors: 3 the control socket, 4 an empty directory, 5 the blob (or /dev/null), from 6 on the trees.
Messages: the job (JSON) in; ``U`` out when the user namespace exists; ``M`` in when its maps are written;
then the result as JSON in one or more messages, ended by closing the socket.
"""

from __future__ import annotations

import json
import os

from casemate.errors import CasemateError, Exhausted, Internal
from casemate.kernel.const.sched import CLONE_NEWUSER
from casemate.kernel.namespaces import unshare
from casemate.kernel.socket_fds import recv_fds, send_fds
from casemate.store.unpack import confine, jobs
from casemate.store.unpack.spawn import CONTROL_FD, EMPTY_FD, FIRST_TREE_FD, JOB_BYTES, SOURCE_FD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MESSAGE_BYTES = 32 << 10
_FILE_LIMIT_BYTES = 33 << 30


def main() -> None:
    """Do one job. Whatever happens is reported; nothing is printed."""
    message, _ = recv_fds(CONTROL_FD, JOB_BYTES)
    job: dict[str, Any] = json.loads(message)
    try:
        result = _work(job)
    except BaseException as error:  # noqa: BLE001 - the parent makes an error for the user of it
        result = {"error": _described(error)}
    data = json.dumps(result).encode()
    for start in range(0, len(data), _MESSAGE_BYTES):
        send_fds(CONTROL_FD, data[start : start + _MESSAGE_BYTES])
    os._exit(0)


def _work(job: dict[str, Any]) -> dict[str, Any]:
    """Confine this process, then run the job."""
    runner = _load_all(job)
    unshare(CLONE_NEWUSER)
    send_fds(CONTROL_FD, b"U")
    if recv_fds(CONTROL_FD, 1)[0] != b"M":
        raise Internal("start worker", "", "its id map was not written")
    trees = [FIRST_TREE_FD + index for index in range(job["trees"])]
    confine.become_root_of_namespace(has_groups=job["has_groups"])
    confine.confine(trees, EMPTY_FD, file_limit_bytes=_FILE_LIMIT_BYTES)
    if os.getppid() != job["parent"]:
        os._exit(1)  # it died before the death signal was set
    result: dict[str, Any] = runner(job, SOURCE_FD, trees)
    return result


def _load_all(job: dict[str, Any]) -> Any:
    """Import what the job will need: afterwards no file can be found any more. The function that does it.

    A floor above us names a module of its own as ``runner``; the job comes from our parent, never from an image.
    """
    runner = jobs.run
    if "runner" in job:
        import importlib

        runner = importlib.import_module(job["runner"]).run
    if job["job"] == "unpack":
        from casemate.store.unpack import extract, pipeline  # noqa: F401 - see above

        magic = os.pread(SOURCE_FD, 4, 0)
        maker = pipeline.decoder_for(magic)
        if maker is not None:
            maker()
    for codec in ("utf-8", "ascii", "latin-1"):
        b"".decode(codec)
    b"\xff".decode("utf-8", "backslashreplace")
    return runner


def _described(error: BaseException) -> dict[str, str]:
    """An error as JSON, for the parent to raise again."""
    if isinstance(error, MemoryError):
        error = Exhausted("unpack layer", "", "the worker's memory limit is reached")
    if isinstance(error, CasemateError):
        return {
            "category": type(error).__name__,
            "doing": error.doing,
            "subject": error.subject,
            "why": error.why,
            "hint": error.hint,
        }
    number = error.errno if isinstance(error, OSError) else None
    return {"category": "", "why": f"{type(error).__name__}: {error}", "errno": str(number or "")}
