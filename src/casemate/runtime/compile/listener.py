"""`linux.seccomp.listenerPath`: the agent that gives verdicts gets the filter's listener and the container's state.

Source: runtime-spec, config-linux.md (Seccomp) and the container process state. The agent is called before anything is made, so
that one who does not answer keeps nothing from being undone. The state needs the child's pid: Python writes it into a memory file
while the child waits (`ASK_LISTENER`), and ``enter`` sends it when it has loaded the filter.
"""

from __future__ import annotations

import os

from casemate.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.compile.build import Build
    from casemate.runtime.request import ContainerRequest, ExecRequest

ASK_LISTENER = 5
_SEND_LIMIT_S = 10


class Agent:
    """A connection to an agent and the file for what it will be told; both belong to the plan."""

    __slots__ = ("_file", "_seccomp", "slots")

    def __init__(self, build: Build, seccomp: dict[str, Any]) -> None:
        """Raises: NotFound when nobody listens at the path."""
        self._seccomp = seccomp
        path = seccomp["listenerPath"]
        socket = build.plan.slot_of(_connect(path), owned=True, label="seccomp agent")
        self._file = os.memfd_create("casemate-state", os.MFD_CLOEXEC)
        self.slots = (socket, build.plan.slot_of(self._file, owned=True, label="state for the agent"))

    def answer(self, code: int, request: ContainerRequest | ExecRequest, *, pid: int, first: int) -> None:
        """Write down, when ``code`` asks for it, what the agent is to be told about ``pid``; ``first`` is the first process."""
        if code != ASK_LISTENER:
            return
        from casemate.oci.quick_json import dumps

        state = {
            "ociVersion": request.spec["ociVersion"],
            "id": request.id,
            "status": "creating" if pid == first else "running",
            "pid": first,
            "bundle": request.bundle_dir,
            "annotations": request.spec.get("annotations") or {},
        }
        document = {
            "ociVersion": state["ociVersion"],
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": self._seccomp.get("listenerMetadata") or "",
            "state": state,
        }
        data = memoryview(dumps(document).encode())
        while data:
            data = data[os.write(self._file, data) :]


def _connect(path: str) -> int:
    import _socket
    import struct

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        # An agent that accepts and never reads must not hold a start up for ever.
        limit = struct.pack("ll", _SEND_LIMIT_S, 0)
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, limit)
        sock.settimeout(None)
        sock.connect(path)
        return sock.detach()
    except OSError as error:
        hint = "start the agent that linux.seccomp.listenerPath names"
        raise NotFound(
            "connect to the seccomp agent", path, error.strerror or str(error), hint=hint
        ) from error
    finally:
        sock.close()
