"""What criu is told, from the options of checkpoint and restore."""

from __future__ import annotations

import pytest

from casemate.errors import Invalid
from casemate.runtime.cli.args import parse
from casemate.runtime.cli.criu import checkpoint, restore

SPEC = {
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/data", "type": "bind", "source": "/host/data"},
        {"destination": "/etc/hosts", "type": "none", "source": "/host/hosts", "options": ["rbind", "ro"]},
    ]
}


def pairs(words: list[str], option: str) -> list[str]:
    return [words[number + 1] for number, word in enumerate(words) if word == option]


def dump(*words: str) -> list[str]:
    arguments = parse(words, checkpoint.OPTIONS, {})
    return checkpoint.dump_arguments(arguments, SPEC, pid=7, rootfs="/r", images="/i")


def test_a_checkpoint_names_the_tree_and_leaves_mounts_from_outside_to_us() -> None:
    words = dump("--tcp-established", "--leave-running", "c")
    assert words[:5] == ["dump", "--tree", "7", "--root", "/r"]
    assert pairs(words, "--external") == ["mnt[/data]:/data", "mnt[/etc/hosts]:/etc/hosts"]
    assert {"--tcp-established", "--leave-running"} <= set(words)
    assert "--shell-job" not in words
    assert pairs(words, "--manage-cgroups") == ["soft"]
    assert pairs(words, "--work-dir") == ["/i"]


def test_a_pre_dump_tracks_memory_and_a_later_one_names_its_parent() -> None:
    assert dump("--pre-dump", "c")[0] == "pre-dump"
    assert "--track-mem" in dump("--pre-dump", "c")
    assert pairs(dump("--parent-path", "../p", "c"), "--prev-images-dir") == ["../p"]


def test_a_page_server_is_an_address_and_a_port() -> None:
    words = dump("--page-server", "10.0.0.1:99", "c")
    assert (pairs(words, "--address"), pairs(words, "--port")) == (["10.0.0.1"], ["99"])


def test_a_restore_puts_our_streams_in_the_place_of_pipes() -> None:
    arguments = parse(["--empty-ns", "network", "c"], restore.OPTIONS, restore.SHORT)
    links = ["/dev/null", "pipe:[5]", "socket:[6]"]
    words = restore.restore_arguments(arguments, SPEC, images="/i", links=links)
    assert pairs(words, "--inherit-fd") == ["fd[1]:pipe:[5]", "fd[2]:socket:[6]"]
    assert pairs(words, "--external") == ["mnt[/data]:/host/data", "mnt[/etc/hosts]:/host/hosts"]
    assert pairs(words, "--empty-ns") == ["net"]


@pytest.mark.parametrize("words", [["--manage-cgroups-mode", "some", "c"], ["--empty-ns", "pid", "c"]])
def test_an_option_that_criu_would_not_understand_is_refused(words: list[str]) -> None:
    with pytest.raises(Invalid):
        dump(*words)
