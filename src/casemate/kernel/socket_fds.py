"""Descriptors over Unix sockets, on ``_socket`` directly: importing ``socket`` costs nine milliseconds."""

from __future__ import annotations

import _socket
import errno
import os
import sys

from casemate.kernel.fd import Fd
from casemate.kernel.libc import KernelError

MAX_FDS = 253  # SCM_MAX_FD of the kernel: more in one message is EINVAL

_INT_BYTES = 4  # int of every Linux ABI; the array module would bring collections along, 1 ms of each start


def socketpair_seqpacket() -> tuple[Fd, Fd]:
    """Two connected ends that keep message boundaries, both closed on exec.

    Raises: OSError.
    """
    left, right = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
    return Fd(left.detach()), Fd(right.detach())


def send_fds(sock_fd: int, data: bytes, fds: list[int] | tuple[int, ...] = ()) -> int:
    """Send one message with copies of ``fds`` (borrowed); the number of bytes taken. Never raises SIGPIPE.

    Raises: KernelError; ETOOMANYREFS when too many are in flight, EPIPE when the other end is closed.
    Source: unix(7), SCM_RIGHTS.
    """
    sock = _socket.socket(fileno=sock_fd)
    try:
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _packed(fds))] if fds else []
        return sock.sendmsg([data], rights, _socket.MSG_NOSIGNAL)
    except OSError as error:
        raise KernelError(
            error.errno or errno.EIO, "sendmsg", f"{len(data)} bytes, {len(fds)} descriptors"
        ) from None
    finally:
        sock.detach()


def recv_fds(sock_fd: int, max_data: int, max_fds: int = 0, *, flags: int = 0) -> tuple[bytes, list[Fd]]:
    """One message and the descriptors that came with it, each owned by the caller and closed on exec.

    Nothing and no descriptor means that the other end is closed.
    Raises: KernelError; EMSGSIZE when data or descriptors were cut off (those that came are closed first),
    EAGAIN.
    Source: unix(7), recvmsg(2).
    """
    sock = _socket.socket(fileno=sock_fd)
    try:
        space = _socket.CMSG_SPACE(max_fds * _INT_BYTES) if max_fds else 0
        data, controls, got, _ = sock.recvmsg(max_data, space, flags | _socket.MSG_CMSG_CLOEXEC)
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, "recvmsg", sock_fd) from None
    finally:
        sock.detach()
    fds = [Fd(number) for control in controls for number in _rights(control)]
    if got & (_socket.MSG_CTRUNC | _socket.MSG_TRUNC) or len(fds) > max_fds:
        for fd in fds:
            fd.close()
        raise KernelError(errno.EMSGSIZE, "recvmsg", sock_fd)
    return data, fds


def _rights(control: tuple[int, int, bytes]) -> list[int]:
    level, kind, payload = control
    if level != _socket.SOL_SOCKET or kind != _socket.SCM_RIGHTS:
        return []
    return _numbers(payload)


def _packed(fds: list[int] | tuple[int, ...]) -> bytes:
    return b"".join(fd.to_bytes(_INT_BYTES, sys.byteorder, signed=True) for fd in fds)


def _numbers(data: bytes) -> list[int]:
    whole = len(data) - len(data) % _INT_BYTES
    return [
        int.from_bytes(data[place : place + _INT_BYTES], sys.byteorder, signed=True)
        for place in range(0, whole, _INT_BYTES)
    ]


def peer_credentials(sock_fd: int) -> tuple[int, int, int]:
    """pid, uid and gid of the process at the other end when the connection was made.

    The pid may have been reused since; the ids are what authorisation may rest on.
    Raises: OSError.
    Source: unix(7), SO_PEERCRED.
    """
    sock = _socket.socket(fileno=sock_fd)
    try:
        numbers = _numbers(sock.getsockopt(_socket.SOL_SOCKET, 17, 3 * _INT_BYTES))  # SO_PEERCRED
    finally:
        sock.detach()
    return numbers[0], numbers[1] & 0xFFFFFFFF, numbers[2] & 0xFFFFFFFF


def listen_seqpacket(dir_fd: int, name: str, *, mode: int = 0o600, backlog: int = 16) -> Fd:
    """A listening socket bound to ``name`` below ``dir_fd``, whatever length the directory's own path has.

    A socket's address holds 107 bytes, so it is bound through /proc/thread-self/fd. ``name`` must not exist.
    Raises: KernelError, EADDRINUSE.
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
    try:
        os.fchmod(sock.fileno(), mode)  # before bind: there is no instant with a wider mode
        sock.bind(f"/proc/thread-self/fd/{dir_fd}/{name}")
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise KernelError(error.errno or errno.EIO, "bind", name) from None
    return Fd(sock.detach())


def connect_seqpacket(dir_fd: int, name: str) -> Fd:
    """A connection to the listening socket ``name`` below ``dir_fd``.

    Raises: KernelError; ENOENT, ECONNREFUSED when nobody listens any more.
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
    try:
        sock.connect(f"/proc/thread-self/fd/{dir_fd}/{name}")
    except OSError as error:
        sock.close()
        raise KernelError(error.errno or errno.EIO, "connect", name) from None
    return Fd(sock.detach())
