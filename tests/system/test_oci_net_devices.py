"""linux.netDevices: interfaces of the host in a container, with their addresses, under new names; or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from ocibundle import Runtime, made_runtime

from casemate.kernel.rtnetlink import Rtnetlink

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox-static"),
]

NAMES = ("cmtnet0", "cmtnet1")


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """Two ends of a veth, up, each with addresses; whatever is left of them is removed."""
    ip("link", "add", NAMES[0], "mtu", "1400", "type", "veth", "peer", "name", NAMES[1])
    ip("link", "set", NAMES[0], "address", "02:00:00:00:12:34")
    ip("addr", "add", "198.51.100.5/24", "brd", "+", "dev", NAMES[0])
    ip("addr", "add", "198.51.100.6/24", "dev", NAMES[0], "label", f"{NAMES[0]}:x")
    ip("addr", "add", "2001:db8::5/64", "dev", NAMES[0], "nodad")
    ip("addr", "add", "203.0.113.9/24", "valid_lft", "500", "preferred_lft", "500", "dev", NAMES[0])
    ip("link", "set", NAMES[0], "up")
    ip("link", "set", NAMES[1], "up")
    yield NAMES
    for name in NAMES:
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


@pytest.fixture
def oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        yield runtime


def named(oci: Runtime, **devices: dict[str, Any]) -> Runtime:
    oci.spec["linux"]["netDevices"] = devices
    return oci


def on_host(name: str) -> str:
    return subprocess.run(
        ["ip", "-o", "addr", "show", "dev", name], check=False, capture_output=True, text=True
    ).stdout


def test_an_interface_arrives_renamed_up_with_its_lasting_addresses(
    oci: Runtime, pair: tuple[str, str]
) -> None:
    named(oci, **{pair[0]: {"name": "inside0"}})
    found = oci.run("sh", "-c", "busybox ip -o link; busybox ip -o addr; busybox ip route; echo end")
    assert found.returncode == 0, found.stderr
    link = next(line for line in found.stdout.splitlines() if "inside0" in line and "mtu" in line)
    for words in ("UP", "mtu 1400", "02:00:00:00:12:34"):
        assert words in link, found.stdout
    for words in ("198.51.100.5/24 brd 198.51.100.255", "198.51.100.6/24", "inside0:x", "2001:db8::5/64"):
        assert words in found.stdout, found.stdout
    assert "203.0.113.9" not in found.stdout, "an address that is only lent does not go along"
    assert "198.51.100.0/24 dev inside0" in found.stdout
    assert on_host(pair[0]) == ""


def test_without_a_name_it_keeps_its_own_and_a_template_gets_a_number(
    oci: Runtime, pair: tuple[str, str]
) -> None:
    named(oci, **{pair[0]: {}, pair[1]: {"name": "eth%d"}})
    found = oci.run("busybox", "ls", "/sys/class/net")
    assert sorted(found.stdout.split()) == [pair[0], "eth0", "lo"], found.stderr


def test_hooks_find_the_interface_where_it_will_be(oci: Runtime, pair: tuple[str, str]) -> None:
    named(oci, **{pair[0]: {"name": "in0"}})
    seen = oci.base / "seen"
    script = f"pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); nsenter -t $pid -n ip -o link > {seen}"
    oci.spec["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/sbin"]}]
    }
    assert oci.run("true").returncode == 0
    assert "in0" in seen.read_text()


def test_a_namespace_by_path_gets_it_and_keeps_it(oci: Runtime, pair: tuple[str, str]) -> None:
    holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo ready; read x"], stdin=-1, stdout=-1)
    assert holder.stdout
    holder.stdout.readline()
    try:
        for item in oci.spec["linux"]["namespaces"]:
            if item["type"] == "network":
                item["path"] = f"/proc/{holder.pid}/ns/net"
        named(oci, **{pair[0]: {"name": "kept0"}})
        assert oci.run("true").returncode == 0
        with open(f"/proc/{holder.pid}/ns/net", "rb") as file, Rtnetlink(file.fileno()) as there:
            assert "kept0" in [link.name for link in there.links()]
        named(oci, **{pair[1]: {"name": "kept0"}})
        found = oci.run("true")
        assert f"move network device {pair[1]}: the container has an interface kept0 already" in found.stderr
        assert on_host(pair[1]) != "", "nothing is lost by the refusal"
    finally:
        holder.communicate(b"\n")


def test_when_one_cannot_be_moved_the_others_come_back_as_they_were(
    oci: Runtime, pair: tuple[str, str]
) -> None:
    before = on_host(pair[0])
    named(oci, **{pair[0]: {"name": "a0"}, pair[1]: {"name": "lo"}})
    found = oci.run("true")
    assert found.returncode == 1
    assert "the container has an interface lo already" in found.stderr
    after = on_host(pair[0])
    for words in ("198.51.100.5/24", f"{pair[0]}:x", "2001:db8::5/64"):
        assert words in before
        assert words in after
    assert "UP" in ip("-o", "link", "show", pair[0])
    assert json.loads(oci("list", "--format", "json").stdout) == []


def test_what_cannot_be_moved_is_refused_before_anything_is_made(oci: Runtime) -> None:
    found = named(oci, cmtnone={}).run("true")
    assert "move network device cmtnone: the host has no such interface" in found.stderr
    found = named(oci, lo={"name": "x"}).run("true")
    assert "move network device lo: a loopback interface cannot leave its namespace" in found.stderr
    oci.spec["linux"]["namespaces"] = [
        item for item in oci.spec["linux"]["namespaces"] if item["type"] != "network"
    ]
    assert "linux.netDevices: needs a network namespace" in oci.run("true").stderr
    assert "does not exist" in oci("state", "c").stderr


def test_an_ordinary_user_is_told_that_it_may_not_move_interfaces() -> None:
    with made_runtime(rootless=True) as oci:
        found = named(oci, lo={"name": "x"}).run("true")
        assert "it needs CAP_NET_ADMIN over the host's network" in found.stderr
        assert "fix: run as root" in found.stderr
