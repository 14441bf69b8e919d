"""A seccomp agent: listens at a path, takes listeners, and answers their notifications."""

from __future__ import annotations

import array
import ctypes
import fcntl
import json
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# linux/seccomp.h: struct seccomp_notif, struct seccomp_notif_resp and their ioctls.
NOTIFICATION, ANSWER = struct.Struct("<QIIiIQ6Q"), struct.Struct("<QqiI")
RECEIVE, SEND = 0xC0502100, 0xC0182101
GO_ON = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE


class Agent:
    """Listens, takes one listener, and answers notifications until it is hung up."""

    def __init__(
        self, path: Path, answer: Callable[[int, int, tuple[int, ...]], tuple[int, int, int]]
    ) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        path.chmod(0o666)
        self.socket.listen()
        self.socket.settimeout(20)
        self.answer = answer
        self.messages: list[dict[str, Any]] = []
        self.seen: list[int] = []
        self.faults: list[BaseException] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            try:
                self._take(connection)
            except (OSError, ValueError, IndexError) as fault:
                self.faults.append(fault)

    def _take(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(20)
            data, rights, _, _ = connection.recvmsg(1 << 20, socket.CMSG_SPACE(8))
            fds = array.array("i")
            for _, _, packed in rights:
                fds.frombytes(packed)
            listener = fds[0]
            threading.Thread(target=self._verdicts, args=(listener,), daemon=True).start()
            while chunk := connection.recv(1 << 16):
                data += chunk
            self.messages.append(json.loads(data))

    def _verdicts(self, listener: int) -> None:
        request = ctypes.create_string_buffer(NOTIFICATION.size)
        try:
            while True:
                ctypes.memset(request, 0, NOTIFICATION.size)
                fcntl.ioctl(listener, RECEIVE, request)
                (
                    number,
                    pid,
                    _,
                    call,
                    *_,
                ) = NOTIFICATION.unpack(request)[:4]
                self.seen.append(call)
                value, error, flags = self.answer(pid, call, NOTIFICATION.unpack(request)[6:])
                fcntl.ioctl(listener, SEND, ANSWER.pack(number, value, -error, flags))
        except OSError:
            os.close(listener)  # nobody is left to ask

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)
