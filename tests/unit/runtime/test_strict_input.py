"""What the runtime reads is exact, or it is refused by name before anything is made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from casemate.errors import CasemateError, Denied, Invalid, Unsupported
from casemate.oci import quick_json
from casemate.oci.quick_json import dumps, loads
from casemate.runtime.cli.args import FLAG, LIST, VALUE, Arguments, parse
from casemate.runtime.cli.kill import parse_signal
from casemate.runtime.cli.program import stdio
from casemate.runtime.cli.record import check_id
from casemate.runtime.compile import mount_options, namespaces, sysctls, validate
from casemate.runtime.compile.build import Build
from casemate.runtime.compile.confine import program_candidates
from casemate.runtime.passwd import find_home
from casemate.runtime.request import Stdio
from casemate.runtime.users import parse_user


@pytest.mark.parametrize(
    "text", ["", "1:", "0x1", "01", " 1", "+1", "4294967295", "-1", "99999999999", "name:1", "1:x", "\u0661"]
)
def test_a_user_is_digits_within_32_bits_or_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_user(text)


def test_a_user_without_a_group_leaves_the_group_open() -> None:
    assert parse_user("1") == (1, None)
    assert parse_user("0:4294967294") == (0, 4294967294)


@pytest.mark.parametrize("text", ["..", ".", "", "a/b", "a b", "a\n", "ü", "a\0"])
def test_container_ids_are_never_paths(text: str) -> None:
    with pytest.raises(Invalid):
        check_id(text)


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', "[1] x", "", "{", "NaN", "[" * 100000, b"\xff"])
def test_json_is_one_value_without_duplicate_keys(text: str | bytes) -> None:
    with pytest.raises(Invalid):
        loads(text)


def test_json_that_is_cut_off_is_refused_also_where_the_json_module_is_not_loaded() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from casemate.errors import Invalid\nfrom casemate.oci.quick_json import loads\n"
        "for text in ('{', '{\"a\": ', '[1', '{\"a\" 1}', '\"', '\"\\\\u12'):\n"
        "    assert 'json' not in sys.modules or text != '{'\n"
        "    try: loads(text)\n"
        "    except Invalid: continue\n"
        "    raise AssertionError(text)\n"
    )
    source = str(Path(quick_json.__file__).parents[2])
    subprocess.run([sys.executable, "-I", "-S", "-c", script, source], check=True)


def test_json_survives_a_round_trip() -> None:
    value = {"a": [1, 2.5, None, True, "ü\n"], "b": {}}
    assert loads(dumps(value)) == value
    assert loads(b' {"a": 1}\n') == {"a": 1}


def _build(linux: dict) -> Build:
    build = Build(title="t", spec={"linux": linux}, process={}, stdio=Stdio())
    build.namespaces = {"network": "", "ipc": "", "mount": ""}
    return build


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("kernel.core_pattern", "core", Denied),
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=x", Invalid),
        ("net.ipv4.ip_forward", "1\nkernel.core_pattern=x", Invalid),
        ("net/../kernel/core_pattern", "1", Invalid),
        ("vm.overcommit_memory", "1", Denied),
        ("user.max_user_namespaces", "0", Denied),
        ("kernel.hostname", "x", Denied),
        ("", "1", Invalid),
    ],
)
def test_sysctls_are_the_containers_own_and_harmless_text(
    name: str, value: str, kind: type[CasemateError]
) -> None:
    with pytest.raises(kind):
        sysctls.add_sysctls(_build({"sysctl": {name: value}}))


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({}, Invalid),
        ({"ociVersion": "2.0.0"}, Unsupported),
        ({"ociVersion": "1.0.2", "windows": {"x": 1}}, Unsupported),
        ({"ociVersion": "1.0.2", "linux": {"intelRdt": {"closID": "x"}}}, Unsupported),
        ({"ociVersion": "1.0.2", "linux": {"personality": {"domain": "LINUX", "flags": ["X"]}}}, Unsupported),
        ({"ociVersion": "1.0.2", "mounts": {}}, Invalid),
        ({"ociVersion": "1.0.2", "linux": {"maskedPaths": "x"}}, Invalid),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(spec: dict, kind: type[CasemateError]) -> None:
    whole = {"root": {"path": "rootfs"}, "process": {"args": ["sh"], "cwd": "/"}, **spec}
    with pytest.raises(kind):
        validate.check(whole)


@pytest.mark.parametrize(
    "linux",
    [
        {"namespaces": [{"type": "mount"}, {"type": "mount"}]},
        {"namespaces": [{"type": "pid"}]},
        {"namespaces": [{"type": "mount", "path": "/proc/1/ns/mnt"}]},
        {"namespaces": [{"type": "mount"}, {"type": "magic"}]},
        {"namespaces": [{"type": "mount"}, {"type": "network", "path": "relative"}]},
    ],
)
def test_namespaces_are_known_listed_once_and_the_mount_one_is_new(linux: dict) -> None:
    with pytest.raises(CasemateError):
        namespaces.read_namespaces(linux)


def test_later_mount_options_win_and_the_rest_is_data() -> None:
    found = mount_options.parse_options(
        ["rbind", "ro", "rw", "nosuid", "size=5m", "rslave"], destination="/x"
    )
    assert (found.bind, found.recursive, found.read_only) == (True, True, False)
    assert found.data == [("size", "5m")]
    assert found.propagation_recursive


def test_selinux_options_are_refused_where_there_is_none() -> None:
    with pytest.raises(Unsupported):
        mount_options.parse_options(['context="x"'], destination="/x")


def test_relative_and_empty_entries_of_path_are_not_searched() -> None:
    process = {"args": ["prog"], "env": ["PATH=:.:bin:/opt/bin/:/bin"]}
    assert program_candidates(process) == ["/opt/bin/prog", "/bin/prog"]


def test_a_console_is_at_most_as_large_as_a_terminal_can_be() -> None:
    process = {"terminal": True, "consoleSize": {"height": 70000, "width": 80}}
    assert stdio.direct_stdio(Arguments(), process, None).console_size == (65535, 80)


def test_options_are_read_as_runc_reads_them() -> None:
    found = parse(["-a", "--b=1", "-c", "x", "--c", "y", "id", "--a"], {"a": FLAG, "b": VALUE, "c": LIST}, {})
    assert (found.flag("a"), found.value("b"), found.list("c"), found.operands) == (
        True,
        "1",
        ["x", "y"],
        ["id", "--a"],
    )
    with pytest.raises(Invalid):
        parse(["--unknown"], {}, {})


def test_signals_have_names_and_numbers() -> None:
    assert [parse_signal(text) for text in ("9", "KILL", "SIGKILL", "sigterm", "RTMIN+3")] == [
        9,
        9,
        9,
        15,
        37,
    ]
    for text in ("65", "NOPE", "-9", ""):
        with pytest.raises(Invalid):
            parse_signal(text)


def test_a_hostile_passwd_cannot_hold_or_mislead_us(tmp_path) -> None:  # noqa: ANN001 - pytest's own
    etc = tmp_path / "etc"
    etc.mkdir()
    canary = tmp_path.parent / "canary"
    canary.write_text("x:x:7:7::/stolen:/bin/sh\n")
    (etc / "passwd").symlink_to("../../canary")
    assert find_home(str(tmp_path), 7) == "/"
    (etc / "passwd").unlink()
    os.mkfifo(etc / "passwd")
    assert find_home(str(tmp_path), 7) == "/"
    (etc / "passwd").unlink()
    with (etc / "passwd").open("wb") as file:
        file.truncate(2 << 30)
    assert find_home(str(tmp_path), 7) == "/"
    (etc / "passwd").write_text("a:x:7:7::/home/a:/bin/sh\n")
    assert find_home(str(tmp_path), 7) == "/home/a"


@pytest.mark.parametrize("text", ["{", '{"a": 1', '{"a": 1,', "[1", '["a', "{]"])
def test_a_document_that_was_cut_off_is_invalid_also_before_json_was_imported(text: str) -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]); from casemate.oci.quick_json import loads\n"
    program += "from casemate.errors import Invalid\nassert 'json' not in sys.modules\n"
    program += "try: loads(sys.argv[2])\nexcept Invalid: print('invalid')"
    source = str(Path(__file__).parents[3] / "src")
    command = [sys.executable, "-I", "-S", "-c", program, source, text]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.stdout == "invalid\n", found.stderr
