"""casemate-oci's command line: every verb explains its options, and what is typed wrongly is refused by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from casemate.errors import CasemateError, Corrupt, Invalid, NotFound, Unsupported
from casemate.runtime.cli import main, usage
from casemate.runtime.cli.group.events import parse_duration
from casemate.runtime.cli.group.update import parse_size
from casemate.runtime.cli.record import load_record, salvage_record

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("verb", sorted(main.VERBS))
def test_every_option_of_every_verb_is_explained(verb: str) -> None:
    options, letters = usage.options_of(verb)
    assert set(options) <= set(usage.HELP[verb])
    assert not options or set(letters.values()) <= set(options)
    shown = usage.verb_help(verb)
    assert all(f"--{name}" in shown for name in options)


def test_every_global_option_is_explained() -> None:
    assert set(usage.GLOBAL) == set(main.OPTIONS)


@pytest.mark.parametrize(
    "words", [["--help"], ["help"], [], ["run", "--help"], ["help", "run"], ["kill", "-h"]]
)
def test_help_is_on_standard_output_and_no_failure(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(words) == 0
    assert capsys.readouterr().out.startswith("Usage: casemate-oci ")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nosuch"], 3),
        (["--nosuch"], 1),
        (["state"], 1),
        (["state", "a", "b"], 1),
        (["state", "a/b"], 1),
        (["create", "--nosuch", "c"], 1),
        (["create", "--detach", "c"], 1),
        (["run", "--detach=perhaps", "c"], 1),
        (["exec", "nosuch", "true"], 255),
        (["exec"], 1),
        (["--log-format", "xml", "list"], 1),
        (["--rootless", "perhaps", "list"], 1),
        (["list", "--format", "xml"], 1),
        (["help", "nosuch"], 3),
    ],
)
def test_what_is_typed_wrongly_has_the_exit_code_of_runc(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(words) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("casemate-oci: ")
    assert "Traceback" not in said.err


def test_a_log_format_without_a_log_makes_standard_error_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--log-format", "json", "state", "a/b"]) == 1
    said = json.loads(capsys.readouterr().err)
    assert said["level"] == "error"
    assert sorted(said) == ["level", "msg", "time"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("-1", -1),
        ("0", 0),
        ("10", 10),
        ("10b", 10),
        ("1k", 1024),
        ("512m", 512 << 20),
        ("1.5GiB", 3 << 29),
        ("2 TB", 2 << 40),
    ],
)
def test_sizes_are_binary_multiples(text: str, size: int) -> None:
    assert parse_size("memory", text) == size


@pytest.mark.parametrize(
    "text", ["", "-2", "m", "1x", "1.2.3", "0x10", "1e3", "9999999999999999999", "\u0661"]
)
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_size("memory", text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), (".5s", 0.5)]
)
def test_durations_are_those_of_go(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "5", "0s", "-1s", "1.2.3s", "s", "1d", "1s1", ".s"])
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_duration(text)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (b"", Corrupt),
        (b"[]", Corrupt),
        (b'{"version": 1, "pid": "7"}', Corrupt),
        (b'{"version": 1, "cgroup_path": ["a"]}', Corrupt),
        (b'{"version": 99}', Unsupported),
        (b'{"id": "c", "init_process_pid": 1}', Unsupported),
        (b"\xff\xfe", Corrupt),
    ],
)
def test_a_state_that_is_not_ours_is_refused_and_can_be_removed(
    tmp_path: Path, state: bytes, error: type[CasemateError]
) -> None:
    root = str(tmp_path)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/state.json").write_bytes(state)
    with pytest.raises(error) as caught:
        load_record(root, "c")
    assert "delete --force c" in caught.value.hint
    record = salvage_record(root, "c")
    assert record.pid == 0
    assert str(record.data["cgroup_path"]).endswith("-c")


def test_a_container_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_record(str(tmp_path), "c")
