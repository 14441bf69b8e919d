"""What is asked of systemd's manager: transient scopes made, changed and ended; a process moved into one.

Source: org.freedesktop.systemd1(5), "The Manager Object".
"""

from __future__ import annotations

from casemate.cgroups.systemd.bus import Bus, CallError, connect, explain
from casemate.errors import AlreadyExists, Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from casemate.cgroups.systemd.properties import Property

NAME, OBJECT, MANAGER = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
)
_PROPERTIES = "org.freedesktop.DBus.Properties"
_MATCH = f"type='signal',sender='{NAME}',interface='{MANAGER}',member='JobRemoved'"


class Units:
    """systemd's manager over one connection."""

    __slots__ = ("_bus", "_listening", "_version")

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._listening = False
        self._version = 0

    @classmethod
    def connect(cls, *, user: bool) -> Units:
        """The system's or the user's. Raises: Unavailable, Denied."""
        return cls(connect(user=user))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._bus.close()

    def _call(self, member: str, *arguments: Any) -> list[Any]:
        return self._bus.call(NAME, OBJECT, MANAGER, member, *arguments)

    def _property(self, name: str) -> str:
        try:
            ((_, value),) = self._bus.call(NAME, OBJECT, _PROPERTIES, "Get", "ss", MANAGER, name)
        except CallError as error:
            raise explain("ask systemd for its", name, error) from None
        return str(value)

    def version(self) -> int:
        """Systemd's version, such as 252."""
        if not self._version:
            digits = ""
            for char in self._property("Version").lstrip("v"):
                if not char.isdigit():
                    break
                digits += char
            self._version = int(digits or 0)
        return self._version

    def control_group(self) -> str:
        """The manager's own group, below which its units lie: empty for the system's."""
        return self._property("ControlGroup").strip("/")

    def start_scope(self, unit: str, properties: list[Property], pid: int) -> None:
        """Make a transient scope that holds this process, and wait until it is there.

        A failed unit of the same name, left from an earlier end, is forgotten first.
        Raises: AlreadyExists, Conflict when systemd gives up, Invalid for what it does not accept, Denied, TimedOut.
        """
        self._listen()
        everything = [*properties, ("PIDs", ("au", [pid]))]
        arguments: tuple[Any, ...] = ("ssa(sv)a(sa(sv))", unit, "fail", everything, [])
        try:
            job = self._start(arguments)
        except CallError as error:
            if not error.name.endswith(".UnitExists"):
                raise explain("start systemd unit", unit, error) from None
            self.reset_failed(unit)
            try:
                job = self._start(arguments)
            except CallError as again:
                if again.name.endswith(".UnitExists"):
                    raise AlreadyExists("start systemd unit", unit, "it is active") from None
                raise explain("start systemd unit", unit, again) from None
        result = self._wait(job)
        if result != "done":
            self.reset_failed(unit)
            raise Conflict("start systemd unit", unit, f"systemd ended the job with {result!r}")

    def _start(self, arguments: tuple[Any, ...]) -> str:
        (job,) = self._call("StartTransientUnit", *arguments)
        return str(job)

    def stop(self, unit: str) -> None:
        """End a unit and wait until it is gone; one that is gone already is success. Raises: Denied, TimedOut."""
        self._listen()
        try:
            (job,) = self._call("StopUnit", "ss", unit, "replace")
        except CallError as error:
            if error.name.endswith(".NoSuchUnit"):
                return
            raise explain("stop systemd unit", unit, error) from None
        self._wait(str(job))
        self.reset_failed(unit)

    def reset_failed(self, unit: str) -> None:
        """Let systemd forget a failed unit, so that its name is free; nothing when there is none."""
        try:
            self._call("ResetFailedUnit", "s", unit)
        except CallError:
            return

    def set_properties(self, unit: str, properties: list[Property]) -> None:
        """Change a running unit until it ends. Raises: NotFound, Invalid, Denied."""
        if not properties:
            return
        try:
            self._call("SetUnitProperties", "sba(sv)", unit, True, properties)  # noqa: FBT003 - D-Bus has no keywords
        except CallError as error:
            raise explain("change systemd unit", unit, error) from None

    def _listen(self) -> None:
        """Have the ends of jobs told to us. systemd's private socket tells them to everybody."""
        if self._listening or not self._bus.daemon:
            return
        bus = "org.freedesktop.DBus"
        self._bus.call(bus, "/org/freedesktop/DBus", bus, "AddMatch", "s", _MATCH)
        try:
            self._call("Subscribe")
        except CallError as error:
            if not error.name.endswith(".AlreadySubscribed"):
                raise explain("listen to", "systemd", error) from None
        self._listening = True

    def _wait(self, job: str) -> str:
        """The result of a job: done, failed, canceled, timeout, dependency, skipped."""
        while True:
            body = self._bus.wait_signal("JobRemoved").body
            if len(body) == 4 and body[1] == job:  # noqa: PLR2004 - number, job, unit, result
                return str(body[3])
