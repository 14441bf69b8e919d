"""One call of a containerd shim by its own protocol (ttrpc), for what `ctr` has no command."""

from __future__ import annotations

import socket
import struct

REQUEST, RESPONSE = 1, 2
HEADER = struct.Struct(">IIBB")
TASK = "containerd.task.v2.Task"


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    size, encoded = len(data), b""
    while size > 127:
        encoded += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([size]) + data


def call(address: str, method: str, payload: bytes) -> bytes:
    """Call a method of the task service; return the whole response message."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(address.removeprefix("unix://"))
        message = field(1, TASK.encode()) + field(2, method.encode()) + field(3, payload)
        connection.sendall(HEADER.pack(len(message), 1, REQUEST, 0) + message)
        reader = connection.makefile("rb")
        size, _, kind, _ = HEADER.unpack(reader.read(HEADER.size))
        assert kind == RESPONSE
        return reader.read(size)
