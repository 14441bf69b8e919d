"""Values of options."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.cli.moments import nanosecond_time, parse_moment
from casemate.cli.usage import ValueProblem
from casemate.cli.values import READERS

SECOND = 1_000_000_000
HOME = os.path.expanduser("~")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bytes", "64m", 64 * 1024**2),
        ("bytes", "64M", 64 * 1024**2),
        ("bytes", "1.5g", 3 * 1024**3 // 2),
        ("bytes", "512kb", 512 * 1024),
        ("bytes", "1GiB", 1024**3),
        ("bytes", "10 MB", 10 * 1024**2),
        ("bytes", "0", 0),
        ("bytes", "12b", 12),
        ("memory-swap", "-1", -1),
        ("cpus", "1.5", 1.5),
        ("cpus", ".5", 0.5),
        ("cpus", "2", 2.0),
        ("cpu-list", "0-3,7", "0-3,7"),
        ("integer", "-1", -1),
        ("ulimit", "nofile=1024:4096", ("nofile", 1024, 4096)),
        ("ulimit", "core=0", ("core", 0, 0)),
        ("ulimit", "memlock=-1:-1", ("memlock", -1, -1)),
        ("ulimit", "memlock=unlimited", ("memlock", -1, -1)),
        ("env", "A=b=c", "A=b=c"),
        ("env", "A", "A"),
        ("key-value", "a=b=c", ("a", "b=c")),
        ("key-value", "a", ("a", "")),
        ("sysctl", "net.core.somaxconn=9", ("net.core.somaxconn", "9")),
        ("extra-host", "db:10.0.0.5", "db:10.0.0.5"),
        ("extra-host", "db=10.0.0.5", "db:10.0.0.5"),
        ("extra-host", "six:[::1]", "six:::1"),
        ("extra-host", "h:host-gateway", "h:host-gateway"),
        ("device", "/dev/fuse", ("/dev/fuse", "/dev/fuse", "rwm")),
        ("device", "/dev/a:/dev/b", ("/dev/a", "/dev/b", "rwm")),
        ("device", "/dev/a:r", ("/dev/a", "/dev/a", "r")),
        ("device", "/dev/a:/dev/b:rw", ("/dev/a", "/dev/b", "rw")),
        ("tail", "all", None),
        ("tail", "5", 5),
        ("seconds", "-1", -1),
        ("filter", "status=exited", ("status", "exited")),
        ("filter", "label=a=b", ("label", "a=b")),
        ("detach-keys", "ctrl-p,ctrl-q", b"\x10\x11"),
        ("detach-keys", "a", b"a"),
        ("detach-keys", "ctrl-@,x,ctrl-_", b"\x00x\x1f"),
        ("detach-keys", "", b""),
        ("security-opt", "no-new-privileges", "no-new-privileges"),
        ("security-opt", "seccomp:unconfined", "seccomp=unconfined"),
        ("network", "none", "none"),
        ("restart", "no", "no"),
    ],
)
def test_good_values(kind: str, text: str, value: object) -> None:
    assert READERS[kind](text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("bytes", ""),
        ("bytes", "12q"),
        ("bytes", "m"),
        ("bytes", "-1"),
        ("bytes", "1e3"),
        ("bytes", "1.2.3m"),
        ("bytes", "10mm"),
        ("bytes", "9999999999999999999"),
        ("cpus", "x"),
        ("cpus", "-1"),
        ("cpus", "."),
        ("cpus", "1.0000000001"),
        ("cpu-list", "3-0"),
        ("cpu-list", "a"),
        ("integer", "1.5"),
        ("integer", ""),
        ("integer", "9" * 30),
        ("integer", "\uff19"),
        ("natural", "-1"),
        ("ulimit", "nofile"),
        ("ulimit", "nofiles=1"),
        ("ulimit", "nofile=2:1"),
        ("ulimit", "nofile=-1:1"),
        ("ulimit", "nofile=a"),
        ("env", "=x"),
        ("env", ""),
        ("key-value", "=x"),
        ("sysctl", "a"),
        ("extra-host", "db"),
        ("extra-host", "db:nowhere"),
        ("ip", "1.2.3"),
        ("ip", "a\x00b"),
        ("device", "dev/fuse"),
        ("device", "/dev/a:/dev/b:rwx"),
        ("device", "/a:/b:r:w"),
        ("tail", "some"),
        ("seconds", "-2"),
        ("filter", "status"),
        ("detach-keys", "ctrl-1"),
        ("detach-keys", "ctrl-pq"),
        ("detach-keys", "ab"),
        ("detach-keys", "a,,b"),
        ("security-opt", "secomp=x"),
        ("network", "bridge"),
        ("network", ""),
        ("restart", "always"),
        ("signal", "BOGUS"),
        ("signal", "0"),
        ("signal", "65"),
        ("signal", "\u00b2"),
        ("cpu-list", "\u00b2"),
    ],
)
def test_bad_values_are_named(kind: str, text: str) -> None:
    with pytest.raises(ValueProblem) as caught:
        READERS[kind](text)
    assert caught.value.why
    assert not caught.value.why.endswith(".")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/a:/b", ("bind", "/a", "/b", False, [])),
        ("/a:/b:ro", ("bind", "/a", "/b", True, [])),
        ("/a:/b:ro,z", ("bind", "/a", "/b", True, ["z"])),
        ("/a/../c/:/b:rw", ("bind", "/c", "/b", False, [])),
        ("./x:/b", ("bind", f"{os.getcwd()}/x", "/b", False, [])),
        ("~/x:/b", ("bind", f"{HOME}/x", "/b", False, [])),
        (".:/b", ("bind", os.getcwd(), "/b", False, [])),
        ("data:/b", ("volume", "data", "/b", False, [])),
        ("/b", ("volume", "", "/b", False, [])),
    ],
)
def test_volumes(text: str, value: object) -> None:
    assert READERS["volume"](text) == value


@pytest.mark.parametrize(
    "text",
    [
        "a:b:c:d",
        "a:b",
        ":/b",
        "/a:",
        "",
        "/a:/b:r0",
        "/a:/",
        "/a:/b/../c",
        "da/ta:/b",
        "-x:/b",
        "/a:/b:ro,rw",
    ],
)
def test_bad_volumes(text: str) -> None:
    with pytest.raises(ValueProblem):
        READERS["volume"](text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("type=bind,source=/a,target=/b", ("bind", "/a", "/b", False, [])),
        ("type=bind,src=/a,dst=/b,readonly", ("bind", "/a", "/b", True, [])),
        ("type=bind,src=/a,dst=/b,ro=false", ("bind", "/a", "/b", False, [])),
        ("type=bind,src=/a,dst=/b,bind-propagation=rslave", ("bind", "/a", "/b", False, ["rslave"])),
        ("type=bind,src=/a,dst=/b,bind-nonrecursive", ("bind", "/a", "/b", False, ["bind"])),
        ("source=data,target=/b", ("volume", "data", "/b", False, [])),
        ("target=/b", ("volume", "", "/b", False, [])),
        (
            "type=tmpfs,target=/b,tmpfs-size=64m,tmpfs-mode=1770",
            ("tmpfs", "", "/b", False, ["size=64m", "mode=1770"]),
        ),
        ('type=bind,"source=/a,b",target=/c', ("bind", "/a,b", "/c", False, [])),
        ('type=bind,"source=/a""q",target=/c', ("bind", '/a"q', "/c", False, [])),
    ],
)
def test_mounts(text: str, value: object) -> None:
    assert READERS["mount"](text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "type=foo,target=/b",
        "source=x",
        "type=bind,target=/b",
        "type=bind,source=a,target=/b",
        "type=bind,source=/a,target=b",
        "type=tmpfs,source=/a,target=/b",
        "type=bind,source=/a,target=/b,tmpfs-size=1",
        "type=bind,source=/a,target=/b,readonly=maybe",
        "type=bind,source=/a,target=/b,bogus=1",
        "type=bind,source,target=/b",
        'type=bind,"source=/a,target=/b',
        "type=bind,source=/a,target=/b,",
    ],
)
def test_bad_mounts(text: str) -> None:
    with pytest.raises(ValueProblem):
        READERS["mount"](text)


def test_tmpfs_options_are_kept_apart_from_read_only() -> None:
    assert READERS["tmpfs"]("/run:size=1m,mode=755,ro") == (
        "tmpfs",
        "",
        "/run",
        True,
        ["size=1m", "mode=755"],
    )
    assert READERS["tmpfs"]("/run") == ("tmpfs", "", "/run", False, [])


@given(st.sampled_from(sorted(READERS)), st.text(max_size=30))
def test_no_text_breaks_a_reader(kind: str, text: str) -> None:
    try:
        READERS[kind](text)
    except ValueProblem as problem:
        assert problem.why  # noqa: PT017 - the refusal is one of two good outcomes


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("10m", 10_000 * SECOND - 600 * SECOND),
        ("1h30m", 10_000 * SECOND - 5400 * SECOND),
        ("1.5s", 10_000 * SECOND - 3 * SECOND // 2),
        ("1700000000", 1_700_000_000 * SECOND),
        ("1700000000.25", 1_700_000_000 * SECOND + SECOND // 4),
        ("2023-11-14T22:13:20Z", 1_700_000_000 * SECOND),
        ("2023-11-14T22:13:20.000000001Z", 1_700_000_000 * SECOND + 1),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000 * SECOND),
    ],
)
def test_moments(text: str, ns: int) -> None:
    assert parse_moment(text, now_ns=10_000 * SECOND) == ns


@pytest.mark.parametrize("text", ["", "yesterday", "10", "2023-13-01"])
def test_what_is_no_moment(text: str) -> None:
    if text == "10":
        assert parse_moment(text) == 10 * SECOND
        return
    with pytest.raises(ValueProblem):
        parse_moment(text)


def test_log_times_have_nine_digits_and_are_utc() -> None:
    assert nanosecond_time(1_700_000_000 * SECOND + 7) == "2023-11-14T22:13:20.000000007Z"
