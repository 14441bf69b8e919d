"""Errors, suggestions, help, colour, columns, completion, manual pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate import errors
from casemate.cli import failure, streams, table
from casemate.cli.detachkeys import DetachKeys
from casemate.cli.main import main
from casemate.cli.show.columns import align
from casemate.cli.show.sizes import human_size
from casemate.cli.suggest import distance, nearest
from casemate.cli.words import manpages, reference
from casemate.cli.words.complete import FILES, candidates
from casemate.cli.words.help import help_text, spellings
from casemate.cli.words.shells import script

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


LAUNCHER = """#!{python} -I
import sys
sys.path.insert(0, {source!r})
from casemate.cli.main import main
sys.exit(main())
"""


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("CASEMATE_ROOT", f"{tmp_path}/root")
    monkeypatch.setenv("CASEMATE_RUN_ROOT", f"{tmp_path}/run")
    for name in ("NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "CASEMATE_DEBUG"):
        monkeypatch.delenv(name, raising=False)


def test_an_error_says_what_why_and_how_to_fix_it(capfd: pytest.CaptureFixture[str]) -> None:
    failure.show(
        errors.NotFound(
            "pull image", "debian:bookwrm", "the registry has no such tag", hint="did you mean bookworm?"
        )
    )
    out, err = capfd.readouterr()
    assert out == ""
    assert err == (
        "casemate: cannot pull image debian:bookwrm\n"
        "  why: the registry has no such tag\n"
        "  fix: did you mean bookworm?\n"
        "  code: E-NOT-FOUND\n"
    )


def test_no_name_can_drive_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    failure.show(errors.NotFound("find", "\x1b]0;pwned\x07\u202e", "a\rb"))
    err = capfd.readouterr().err
    assert "\x1b" not in err
    assert "\x07" not in err
    assert "\r" not in err
    assert "\\x1b" in err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["runn"], 1, "did you mean run?"),
        (["imges"], 1, "did you mean images?"),
        (["contianer", "ls"], 1, "did you mean container?"),
        (["image", "pul"], 1, "did you mean pull?"),
        (["image", "zzzzzz"], 1, "casemate image --help"),
        (["__nothing"], 1, "there is no command"),
        (["run"], 1, "requires at least 1 argument"),
        (["ps", "--bogus"], 125, "no such flag"),
        (["--bogus"], 125, "no such flag"),
        (["run", "--bogus", "x"], 125, "no such flag"),
        (["completion", "bsh"], 1, "did you mean bash?"),
        (["help", "rn"], 1, "did you mean"),
        (["ps", "--format", "{{.Foo"], 1, "unclosed action"),
        (["rm", "absent"], 1, "no such container"),
        (["run", "--pull", "never", "absent"], 125, "no such image"),
        (["exec", "absent", "ls"], 125, "no such container"),
        (["run", "-v", "/a:/b", "-v", "/c:/b", "x"], 125, "two mounts have this target"),
        (["run", "-m", "1g", "--memory-swap", "1m", "x"], 125, "less than memory"),
        (["run", "-d", "-a", "stdout", "x"], 125, "background"),
        (["run", "--log-opt", "max-sise=1", "x"], 125, "no such option"),
        (["run", "--label-file", "/nope", "x"], 125, "no such file"),
    ],
)
def test_mistakes_are_explained_on_stderr(
    words: list[str], code: int, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("casemate: cannot ")
    assert says in err


def test_several_operands_are_all_tried(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["rm", "one", "two"]) == 1
    assert capfd.readouterr().err.count("no such container") == 2
    assert main(["rm", "-f", "one"]) == 0


def test_an_unexpected_fault_asks_for_a_report_and_shows_no_traceback(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASEMATE_ROOT", "/proc/nowhere")
    assert main(["ps"]) == 1
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert main(["-D", "ps"]) == 1
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("one", "other", "steps"),
    [("run", "run", 0), ("runn", "run", 1), ("urn", "run", 1), ("rn", "run", 1), ("abc", "xyz", 3)],
)
def test_distance_counts_slips(one: str, other: str, steps: int) -> None:
    assert distance(one, other, limit=9) == steps


@given(st.text(max_size=8), st.text(max_size=8))
def test_distance_is_symmetric_and_bounded(one: str, other: str) -> None:
    assert distance(one, other, limit=20) == distance(other, one, limit=20) <= max(len(one), len(other))


def test_nothing_near_is_suggested_for_nothing_near() -> None:
    assert nearest("zzz", ["run", "ps"]) is None
    assert nearest("", ["run"]) is None


@pytest.mark.parametrize("verb", [verb.name for verb in table.iter_verbs()])
def test_every_verb_has_help_with_examples(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    row = table.load(verb)
    assert row is not None
    for path in spellings(row):
        assert main([*path.split(), "--help"]) == 0
        out = capfd.readouterr().out
        assert out.startswith(f"Usage:  casemate {path}")
        assert "Examples:" in out
        assert row.summary in out


def test_rows_of_the_table_are_consistent() -> None:
    for verb in table.iter_verbs(hidden=True):
        options = verb.options()
        names = [option.name for option in options]
        shorts = [option.short for option in options if option.short]
        assert len(set(names)) == len(names)
        assert len(set(shorts)) == len(shorts)
        for option in options:
            assert not option.help.endswith(".")
            assert option.kind == "bool" or option.refused or option.hidden or option.meta


def test_every_flag_of_dockers_verbs_is_known() -> None:
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("docker's client is the oracle")
    for name in (
        "run",
        "create",
        "exec",
        "ps",
        "images",
        "logs",
        "stop",
        "kill",
        "rm",
        "start",
        "attach",
        "inspect",
        "load",
        "save",
        "rmi",
    ):
        text = subprocess.run(
            [docker, name, "--help"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
        beginnings = [line.split()[:2] for line in text.splitlines() if line[:10].strip().startswith("-")]
        asked = {word for words in beginnings for word in words if word.startswith("--")}
        row = table.load(name)
        assert row is not None
        known = {f"--{option.name}" for option in row.options()} | {"--help"}
        assert not asked - known - {"--checkpoint", "--checkpoint-dir"}


def test_colour_obeys_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.openpty()
    try:
        monkeypatch.setenv("TERM", "xterm")
        assert streams.wants_colour(writer)
        monkeypatch.setenv("TERM", "dumb")
        assert not streams.wants_colour(writer)
        monkeypatch.setenv("CLICOLOR_FORCE", "1")
        assert streams.wants_colour(writer)
        monkeypatch.setenv("NO_COLOR", "1")
        assert not streams.wants_colour(writer)
    finally:
        os.close(reader)
        os.close(writer)


def test_columns_are_at_least_ten_wide_with_three_between() -> None:
    assert align([["A", "B"], ["aaaaaaaaaaaa", "b"]]) == "A              B\naaaaaaaaaaaa   b\n"
    assert align([["A", "B"]]) == "A         B\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (77_800_000, "77.8MB"), (1_500_000_000, "1.5GB")],
)
def test_sizes_are_dockers(count: int, text: str) -> None:
    assert human_size(count) == text


@given(st.binary(max_size=60))
def test_detach_keys_lose_nothing(typed: bytes) -> None:
    keys = DetachKeys(b"\x10\x11")
    passed = b""
    for i in range(0, len(typed), 3):
        part, done = keys.feed(typed[i : i + 3])
        passed += part
        if done:
            assert typed.startswith(passed + b"\x10\x11")
            return
    assert passed + keys.held == typed


def test_detach_keys_are_found_across_reads_and_after_a_false_start() -> None:
    keys = DetachKeys(b"\x10\x11")
    assert keys.feed(b"a\x10") == (b"a", False)
    assert keys.feed(b"\x10") == (b"\x10", False)
    assert keys.feed(b"\x11rest") == (b"", True)
    assert DetachKeys(b"").feed(b"\x10\x11") == (b"\x10\x11", False)


def words(*line: str) -> list[str]:
    return [word for word, _ in candidates(line)]


def test_completion_offers_what_fits() -> None:
    assert "run" in words("")
    assert words("ru") == ["run"]
    assert words("run", "--mem") == ["--memory", "--memory-reservation", "--memory-swap"]
    assert words("run", "--network", "") == ["none", "host"]
    assert words("run", "--network=h") == ["--network=host"]
    assert words("run", "-it", "image", "") == [FILES]
    assert words("run", "--env-file", "") == [FILES]
    assert words("stop", "-s", "KI") == ["KILL"]
    assert words("image", "pul") == ["pull"]
    assert words("completion", "") == ["bash", "zsh", "fish"]
    assert words("--root", "/x", "ru") == ["run"]
    assert words("nonsense", "") == []
    assert words("ps", "x", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_parse(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n"], input=script(shell), text=True, check=True, timeout=30)


def test_bash_completes_as_a_user_sees_it(tmp_path: object) -> None:
    command = f"{tmp_path}/casemate"
    with open(command, "w", encoding="utf-8") as file:
        file.write(LAUNCHER.format(python=sys.executable, source=TOP + "/src"))
    os.chmod(command, 0o755)
    program = f"""
source /dev/stdin
ask() {{
    COMP_LINE="$1"; COMP_POINT=${{#1}}; COMP_WORDS=($1); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
    _casemate 2>/dev/null
    echo "${{COMPREPLY[*]}}"
}}
ask "{command} ru"
ask "{command} run --mem"
ask "{command} run --network=h"
ask "{command} run --network "
ask "{command} image pul"
"""
    answer = subprocess.run(
        ["bash", "--norc", "-c", program],
        input=script("bash"),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert answer.stdout.splitlines() == [
        "run",
        "--memory --memory-reservation --memory-swap",
        "host",
        "none host",
        "pull",
    ]


def test_manual_pages_are_clean_roff() -> None:
    pages = manpages.pages()
    assert {"casemate.1", "casemate-run.1", "casemate-system-df.1"} <= set(pages)
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    for name, text in pages.items():
        answer = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-z"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert answer.stderr == "", name


def test_the_reference_names_every_option_and_is_committed_as_made() -> None:
    pages = reference.pages()
    assert "--cpuset-cpus" in pages["casemate-run.md"]
    assert "--publish" in pages["casemate-run.md"]
    for name, text in pages.items():
        with open(f"{TOP}/docs/reference/{name}", encoding="utf-8") as file:
            assert file.read() == text, "run: casemate __docs --reference docs/reference"


def test_help_of_casemate_lists_every_verb() -> None:
    text = help_text(None)
    for verb in table.iter_verbs():
        assert verb.summary.split()[0] in text or verb.name in table.SYSTEM_ONLY


def test_version_needs_no_store(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASEMATE_ROOT", "/proc/nowhere")
    assert main(["--version"]) == 0
    assert main(["version", "--format", "{{.Client.Version}}"]) == 0
    assert capfd.readouterr().out.startswith("casemate version ")
