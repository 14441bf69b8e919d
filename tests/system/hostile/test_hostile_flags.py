"""Every flag of create, run and exec with values that nobody would type: a clear refusal or a container, never a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from casemate.cli import table

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root]  # the user's half becomes that user itself

ODD = (
    *(
        "",
        " ",
        "-1",
        "0",
        "1",
        "-",
        "--",
        "=",
        ":",
        "::",
        ",",
        "/",
        "..",
        "../..",
        ".",
        "//",
        "a=b",
        "a:b",
        "a:b:c:d:e",
        "*",
    ),
    *(
        "/proc/self/fd/99",
        "/dev/null",
        "/etc/shadow",
        "/nonesuch/x",
        "\n",
        "a\nb",
        "a\tb",
        "\x1b[31m",
        "\x7f",
        "\x9b",
        "\udcff",
    ),
    *(
        "9" * 30,
        "-" + "9" * 30,
        "1e400",
        "nan",
        "inf",
        "0x10",
        "1_000",
        "٣",
        "²",
        "½",
        "٪",
        "x" * 5000,
        "/" + "x" * 5000,
        "😀",
    ),
    *(
        "$HOME",
        "`id`",
        "%s%n",
        "{{.}}",
        "true",
        "null",
        "[]",
        '{"a":1}',
        "type=bind",
        "type=bind,src=/,dst=/",
        "src=/etc,dst=",
    ),
    *(
        "type=tmpfs,dst=/proc",
        "/:/",
        "/etc:/proc",
        "x:/y:zz",
        "/x:ro",
        "net.ipv4.x=+1",
        "kernel.core_pattern=|/x",
        "all",
        "ALL",
    ),
)
DRIVER = """
import json, os, sys
from casemate.cli.main import main
say = os.fdopen(os.dup(1), "w")
for line in json.load(sys.stdin):
    out = os.memfd_create("out")
    os.dup2(out, 1); os.dup2(out, 2)
    null = os.open("/dev/null", os.O_RDONLY); os.dup2(null, 0); os.close(null)
    try:
        code = main([word.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") for word in line])
    except BaseException as error:
        code = f"{type(error).__name__}: {error}"
    text = os.pread(out, 1 << 16, 0).decode("utf-8", "replace")
    os.close(out)
    say.write(json.dumps([line, code, text]) + "\\n")
say.flush()
"""
# What waits, prints help, or writes a file where it is told to
LEFT_OUT = {"help", "cidfile", "detach-keys", "attach", "volume", "mount"}


def drive(box: Any, lines: list[list[str]]) -> list[tuple[list[str], Any, str]]:
    """Run many command lines in one process; (words, code, what it wrote) of each."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", DRIVER],
        input=json.dumps(lines).encode(),
        capture_output=True,
        env=box.environment,
        cwd=box.directory,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def judge(line: list[str], code: Any, text: str) -> None:
    """It worked, or it was refused in our words with 125 (126, 127 for the program)."""
    assert code in {0, 125, 126, 127}, (line, code, text)
    assert "Traceback" not in text, (line, text)
    assert "E-INTERNAL" not in text, (line, text)
    assert "\x1b" not in text, (line, text)
    if code:
        assert "casemate: cannot" in text, (line, code, text)


def value_options(verb: str) -> list[str]:
    return [
        option.name
        for option in table.load(verb).options()
        if option.kind != "bool" and option.refused is None and option.name not in LEFT_OUT
    ]


@pytest.fixture
def stopped(root_box: Any) -> Iterator[None]:
    yield
    names = root_box.fine("ps", "-aq").split()
    if names:
        root_box.fine("rm", "-f", "-v", *names)


@pytest.mark.usefixtures("stopped")
def test_odd_values_of_every_flag_of_create_are_judged(root_box: Any) -> None:
    lines = [
        ["create", "--pull", "never", f"--{option}={value}", "busybox", "true"]
        for option in value_options("create")
        for value in ODD
        if "\0" not in value
    ]
    answers = drive(root_box, lines)
    assert len(answers) == len(lines)
    for line, code, text in answers:
        judge(line, code, text)


@pytest.mark.usefixtures("stopped")
def test_odd_values_of_every_flag_of_exec_are_judged(root_box: Any) -> None:
    name = root_box.fine("run", "-d", "busybox", "sleep", "600").strip()
    options = value_options("exec")
    answers = drive(
        root_box, [["exec", f"--{option}={value}", name, "true"] for option in options for value in ODD]
    )
    for line, code, text in answers:
        judge(line, code, text)


texts = st.text(
    st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20
) | st.sampled_from(ODD)


@pytest.mark.usefixtures("stopped")
def test_random_values_reach_no_program_in_a_bad_shape(root_box: Any) -> None:
    options = value_options("run")

    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        phases=[Phase.generate],
    )
    @given(st.lists(st.tuples(st.sampled_from(options), texts), min_size=20, max_size=20))
    def check(chosen: list[tuple[str, str]]) -> None:
        lines = [
            ["run", "--rm", "--pull", "never", f"--{name}={value}", "busybox", "true"]
            for name, value in chosen
        ]
        for line, code, text in drive(root_box, lines):
            judge(line, code, text)

    check()


NAMES = (
    "..",
    ".",
    "/",
    "a/b",
    "../../etc",
    "a\nb",
    "a b",
    "-a",
    ".a",
    "",
    "a" * 5000,
    "é",
    "a\x1b[31m",
    "a\udcff",
    "%2e%2e",
)


@pytest.mark.usefixtures("stopped")
def test_names_that_are_paths_are_refused_everywhere(root_box: Any) -> None:
    before = root_box.print_of_store()
    lines = [["create", f"--name={name}", "busybox"] for name in NAMES if name]
    lines += [
        [verb, "--", name]
        for name in NAMES
        for verb in ("start", "stop", "kill", "rm", "wait", "logs", "inspect", "top", "pause")
    ]
    lines += [["exec", "--", name, "true"] for name in NAMES] + [["rmi", "--", name] for name in NAMES]
    lines += [["pull", "--", name] for name in NAMES if name != "a/b"] + [
        ["tag", "busybox", name] for name in NAMES if name not in {"a/b", "-a"}
    ]
    lines += [
        ["run", "--rm", "-v", f"{name}:/v", "busybox", "true"] for name in ("a\nb", "a" * 300, "é", "-a")
    ]
    for line, code, text in drive(root_box, lines):
        assert code in {1, 125}, (line, code, text)
        judge(line, 125, text)
    assert root_box.print_of_store() == before


@pytest.mark.usefixtures("stopped")
def test_a_flood_of_output_leaves_a_bounded_log_and_a_small_keeper(root_box: Any) -> None:
    name = root_box.fine("run", "-d", "busybox", "sh", "-c", "yes | head -c 50000000; sleep 600").strip()
    pid = root_box.fine("inspect", "-f", "{{.State.Pid}}", name).strip()
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        keeper = file.read().rpartition(")")[2].split()[1]
    directory = f"{root_box.root}/containers/{name}"
    written = 0
    most = 0
    for _ in range(2000):
        with open(f"/proc/{keeper}/status", encoding="ascii") as file:
            most = max(most, int(file.read().partition("VmRSS:")[2].split()[0]))
        sizes = {
            entry: os.stat(f"{directory}/{entry}").st_size
            for entry in os.listdir(directory)
            if entry.startswith("log")
        }
        logs = {entry: size for entry, size in sizes.items() if "index" not in entry}
        assert sum(logs.values()) <= 31 << 20, sizes
        if len(logs) == 3 and sum(logs.values()) == written:
            break
        written = sum(logs.values())
    assert most < 4096, f"the keeper grew to {most} KiB"
    assert root_box.fine("logs", "--tail", "1", name) == "y\n"
    for word in root_box.fine("logs", "--tail", "50000", name).split():
        assert word == "y"


HOSTILE_TEXT = "\x1b]0;owned\x07\x1b[31m\x9b31m\x7f\r"


@pytest.mark.usefixtures("stopped")
def test_no_word_of_an_image_drives_the_operators_terminal(root_box: Any, busybox_layer: bytes) -> None:
    config = {
        "Labels": {f"a{HOSTILE_TEXT}": HOSTILE_TEXT},
        "Cmd": ["sh", "-c", f"sleep 600 # {HOSTILE_TEXT}"],
    }
    document = {"author": HOSTILE_TEXT, "history": [{"created_by": HOSTILE_TEXT, "comment": HOSTILE_TEXT}]}
    assert root_box.load("drives", [busybox_layer], config=config, document=document).code == 0
    name = root_box.fine("run", "-d", "drives").strip()
    shown = "{{.Config.Labels}}{{.Config.Cmd}}"
    lines = [
        *(
            ["ps", "-a"],
            ["ps", "-a", "--no-trunc"],
            ["ps", "-a", "--format", "{{.Command}} {{.Labels}}"],
            ["top", name],
        ),
        *(
            ["ps", "-a", "--format", "table {{.Command}}\t{{.Labels}}"],
            ["ps", "-a", "--format", "json"],
            ["images"],
        ),
        *(
            ["inspect", name],
            ["inspect", "drives"],
            ["inspect", "-f", shown, name],
            ["inspect", "-f", shown, "drives"],
        ),
        *(["history", "drives"], ["history", "--no-trunc", "drives"], ["images", "--format", "{{json .}}"]),
        *(
            ["inspect", "-f", "{{json .Config}}", "drives"],
            ["inspect", f"x{HOSTILE_TEXT}"],
            ["run", f"x{HOSTILE_TEXT}"],
        ),
    ]
    for line in lines:
        seen = at_a_terminal(root_box, line)
        assert seen, line
        assert not set("\x1b\x07\x9b\x7f") & set(seen), (line, seen)
        assert "\r" not in seen.replace("\r\n", ""), (line, seen)


def at_a_terminal(box: Any, line: list[str]) -> str:
    """What the command writes when a person looks on."""
    ours, theirs = os.openpty()
    process = box.start(*line, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 1 << 16):
            seen += piece
    except OSError:  # EIO: everybody has closed the other end
        pass
    os.close(ours)
    process.wait(30)
    return seen.decode("utf-8", "replace")
