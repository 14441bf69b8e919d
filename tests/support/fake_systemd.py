"""A stand-in for systemd's manager, as a process of its own: on a bus daemon, or on a private socket like /run/systemd/private.

    python fake_systemd.py private SOCKET LOG [TREE]     python fake_systemd.py bus SOCKET LOG [TREE]

Every call is a line of JSON in LOG. With TREE, a directory of a real cgroup hierarchy, units become directories in it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

from casemate.cgroups.names import expand_slice
from casemate.cgroups.systemd import wire
from casemate.cgroups.systemd.bus import Bus
from casemate.errors import Unavailable

NAME, MANAGER = "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager"


class Refused(Exception):
    """A D-Bus error as the answer."""


class Peer:
    """A connection that was accepted, with the client's part of the conversation already behind it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = b""

    def authenticate(self) -> None:
        assert self._until(b"\r\n") == b"\0AUTH EXTERNAL"
        self._connection.sendall(b"DATA\r\n")
        assert self._until(b"\r\n") == b"DATA"
        self._connection.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
        assert self._until(b"\r\n") == b"BEGIN"

    def _until(self, end: bytes) -> bytes:
        while end not in self._data:
            self._more()
        line, _, self._data = self._data.partition(end)
        return line

    def _more(self) -> None:
        data = self._connection.recv(65536)
        if not data:
            raise Unavailable("read", "peer", "it hung up")
        self._data += data

    def receive(self) -> wire.Message:
        while len(self._data) < wire.FIXED_HEADER_BYTES or len(self._data) < sum(wire.sizes(self._data)):
            self._more()
        size = sum(wire.sizes(self._data))
        data, self._data = self._data[:size], self._data[size:]
        return wire.decode(data)

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)


class Manager:
    """What the methods do. ``names`` steer it: bad.scope fails, odd.scope is refused."""

    def __init__(self, log: str, tree: str) -> None:
        self.log = log
        self.tree = tree
        self.units: dict[str, str] = {}
        self.failed = {"left.scope"}
        self.jobs = 0

    def handle(self, member: str, body: list[Any]) -> tuple[str, list[Any], list[tuple[str, list[Any]]]]:
        """(signature and values of the answer, signals to send after it)."""
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps([member, body], default=list) + "\n")
        method = getattr(self, f"on_{member}", None)
        if method is None:
            return "", [], []
        found: tuple[str, list[Any], list[tuple[str, list[Any]]]] = method(*body)
        return found

    def on_Get(self, _interface: str, name: str) -> Any:  # noqa: N802 - the method of D-Bus
        values = {"Version": "252.38-1~deb12u1", "ControlGroup": ""}
        return "v", [("s", values[name])], []

    def on_StartTransientUnit(self, unit: str, _mode: str, properties: Any, _aux: Any) -> Any:  # noqa: N802 - the method of D-Bus
        given = {name: value for name, (_, value) in properties}
        if unit in self.units or unit in self.failed:
            raise Refused(f"{NAME}.UnitExists", f"Unit {unit} was already loaded")
        if unit == "odd.scope" or not given.get("PIDs"):
            raise Refused("org.freedesktop.DBus.Error.InvalidArgs", "Invalid unit name or no processes")
        result = "failed" if unit == "bad.scope" else "done"
        if result == "done":
            self.units[unit] = given.get("Slice", "system.slice")
            self._move(unit, given["PIDs"])
        return self._job(unit, result)

    def _directory(self, unit: str) -> str:
        return "/".join([self.tree, *expand_slice(self.units[unit], unit), unit])

    def _move(self, unit: str, pids: list[int]) -> None:
        if self.tree:
            os.makedirs(self._directory(unit), exist_ok=True)
            for pid in pids:
                with open(f"{self._directory(unit)}/cgroup.procs", "w", encoding="ascii") as file:
                    file.write(str(pid))

    def on_StopUnit(self, unit: str, _mode: str) -> Any:  # noqa: N802 - the method of D-Bus
        if unit not in self.units:
            raise Refused(f"{NAME}.NoSuchUnit", f"Unit {unit} not loaded.")
        if self.tree and os.path.isdir(self._directory(unit)):
            os.rmdir(self._directory(unit))
        del self.units[unit]
        return self._job(unit, "done")

    def on_ResetFailedUnit(self, unit: str) -> Any:  # noqa: N802 - the method of D-Bus
        self.failed.discard(unit)
        return "", [], []

    def on_SetUnitProperties(self, unit: str, _runtime: bool, _properties: Any) -> Any:  # noqa: FBT001, N802 - D-Bus
        if unit not in self.units:
            raise Refused(f"{NAME}.NoSuchUnit", f"Unit {unit} not loaded.")
        return "", [], []

    def _job(self, unit: str, result: str) -> Any:
        self.jobs += 1
        path = f"/org/freedesktop/systemd1/job/{self.jobs}"
        other = [self.jobs + 1000, "/org/freedesktop/systemd1/job/9", "other.service", "done"]
        return "o", [path], [("uoss", other), ("uoss", [self.jobs, path, unit, result])]


def serve(peer: Peer | Bus, manager: Manager) -> None:
    serial = 1000
    while True:
        try:
            call = peer.receive()
        except Unavailable:
            return
        if call.kind != wire.CALL:
            continue
        fields: dict[int, Any] = {wire.REPLY_SERIAL: call.serial}
        if wire.SENDER in call.fields:
            fields[wire.DESTINATION] = call.fields[wire.SENDER]
        serial += 1
        try:
            signature, values, signals = manager.handle(call.fields[wire.MEMBER], call.body)
        except Refused as error:
            fields[wire.ERROR_NAME] = error.args[0]
            peer.send(wire.encode(wire.ERROR, serial, fields, "s", error.args[1]))
            continue
        # The signal of a job may overtake the answer that names it.
        for types, body in signals:
            serial += 1
            path = {
                wire.PATH: "/org/freedesktop/systemd1",
                wire.INTERFACE: MANAGER,
                wire.MEMBER: "JobRemoved",
            }
            peer.send(wire.encode(wire.SIGNAL, serial, path, types, *body))
        serial += 1
        peer.send(wire.encode(wire.REPLY, serial, fields, signature, *values))


def main(kind: str, path: str, log: str, tree: str = "") -> None:
    manager = Manager(log, tree)
    if kind == "bus":
        bus = Bus(path, daemon=True, timeout_s=3600)
        daemon = "org.freedesktop.DBus"
        assert bus.call(daemon, "/org/freedesktop/DBus", daemon, "RequestName", "su", NAME, 0) == [1]
        print("ready", flush=True)  # noqa: T201 - the test waits for it
        serve(bus, manager)
        return
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)  # noqa: T201 - the test waits for it
    while True:
        connection, _ = listener.accept()
        peer = Peer(connection)
        peer.authenticate()
        serve(peer, manager)
        connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
