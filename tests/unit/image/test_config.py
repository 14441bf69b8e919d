"""Image configs are untrusted data with a strict schema (SECURITY C18)."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.errors import CasemateError, Exhausted, Invalid, Unsupported
from casemate.image.config import ImageConfig

DIFF_ID = "sha256:" + "a" * 64


def parse(run: dict[str, Any] | None = None, **top: Any) -> ImageConfig:
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]},
    }
    return ImageConfig.parse(json.dumps(document | top).encode())


def test_typical_config_is_read() -> None:
    config = parse(
        {
            "Env": ["PATH=/bin", "EMPTY=", "A=b=c", "lower.dotted-name=1"],
            "Entrypoint": ["/entry"],
            "Cmd": ["run", ""],
            "User": "www-data:33",
            "WorkingDir": "/srv//app/.",
            "ExposedPorts": {"80": {}, "443/tcp": {}, "53/udp": None, "8000-8010/tcp": {}},
            "Volumes": {"/data/": {}},
            "Labels": {"a": "binary://x", "A": "y"},
            "StopSignal": "sigquit",
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30_000_000_000, "Unknown": 1},
            "Shell": ["/bin/bash", "-c"],
            "OnBuild": None,
        },
        created="2026-01-01T00:00:00Z",
        history=[{"created_by": "COPY", "empty_layer": True}, {}],
    )
    assert config.env == ["PATH=/bin", "EMPTY=", "A=b=c", "lower.dotted-name=1"]
    assert (config.entrypoint, config.cmd) == (["/entry"], ["run", ""])
    assert (config.user, config.working_dir, config.stop_signal) == ("www-data:33", "/srv/app", "SIGQUIT")
    assert config.exposed_ports == ["80/tcp", "443/tcp", "53/udp", "8000-8010/tcp"]
    assert config.volumes == ["/data"]
    assert config.labels == {"a": "binary://x", "A": "y"}
    assert config.healthcheck == {"Test": ["CMD", "true"], "Interval": 30_000_000_000}
    assert config.diff_ids == [DIFF_ID]
    assert [step["empty_layer"] for step in config.history] == [True, False]
    assert str(config.platform) == "linux/amd64"


def test_empty_config_has_plain_defaults() -> None:
    config = parse(None)
    assert (config.env, config.entrypoint, config.cmd, config.user) == ([], None, None, "")
    assert (config.volumes, config.labels, config.healthcheck) == ([], {}, None)


def test_string_as_command_is_docker_s_old_form() -> None:
    assert parse({"Cmd": "/bin/sh"}).cmd == ["/bin/sh"]


@pytest.mark.parametrize(
    "run",
    [
        {"Env": ["HOME"]},
        {"Env": ["AWS_*"]},
        {"Env": ["*"]},
        {"Env": ["*=1"]},
        {"Env": ["=x"]},
        {"Env": [""]},
        {"Env": ["A\n=1"]},
        {"Env": ["A=\0"]},
        {"Env": "A=1"},
        {"Env": [1]},
        {"Env": {"A": "1"}},
        {"Cmd": [None]},
        {"Cmd": {"a": 1}},
        {"Cmd": ["\0"]},
        {"Entrypoint": 5},
        {"User": "4294967296"},
        {"User": "4294967295"},
        {"User": "-1"},
        {"User": "../../etc/passwd"},
        {"User": 0},
        {"WorkingDir": "/a/../../b"},
        {"WorkingDir": "../x"},
        {"WorkingDir": "/a\0"},
        {"WorkingDir": 1},
        {"Volumes": {"/../etc": {}}},
        {"Volumes": {"data": {}}},
        {"Volumes": {"/": {}}},
        {"Volumes": {"//.": {}}},
        {"Volumes": {"/a\0b": {}}},
        {"Volumes": ["/data"]},
        {"Volumes": {"/data": "host"}},
        {"ExposedPorts": {"0/tcp": {}}},
        {"ExposedPorts": {"65536/tcp": {}}},
        {"ExposedPorts": {"80/icmp": {}}},
        {"ExposedPorts": {"$HOME": {}}},
        {"ExposedPorts": {"8²/tcp": {}}},
        {"Labels": {"a": 1}},
        {"Labels": ["a=1"]},
        {"Labels": {"a": "\0"}},
        {"StopSignal": "SIG TERM"},
        {"StopSignal": "9; reboot"},
        {"StopSignal": 9},
        {"Healthcheck": []},
        {"Healthcheck": {"Test": "curl"}},
        {"Healthcheck": {"Interval": -1}},
        {"Healthcheck": {"Interval": 1 << 63}},
        {"Healthcheck": {"Retries": True}},
        {"env": ["A=1"]},
        {"ENV": ["A=1"]},
    ],
)
def test_hostile_field_is_invalid(run: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        parse(run)


@pytest.mark.parametrize(
    "top",
    [
        {"architecture": ""},
        {"os": None},
        {"os": 5},
        {"rootfs": None},
        {"rootfs": {"type": "layers", "diff_ids": "x"}},
        {"rootfs": {"type": "layers", "diff_ids": ["sha256:../../x"]}},
        {"rootfs": {"type": "layers", "Diff_IDs": []}},
        {"history": {}},
        {"history": [5]},
        {"history": [{"created_by": 5}]},
        {"config": []},
        {"Config": {}},
        {"created": 5},
    ],
)
def test_malformed_document_is_invalid(top: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        parse(**top)


def test_other_rootfs_is_unsupported() -> None:
    with pytest.raises(Unsupported):
        parse(rootfs={"type": "layers+base", "diff_ids": []})


@pytest.mark.parametrize(
    ("run", "top"),
    [
        ({"Env": ["A=1"] * 5000}, {}),
        ({"Labels": {str(at): "" for at in range(5000)}}, {}),
        ({}, {"rootfs": {"type": "layers", "diff_ids": [DIFF_ID] * 600}}),
        ({"Cmd": ["x" * (5 << 20)]}, {}),
    ],
)
def test_bombs_are_exhausted(run: dict[str, Any], top: dict[str, Any]) -> None:
    with pytest.raises(Exhausted):
        parse(run, **top)


HOSTILE = st.sampled_from(
    ["*", "$HOME", "${HOME}", "binary://x", "/proc/self", "../", "file:///etc/shadow", "`id`", "\0", "~"]
)
TEXT = HOSTILE | st.text(max_size=12) | st.builds("{}={}".format, HOSTILE, HOSTILE)
VALUE = st.recursive(
    TEXT | st.none() | st.booleans() | st.integers(),
    lambda c: st.lists(c, max_size=3) | st.dictionaries(TEXT, c, max_size=3),
)
FIELDS = (
    "Env",
    "Cmd",
    "Entrypoint",
    "User",
    "WorkingDir",
    "Volumes",
    "ExposedPorts",
    "Labels",
    "StopSignal",
    "Healthcheck",
)


@given(st.dictionaries(st.sampled_from(FIELDS) | TEXT, VALUE, max_size=6))
def test_fuzzed_config_is_refused_or_harmless(run: dict[str, Any]) -> None:
    secret = os.environ["HOME"]
    try:
        config = parse(run)
    except CasemateError:
        return
    for entry in config.env:
        name, equals, _ = entry.partition("=")
        assert equals
        assert name
        assert "*" not in name
        assert secret not in entry or any(secret in str(value) for value in run.values())
    for path in (*config.volumes, config.working_dir or "/"):
        assert path.startswith("/")
        assert ".." not in path.split("/")
    everything = [
        *config.env,
        *(config.cmd or ()),
        *(config.entrypoint or ()),
        config.user,
        *config.labels.values(),
    ]
    assert not any("\0" in text for text in everything)
