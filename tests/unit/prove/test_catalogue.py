"""The checks as data, the report, and what a trace is read as."""

from __future__ import annotations

import json
import os
import re

import pytest

from casemate.cli.main import main
from casemate.cli.words.complete import candidates
from casemate.errors import Invalid, NotFound
from casemate.prove.catalogue import CHECKS, Check
from casemate.prove.checks.traced import looked_up, whole_calls
from casemate.prove.place import Canary, private_place, remove_leftovers
from casemate.prove.rounds import chosen, judge, report
from casemate.prove.verdict import BROKEN, HELD, NOT_TRIED, Broken, CannotTry
from casemate.prove.walls.oci import runtime_argv

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
DOCUMENT = os.path.join(TOP, "docs", "prove.md")


def test_every_check_is_in_the_document_word_for_word() -> None:
    with open(DOCUMENT, encoding="utf-8") as file:
        rows = re.findall(r"^\| ([CT]\d+) \| (.*) \| (.*) \|$", file.read(), re.MULTILINE)
    assert rows == [
        (check.number, f"{check.title}: {check.invariant}", check.tried or f"not tried: {check.absent}")
        for check in CHECKS
    ]


def test_numbers_are_unique_and_every_check_has_a_function_or_a_reason() -> None:
    assert len({check.number for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert bool(check.runs) != bool(check.absent), check.number
        assert bool(check.runs) == bool(check.tried), check.number
        if check.runs:
            module, _, function = check.runs.partition(":")
            assert callable(
                getattr(__import__(f"casemate.prove.checks.{module}", fromlist=[function]), function)
            )


def test_only_takes_numbers_in_any_form_and_refuses_unknown_ones() -> None:
    assert [check.number for check in chosen("c4, C2")] == ["C2", "C4"]
    assert chosen("") == list(CHECKS)
    with pytest.raises(Invalid, match="C99"):
        chosen("C2,C99")


def test_list_tries_nothing_and_prints_every_number(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["prove", "--list", "--json"]) == 0
    assert [row["number"] for row in json.loads(capfd.readouterr().out)] == [check.number for check in CHECKS]
    assert main(["prove", "--list", "--only", "T1"]) == 0
    assert capfd.readouterr().out.startswith("T1   no library is looked up inside\n")


def test_a_runtime_that_is_not_there_is_said_so(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["prove", "--runtime", "nosuchruntime"]) == 125
    assert "apt-get install nosuchruntime" in capfd.readouterr().err
    with pytest.raises(NotFound):
        runtime_argv("/etc")
    assert main(["prove", "--tier", "vm"]) == 125


def _check(outcome: Exception | str) -> Check:
    class Made(Check):
        def __call__(self, wall: object) -> str:
            del wall
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    return Made("X1", "made", section="", invariant="it holds", tried="this", runs="x:y")


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("fine", HELD),
        (Broken("seen"), BROKEN),
        (CannotTry("reason"), NOT_TRIED),
        (Invalid("do", why="x"), NOT_TRIED),
        (OSError(2, "gone"), NOT_TRIED),
    ],
)
def test_whatever_happens_is_a_result(outcome: Exception | str, status: str) -> None:
    result = judge(_check(outcome), None)  # type: ignore[arg-type]
    assert result.status == status
    document = json.loads(json.dumps(report([result], "crun")))
    assert document["summary"][status.replace(" ", "_")] == 1
    assert set(document) == {"schema", "tier", "runtime", "kernel", "machine", "uid", "checks", "summary"}
    assert set(document["checks"][0]) == {
        "number",
        "title",
        "invariant",
        "tried",
        "status",
        "found",
        "seconds",
    }


def test_a_canary_notices_reading_writing_chmod_links_and_new_files(tmp_path: object) -> None:
    for number, harm in enumerate(
        (
            lambda canary: open(canary.file, "a", encoding="ascii").close() or os.truncate(canary.file, 0),
            lambda canary: os.chmod(canary.file, 0o600),
            lambda canary: os.link(canary.file, f"{canary.directory}/link"),
            lambda canary: os.mkdir(f"{canary.place}/new"),
        )
    ):
        canary = Canary(f"{tmp_path}/{number}")
        assert canary.harm("nothing of it") == ""
        assert "read" in canary.harm(f"x{canary.token}y")
        harm(canary)
        assert "changed" in canary.harm()


def test_the_place_of_a_killed_round_is_removed_and_that_of_a_living_one_is_not(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("casemate.prove.place.NEW_S", -1.0)
    with private_place() as living:
        dead = f"{tmp_path}/casemate-prove-{os.geteuid()}-dead"
        foreign = f"{tmp_path}/casemate-prove-{os.geteuid()}-open"
        for path in (dead, foreign):
            os.mkdir(path)
        os.chmod(foreign, 0o777)  # anybody could have put a command into it
        assert remove_leftovers() == [dead]
        assert os.path.isdir(living.path)
        assert os.path.isdir(foreign)
    assert not os.path.exists(living.path)


TRACE = """\
10 openat(AT_FDCWD, "/usr/lib/python3/os.py", O_RDONLY) = 3
10 clone3({flags=CLONE_PIDFD|CLONE_NEWNS, exit_signal=SIGCHLD} <unfinished ...>
11 openat(AT_FDCWD, "/etc/hosts", O_RDONLY) = 3
10 <... clone3 resumed> => {pidfd=[9]}, 88) = 12
12 openat2(9, "/etc/hosts", {flags=O_PATH, resolve=RESOLVE_IN_ROOT}, 24) = 13
12 openat(AT_FDCWD, "/proc/self/uid_map", O_RDONLY) = 4
12 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID) = 14
14 openat(AT_FDCWD, "/usr/lib/locale/locale-archive", O_RDONLY) = 4
12 execve("/bin/true", ["/bin/true"], []) = 0
12 openat(AT_FDCWD, "/etc/ld.so.cache", O_RDONLY) = 4
"""


def test_a_trace_tells_look_ups_inside_from_those_outside_and_of_the_program() -> None:
    every, bad = looked_up(whole_calls(TRACE.splitlines()))
    assert (every, bad) == (2, ["openat /usr/lib/locale/locale-archive"])


def test_completion_knows_the_checks() -> None:
    assert ("T1", "no library is looked up inside") in candidates(["prove", "--only", "T"])
