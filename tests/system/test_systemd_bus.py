"""Control groups by systemd's D-Bus interface: on a real bus daemon, on a private socket, and without any of it.

The manager behind the bus is a stand-in of ours; the real one is met in the lab.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import fake_systemd
import pytest
from ocibundle import Runtime, made_runtime

from casemate.cgroups.hierarchy import NAMED_SYSTEMD, parse_own, read_hierarchies
from casemate.cgroups.systemd import bus
from casemate.cgroups.systemd.bus import Bus, CallError
from casemate.cgroups.systemd.units import Units
from casemate.errors import AlreadyExists, CasemateError, Conflict, Invalid, NotFound, TimedOut, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
"""


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start programs that say one line when they are ready, and end them afterwards."""
    running: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()))
        assert running[-1].stdout is not None
        assert running[-1].stdout.readline(), command
        return running[-1]

    yield start
    for process in reversed(running):
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


class Place:
    """Where the stand-in answers, and what it was asked."""

    def __init__(self, base: Path, kind: str) -> None:
        self.socket = str(base / "bus")
        self.log = base / "log"
        self.daemon = kind == "bus"

    def units(self) -> Units:
        return Units(Bus(self.socket, daemon=self.daemon))

    def asked(self, member: str) -> list[Any]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [body for name, body in lines if name == member]


@pytest.fixture(params=["bus", "private"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> Place:
    found = Place(tmp_path, request.param)
    if found.daemon:
        daemon = shutil.which("dbus-daemon")
        assert daemon, "needs dbus-daemon (apt-get install dbus-daemon)"
        (tmp_path / "config").write_text(CONFIG.format(path=found.socket))
        spawn(daemon, f"--config-file={tmp_path}/config", "--nofork", "--nopidfile", "--print-address")
    spawn(sys.executable, fake_systemd.__file__, request.param, found.socket, str(found.log))
    return found


def test_a_scope_is_made_with_its_process_and_waited_for(place: Place) -> None:
    with place.units() as units:
        assert units.version() == 252
        assert units.control_group() == ""
        units.start_scope("a.scope", [("Slice", ("s", "x.slice")), ("Delegate", ("b", True))], os.getpid())
        with pytest.raises(AlreadyExists):
            units.start_scope("a.scope", [], os.getpid())
        units.set_properties("a.scope", [("MemoryMax", ("t", 1 << 30)), ("AllowedCPUs", ("ay", b"\x03"))])
        units.stop("a.scope")
        units.stop("a.scope")
    name, mode, properties, _ = place.asked("StartTransientUnit")[0]
    assert (name, mode) == ("a.scope", "fail")
    assert dict(properties)["PIDs"] == ["au", [os.getpid()]]
    assert place.asked("SetUnitProperties")[0][:2] == ["a.scope", True]


def test_a_failed_unit_of_the_same_name_is_forgotten_first(place: Place) -> None:
    with place.units() as units:
        units.start_scope("left.scope", [], 1)
    assert ["left.scope"] in place.asked("ResetFailedUnit")


def test_what_systemd_refuses_is_told_in_its_words(place: Place) -> None:
    with place.units() as units:
        with pytest.raises(Invalid, match=r"odd\.scope.*Invalid unit name"):
            units.start_scope("odd.scope", [], 1)
        with pytest.raises(Conflict, match=r"bad\.scope.*failed"):
            units.start_scope("bad.scope", [], 1)
        with pytest.raises(NotFound, match=r"none\.scope"):
            units.set_properties("none.scope", [("TasksMax", ("t", 1))])


def test_the_bus_daemon_accepts_every_type_that_is_sent(
    tmp_path: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    """A daemon checks each message to the last byte and hangs up on the first that is wrong."""
    (tmp_path / "config").write_text(CONFIG.format(path=tmp_path / "bus"))
    daemon = shutil.which("dbus-daemon")
    assert daemon
    spawn(daemon, f"--config-file={tmp_path}/config", "--nofork", "--nopidfile", "--print-address")
    with Bus(str(tmp_path / "bus"), daemon=True) as found:
        arguments = ("sba(sv)ayd(yg)a{su}", "x", True, [("A", ("a(ss)", [])), ("B", ("at", [1]))], b"\1", 1.5)
        with pytest.raises(CallError) as caught:
            found.call("no.such.Name", "/", "a.b", "C", *arguments, (1, "s"), {"k": 2})
        assert caught.value.name.endswith("ServiceUnknown")
        assert found.call("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "ListNames")[0]


def test_a_bus_without_systemd_says_so(tmp_path: Path, spawn: Callable[..., subprocess.Popen[str]]) -> None:
    (tmp_path / "config").write_text(CONFIG.format(path=tmp_path / "bus"))
    daemon = shutil.which("dbus-daemon")
    assert daemon
    spawn(daemon, f"--config-file={tmp_path}/config", "--nofork", "--nopidfile", "--print-address")
    with Units(Bus(str(tmp_path / "bus"), daemon=True)) as units, pytest.raises(Unavailable) as caught:
        units.version()
    assert "--systemd-cgroup" in caught.value.hint


def test_a_socket_that_never_answers_is_given_up(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "mute"))
        listener.listen()
        with pytest.raises(TimedOut):
            Bus(str(tmp_path / "mute"), daemon=True, timeout_s=0.2)


@pytest.mark.parametrize("user", [True, False])
def test_without_systemd_one_sentence_names_what_was_tried_and_the_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    user: bool,  # noqa: FBT001 - pytest's parameter
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setattr(bus, "SYSTEM_SOCKET", f"{tmp_path}/none")
    monkeypatch.setattr(bus, "SYSTEM_PRIVATE", f"{tmp_path}/neither")
    with pytest.raises(Unavailable) as caught:
        bus.connect(user=user)
    assert "no systemd answers here" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert ("enable-linger" if user else "cgroupfs") in caught.value.hint


def test_addresses_are_read_as_the_specification_writes_them() -> None:
    assert bus.parse_address("unix:path=/run/a%20b,guid=1;tcp:host=x;unix:abstract=/tmp/c") == [
        "/run/a b",
        "\0/tmp/c",
    ]
    assert bus.parse_address("") == []
    with pytest.raises(CasemateError):
        bus.parse_address("unix:path=/a%zz")


@pytest.fixture
def oci(
    tmp_path: Path, spawn: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Runtime, Place]]:
    """casemate-oci with a stand-in on the system bus that makes its units below the real hierarchy of systemd."""
    tree = next(h.mountpoint for h in read_hierarchies() if h.is_v2 or NAMED_SYSTEMD in h.controllers)
    place = Place(tmp_path, "bus")
    daemon = shutil.which("dbus-daemon")
    assert daemon
    (tmp_path / "config").write_text(CONFIG.format(path=place.socket))
    spawn(daemon, f"--config-file={tmp_path}/config", "--nofork", "--nopidfile", "--print-address")
    spawn(sys.executable, fake_systemd.__file__, "bus", place.socket, str(place.log), tree)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={place.socket}")
    with made_runtime(rootless=False) as runtime:
        yield runtime, place
    for hierarchy in read_hierarchies():
        if os.path.isdir(f"{hierarchy.mountpoint}/casemate.slice"):
            os.rmdir(f"{hierarchy.mountpoint}/casemate.slice")


@pytest.mark.needs_root
def test_a_container_runs_in_a_scope_alone_and_leaves_none(oci: tuple[Runtime, Place]) -> None:
    runtime, place = oci
    runtime.spec["linux"]["cgroupsPath"] = "casemate.slice:test:1"
    runtime.spec["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 9}}
    runtime.args("sleep", "60")
    created = runtime("--systemd-cgroup", "create", "c")
    assert created.returncode == 0, created.stderr
    first = runtime.state()["pid"]
    assert json.loads(runtime("ps", "--format", "json", "c").stdout) == [first]
    with open(f"/proc/{first}/cgroup", encoding="ascii") as file:
        own = parse_own(file.read())
    inside = [
        own[h.controllers] for h in read_hierarchies() if {"memory", NAMED_SYSTEMD} & h.controllers or h.is_v2
    ]
    assert set(inside) == {"/casemate.slice/test-1.scope"}
    assert runtime("start", "c").returncode == 0
    assert runtime("exec", "c", "true").returncode == 0
    assert runtime("update", "--pids-limit", "8", "c").returncode == 0
    assert runtime("pause", "c").returncode == 0
    assert runtime.state()["status"] == "paused"
    assert runtime("delete", "--force", "c").returncode == 0
    made = dict(place.asked("StartTransientUnit")[0][2])
    assert (made["Slice"], made["Delegate"]) == (["s", "casemate.slice"], ["b", True])
    limits = {name: value for _, _, given in place.asked("SetUnitProperties") for name, (_, value) in given}
    assert limits["TasksMax"] == 8
    assert limits.get("MemoryMax", limits.get("MemoryLimit")) == 64 << 20
    assert place.asked("StopUnit")[-1] == ["test-1.scope", "replace"]


@pytest.mark.needs_root
def test_a_run_in_a_scope_returns_the_exit_code_and_ends_the_unit(oci: tuple[Runtime, Place]) -> None:
    runtime, place = oci
    runtime.spec["linux"]["cgroupsPath"] = "casemate.slice:test:2"
    runtime.args("sh", "-c", "exit 7")
    found = runtime("--systemd-cgroup", "run", "c")
    assert found.returncode == 7, found.stderr
    assert place.asked("StopUnit") == [["test-2.scope", "replace"]]


@pytest.mark.needs_root
def test_a_start_that_fails_ends_the_unit(oci: tuple[Runtime, Place]) -> None:
    runtime, place = oci
    runtime.spec["linux"]["cgroupsPath"] = "casemate.slice:test:3"
    runtime.args("/no/such/program")
    assert runtime("--systemd-cgroup", "run", "c").returncode != 0
    assert place.asked("StopUnit") == [["test-3.scope", "replace"]]
    assert not (runtime.base / "state/c").exists()


@pytest.mark.needs_root
@pytest.mark.parametrize("path", ["/a/b", "a:b", "x.slice:a:b.slice", "-.slice::"])
def test_a_path_of_another_form_is_refused_with_the_form(oci: tuple[Runtime, Place], path: str) -> None:
    runtime, place = oci
    runtime.spec["linux"]["cgroupsPath"] = path
    found = runtime("--systemd-cgroup", "run", "c")
    assert found.returncode == 1
    assert path in found.stderr
    assert not (runtime.base / "state/c").exists()
    assert not place.log.exists() or not place.asked("StartTransientUnit")


@pytest.mark.needs_root
@pytest.mark.parametrize("rootless", [True, False])
def test_a_container_without_systemd_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
    rootless: bool,  # noqa: FBT001 - pytest's parameter
) -> None:
    nowhere = "unix:path=/nonexistent/bus"
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", nowhere)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", nowhere)
    with made_runtime(rootless=rootless) as runtime:
        if not rootless and os.path.isdir("/run/systemd/system"):
            return  # the lab: systemd is there; its own test says what happens then
        runtime.args("true")
        found = runtime("--systemd-cgroup", "run", "c")
        assert found.returncode == 1
        assert "no systemd answers here" in found.stderr
        assert not (runtime.base / "state/c").exists()
