"""Reading of command lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.cli import table
from casemate.cli.args import Parsed, parse, parse_leading
from casemate.cli.usage import UsageError

RUN = table.load("run")
PS = table.load("ps")
RM = table.load("rm")
assert RUN is not None
assert PS is not None
assert RM is not None


def read(*words: str) -> Parsed:
    return parse(RUN, words)


def test_everything_after_the_image_belongs_to_the_program() -> None:
    parsed = read("-it", "--rm", "debian", "ls", "-l", "--name", "x", "--", "-i")
    assert parsed.operands == ["debian", "ls", "-l", "--name", "x", "--", "-i"]
    assert parsed.flag("interactive")
    assert parsed.flag("tty")
    assert parsed.flag("rm")
    assert "name" not in parsed.values


def test_two_dashes_end_options() -> None:
    assert read("--rm", "--", "debian", "--tty").operands == ["debian", "--tty"]
    assert parse(RM, ["--", "-f"]).operands == ["-f"]


def test_options_follow_operands_where_no_program_follows() -> None:
    parsed = parse(RM, ["one", "-f", "two", "--volumes"])
    assert parsed.operands == ["one", "two"]
    assert parsed.flag("force")
    assert parsed.flag("volumes")


@pytest.mark.parametrize(
    "words",
    [
        ["--name", "web", "i"],
        ["--name=web", "i"],
        ["--name=other", "--name=web", "i"],
    ],
)
def test_long_values_come_after_a_space_or_an_equals_sign(words: list[str]) -> None:
    assert read(*words).text("name") == "web"


@pytest.mark.parametrize("words", [["-w", "/a"], ["-w/a"], ["-w=/a"], ["-itw/a"], ["-dw", "/a"]])
def test_short_values_come_attached_or_separate_and_end_a_group(words: list[str]) -> None:
    assert read(*words, "i").text("workdir") == "/a"


def test_shorts_group() -> None:
    parsed = read("-itd", "i")
    assert [parsed.flag(name) for name in ("interactive", "tty", "detach")] == [True, True, True]


@pytest.mark.parametrize(
    ("word", "value"),
    [("false", False), ("0", False), ("F", False), ("true", True), ("T", True), ("1", True)],
)
def test_booleans_take_go_words(word: str, value: bool) -> None:  # noqa: FBT001 - a table
    assert read(f"--init={word}", "i").get("init") is value
    assert read(f"-i={word}", "i").get("interactive") is value


def test_repeatable_options_keep_every_value_in_order() -> None:
    assert read("-e", "A=1", "--env", "B", "-eC=3", "i").all("env") == ["A=1", "B", "C=3"]


def test_a_dash_alone_is_an_operand() -> None:
    assert parse(RM, ["-"]).operands == ["-"]


def test_an_empty_value_is_a_value() -> None:
    assert read("--entrypoint", "", "i").get("entrypoint") == ""
    assert read("--entrypoint=", "i").get("entrypoint") == ""


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--bogus", "i"], 125, "no such flag"),
        (["-Z", "i"], 125, "no such flag"),
        (["--name"], 125, "needs a value"),
        (["-w"], 125, "needs a value"),
        (["-itw"], 125, "needs a value"),
        (["--=x", "i"], 125, "name is missing"),
        (["--init=maybe", "i"], 125, "neither true nor false"),
        (["-m", "12q", "i"], 125, "not a size"),
        (["--cpus=x", "i"], 125, "not a number"),
        (["--ulimit", "foo", "i"], 125, "name=soft"),
        (["--pull", "foo", "i"], 125, "missing, always, never"),
        (["--network=", "i"], 125, "no name of a network"),
        ([], 1, "requires at least 1 argument"),
        (["-it"], 1, "requires at least 1 argument"),
    ],
)
def test_exit_codes_of_usage_errors_are_dockers(words: list[str], code: int, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert caught.value.exit_code == code
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("verb", "words", "says"),
    [
        ("ps", ["x"], "'casemate ps' accepts no arguments"),
        ("exec", ["x"], "'casemate exec' requires at least 2 arguments"),
        ("logs", ["a", "b"], "'casemate logs' requires 1 argument"),
        ("tag", ["a"], "'casemate tag' requires 2 arguments"),
        ("images", ["a", "b"], "'casemate images' requires at most 1 argument"),
    ],
)
def test_wrong_numbers_of_operands_are_said_in_dockers_words(verb: str, words: list[str], says: str) -> None:
    row = table.load(verb)
    assert row is not None
    with pytest.raises(UsageError, match=says) as caught:
        parse(row, words)
    assert caught.value.exit_code == 1


def test_help_wins_over_missing_operands() -> None:
    assert read("--help").flag("help")
    assert parse(PS, ["-h"]).flag("help")


def test_h_is_the_host_name_where_docker_says_so() -> None:
    assert read("-h", "box", "i").text("hostname") == "box"


@pytest.mark.parametrize(
    "words", [["-p", "80:80"], ["-p80:80"], ["--publish=80"], ["-P"], ["--gpus", "all"], ["--link", "a"]]
)
def test_features_that_are_absent_are_refused_with_a_remedy(words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words, "i")
    assert caught.value.code == "E-UNSUPPORTED"
    assert caught.value.why
    assert caught.value.hint


def test_an_absent_boolean_may_be_turned_off() -> None:
    assert read("--publish-all=false", "i").operands == ["i"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--memroy", "--memory"),
        ("--nmae", "--name"),
        ("--mem", "--memory"),
        ("--interactiv", "--interactive"),
    ],
)
def test_mistyped_flags_are_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(typed, "i")
    assert caught.value.hint == f"did you mean {meant}?"


def test_global_options_end_at_the_verb() -> None:
    leading = table.Verb("", "", module="", options=lambda: table.GLOBAL_OPTIONS)
    values, rest = parse_leading(leading, ["-D", "--root", "/r", "run", "--name", "x"])
    assert values == {"debug": True, "root": "/r"}
    assert rest == ["run", "--name", "x"]


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_words_are_read_or_refused_with_a_usage_error(words: list[str]) -> None:
    for verb in (RUN, PS, RM):
        try:
            parse(verb, words)
        except UsageError as error:
            assert error.why  # noqa: PT017 - the refusal is one of two good outcomes


names = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=6)


@given(
    name=names,
    env=st.lists(names, max_size=3),
    flags=st.sets(st.sampled_from("itd")),
    argv=st.lists(st.text(max_size=6), max_size=4),
    equals=st.booleans(),
)
def test_what_is_written_is_read_back(
    name: str, env: list[str], flags: set[str], argv: list[str], *, equals: bool
) -> None:
    words = [f"-{''.join(sorted(flags))}"] if flags else []
    words += [f"--name={name}"] if equals else ["--name", name]
    for one in env:
        words += ["-e", one]
    parsed = read(*words, "image", *argv)
    assert parsed.text("name") == name
    assert parsed.all("env") == env
    assert parsed.operands == ["image", *argv]
    assert {
        letter
        for letter, option in (("i", "interactive"), ("t", "tty"), ("d", "detach"))
        if parsed.flag(option)
    } == flags
