"""A connection to a D-Bus: found, authenticated as who the kernel says we are, calls answered one at a time.

It speaks to the bus daemon (dbus-daemon, dbus-broker) or to systemd itself, whose private sockets are a bus without a
daemon: no names, no greeting.
Source: D-Bus Specification 0.43, "Authentication Protocol", "Server Addresses"; systemd-logind(8) for XDG_RUNTIME_DIR.
"""

from __future__ import annotations

import os
import time
from _socket import AF_UNIX, SO_RCVTIMEO, SO_SNDTIMEO, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket
from struct import pack

from casemate.cgroups.systemd import wire
from casemate.errors import Corrupt, Denied, Invalid, NotFound, TimedOut, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

SYSTEM_SOCKET = "/run/dbus/system_bus_socket"
SYSTEM_PRIVATE = "/run/systemd/private"
_DOING = "talk to systemd"
_AUTH_LINE_BYTES = 512
_TIMEOUT_S = 30.0

NO_SYSTEM = "leave --systemd-cgroup out (podman: --cgroup-manager cgroupfs; dockerd: --exec-opt native.cgroupdriver=cgroupfs)"
NO_USER = (
    "log in through systemd (ssh, a console, machinectl shell) so that a user manager runs, install dbus-user-session, "
    "or: sudo loginctl enable-linger USER"
)


class CallError(Exception):
    """The answer of the other side when it refuses a call; ``name`` is the D-Bus name of the error."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        super().__init__(f"{text} ({name})" if text else name)


def socket_paths(*, user: bool) -> list[tuple[str, bool]]:
    """(path, whether a bus daemon listens there) of the sockets to try, best first; a leading NUL is an abstract name."""
    named = os.environ.get("DBUS_SESSION_BUS_ADDRESS" if user else "DBUS_SYSTEM_BUS_ADDRESS", "")
    found = [(path, True) for path in parse_address(named)]
    if not user:
        return [*found, (SYSTEM_SOCKET, True), (SYSTEM_PRIVATE, False)]
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return [*found, (f"{runtime}/bus", True), (f"{runtime}/systemd/private", False)]


def parse_address(text: str) -> list[str]:
    """The Unix sockets that an address such as ``unix:path=/run/bus,guid=1;unix:abstract=x`` names. Pure."""
    paths: list[str] = []
    for address in text.split(";"):
        transport, _, rest = address.partition(":")
        pairs = dict(pair.split("=", 1) for pair in rest.split(",") if "=" in pair)
        if transport == "unix" and "path" in pairs:
            paths.append(_unescape(pairs["path"]))
        elif transport == "unix" and "abstract" in pairs:
            paths.append("\0" + _unescape(pairs["abstract"]))
    return paths


def _unescape(text: str) -> str:
    head, *rest = text.split("%")
    raw = head.encode()
    for part in rest:
        try:
            raw += bytes.fromhex(part[:2]) + part[2:].encode()
        except ValueError:
            raise Invalid("read D-Bus address", repr(text), "a % is not followed by two digits") from None
    return os.fsdecode(raw)


def connect(*, user: bool) -> Bus:
    """A connection to the system's or the user's systemd.

    Raises: Unavailable when no systemd is there, Denied.
    """
    tried: list[str] = []
    for path, daemon in socket_paths(user=user):
        try:
            return Bus(path, daemon=daemon)
        except FileNotFoundError:
            tried.append(f"{path}: it does not exist")
        except OSError as error:
            tried.append(f"{path}: {error.strerror}")
    kind = "user manager" if user else "system manager"
    hint = NO_USER if user else NO_SYSTEM
    raise Unavailable(
        f"make control groups by systemd's {kind}", "; ".join(tried), "no systemd answers here", hint=hint
    )


class Bus:
    """An authenticated connection; close it with ``close`` or ``with``."""

    __slots__ = ("_buffer", "_serial", "_socket", "daemon", "path", "signals")

    def __init__(self, path: str, *, daemon: bool, timeout_s: float = _TIMEOUT_S) -> None:
        """Connect, authenticate and greet.

        Raises: OSError when nothing listens there; Denied, Corrupt, TimedOut.
        """
        self.path = path
        self.daemon = daemon
        self.signals: list[wire.Message] = []
        self._buffer = b""
        self._serial = 0
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            # Not settimeout: that makes the descriptor non-blocking, and our own loop would have to poll.
            limit = pack("ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))
            self._socket.setsockopt(SOL_SOCKET, SO_RCVTIMEO, limit)
            self._socket.setsockopt(SOL_SOCKET, SO_SNDTIMEO, limit)
            self._socket.connect(path)
            self._authenticate()
            if daemon:
                self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; twice is fine."""
        self._socket.close()

    def call(self, destination: str, path: str, interface: str, member: str, *arguments: Any) -> list[Any]:
        """The answer to a method call; ``arguments`` are a signature and its values.

        Signals that arrive meanwhile are kept in ``signals``.
        Raises: CallError, TimedOut, Unavailable, Corrupt.
        """
        self._serial += 1
        serial = self._serial
        fields = {wire.PATH: path, wire.INTERFACE: interface, wire.MEMBER: member}
        if self.daemon:
            fields[wire.DESTINATION] = destination
        self._send(wire.encode(wire.CALL, serial, fields, *arguments))
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            message = self.receive()
            if message.kind == wire.SIGNAL:
                self.signals.append(message)
            elif message.fields.get(wire.REPLY_SERIAL) == serial and message.kind == wire.REPLY:
                return message.body
            elif message.fields.get(wire.REPLY_SERIAL) == serial and message.kind == wire.ERROR:
                text = message.body[0] if message.body and isinstance(message.body[0], str) else ""
                raise CallError(str(message.fields.get(wire.ERROR_NAME, "")), text)
            if time.monotonic() > deadline:
                raise TimedOut(_DOING, member, f"no answer within {_TIMEOUT_S:g} s")

    def wait_signal(self, member: str, timeout_s: float = _TIMEOUT_S) -> wire.Message:
        """The next signal of this name, one that is already here first.

        Raises: TimedOut, Unavailable, Corrupt.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            while self.signals:
                message = self.signals.pop(0)
                if message.fields.get(wire.MEMBER) == member:
                    return message
            if time.monotonic() > deadline:
                raise TimedOut(_DOING, member, f"it did not come within {timeout_s:g} s")
            message = self.receive()
            if message.kind == wire.SIGNAL:
                self.signals.append(message)

    def send(self, message: bytes) -> None:
        """Send a message that is already encoded: for whoever answers calls. Raises: Unavailable, TimedOut."""
        self._send(message)

    def receive(self) -> wire.Message:
        """The next message of any kind.

        Raises: TimedOut, Unavailable when the other side hung up, Corrupt.
        """
        self._fill(wire.FIXED_HEADER_BYTES)
        head, body = wire.sizes(self._buffer[: wire.FIXED_HEADER_BYTES])
        self._fill(head + body)
        data, self._buffer = self._buffer[: head + body], self._buffer[head + body :]
        return wire.decode(data)

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            self._buffer += self._read()

    def _read(self) -> bytes:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            raise TimedOut(_DOING, self.path, "it does not answer") from None
        except OSError as error:
            raise Unavailable(_DOING, self.path, error.strerror) from None
        if not data:
            raise Unavailable(_DOING, self.path, "it hung up")
        return data

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except BlockingIOError:
            raise TimedOut(_DOING, self.path, "it takes nothing") from None
        except OSError as error:
            raise Unavailable(_DOING, self.path, error.strerror) from None

    def _authenticate(self) -> None:
        """EXTERNAL without naming ourselves: the other side takes the socket's credentials, right in any user namespace."""
        self._send(b"\0AUTH EXTERNAL\r\n")
        answer = self._line()
        if answer.startswith(b"DATA"):
            self._send(b"DATA\r\n")
            answer = self._line()
        if not answer.startswith(b"OK"):
            raise Denied(_DOING, self.path, f"it answered {answer.decode(errors='replace')!r}")
        self._send(b"BEGIN\r\n")

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _AUTH_LINE_BYTES:
                raise Corrupt(_DOING, self.path, "its greeting has no end")
            self._buffer += self._read()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line


def explain(doing: str, subject: str, error: CallError) -> Exception:
    """The user's error for a refused call."""
    short = error.name.rpartition(".")[2]
    text = error.text or error.name
    if short in ("AccessDenied", "InteractiveAuthorizationRequired", "AuthFailed"):
        return Denied(
            doing, subject, text, hint="root may; an ordinary user has a systemd of its own: use no sudo"
        )
    if short in ("NoSuchUnit", "UnknownObject"):
        return NotFound(doing, subject, text)
    if ".Spawn." in error.name or short in ("ServiceUnknown", "NameHasNoOwner", "NoReply", "Disconnected"):
        return Unavailable(doing, subject, text, hint=NO_SYSTEM)
    return Invalid(doing, subject, text)
