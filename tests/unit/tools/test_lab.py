"""The lab on the host's side: what it boots, how long it waits, and what it makes of an end that was not planned."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, ROOT)

from tools.dev import package_groups  # noqa: E402 - tools is no package: it is found from the checkout's top
from tools.lab import exchange, initramfs, machine, recipe, report, selections  # noqa: E402 - same

if TYPE_CHECKING:
    from pathlib import Path

SHORT = selections.choose(["short"])


@pytest.fixture
def paths(tmp_path: Path) -> machine.Paths:
    made = machine.Paths(
        **{name: str(tmp_path / name) for name in ("checkout", "results", "console", "output")},
    )
    for path in (made.console, made.output):
        with open(path, "wb"):
            pass
    return made


def watched(script: str, paths: machine.Paths, **limits: float) -> str:
    """Watch a shell that plays the guest: $1 is its console, $2 its port."""
    argv = ["sh", "-c", script, "guest", paths.console, paths.output]
    with subprocess.Popen(argv) as process:
        try:
            return machine.watch(process, paths, machine.Deadlines(**limits), lambda _: None)
        finally:
            process.kill()


def test_a_guest_that_says_it_ended_is_no_trouble(paths: machine.Paths) -> None:
    assert watched("echo 'lab: ready' >$2; echo 'lab: ended' >>$2", paths) == ""


def test_a_guest_that_switches_off_too_early_is_trouble(paths: machine.Paths) -> None:
    assert "switched off before its tests ended" in watched("echo 'lab: ready' >$2", paths)


def test_a_guest_that_never_comes_up_is_ended(paths: machine.Paths) -> None:
    script = "while :; do echo still booting >>$1; sleep 0.1; done"

    assert "did not come up within 1 s" in watched(script, paths, boot_s=1)


def test_a_guest_that_falls_silent_is_ended(paths: machine.Paths) -> None:
    assert "said nothing for 1 s" in watched("echo 'lab: ready' >$2; exec sleep 60", paths, silence_s=1)


def test_a_guest_that_babbles_for_ever_is_ended(paths: machine.Paths) -> None:
    script = "echo 'lab: ready' >$2; while :; do echo test >>$2; sleep 0.1; done"

    assert "did not end within 2 s" in watched(script, paths, whole_s=2)


def test_a_selection_without_a_result_becomes_a_failed_test_with_the_end_of_the_log(
    paths: machine.Paths,
) -> None:
    with open(paths.console, "wb") as file:
        file.write(b"[ 12.0] Kernel panic \x1b[0m - not syncing")

    outcomes = report.collect({}, SHORT, "the guest said nothing for 1 s", paths)

    assert [outcome.passed for outcome in outcomes] == [False, False]
    for selection in SHORT:
        with open(os.path.join(os.path.dirname(paths.console), f"{selection.name}.xml"), "rb") as junit:
            suite = ET.fromstring(junit.read()).find("testsuite")  # noqa: S314 - our own file
        assert suite is not None
        assert suite.get("errors") == "1"
        error = suite.find("testcase/error")
        assert error is not None
        assert "said nothing" in error.get("message", "")
        assert "Kernel panic" in (error.text or "")
    assert report.tell(outcomes, "the guest said nothing for 1 s", paths) == 1


def test_results_come_back_as_they_were(paths: machine.Paths) -> None:
    junit = b'<testsuites><testsuite tests="3" failures="0" errors="0" skipped="0"/></testsuites>'
    statuses = b'{"short-root": {"status": 0, "seconds": 2}, "short-user": {"status": 1, "seconds": 3}}'
    exchange.make_results_disk(paths.results)
    with open(paths.results, "r+b") as disk, tarfile.open(fileobj=disk, mode="w|") as tar:
        for name, data in (("short-root.xml", junit), ("short-user.xml", junit), ("status.json", statuses)):
            info = tarfile.TarInfo("results/" + name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

    outcomes = report.collect(exchange.read_results(paths.results), SHORT, "", paths)

    assert [(outcome.name, outcome.passed) for outcome in outcomes] == [
        ("short-root", True),
        ("short-user", False),
    ]
    assert outcomes[0].words == "3 tests, 0 bad, 0 skipped: passed in 2 s"


def test_an_empty_results_disk_has_no_results(paths: machine.Paths) -> None:
    exchange.make_results_disk(paths.results)

    assert exchange.read_results(paths.results) == {}


def test_qemu_is_told_its_accelerator_and_never_writes_to_the_image(paths: machine.Paths) -> None:
    from tools.lab.image import Image

    argv = machine.command(Image("/image"), paths, interactive=False)

    assert argv[argv.index("-accel") + 1].startswith("tcg")
    assert "file=/image/disk.ext4,format=raw,if=virtio,snapshot=on,cache=unsafe" in argv


def test_drivers_are_loaded_after_those_they_need() -> None:
    text = (
        "k/pci.ko: k/ring.ko k/core.ko\nk/ring.ko: k/core.ko\nk/core.ko:\nk/blk.ko.xz: k/ring.ko k/core.ko\n"
    )

    assert initramfs.load_order(text, ("pci", "blk")) == ["k/core.ko", "k/ring.ko", "k/pci.ko", "k/blk.ko.xz"]


def test_the_initial_file_system_is_an_archive_that_cpio_tools_read(tmp_path: Path) -> None:
    data = initramfs.member("dir", 0o40755, b"") + initramfs.member("dir/odd", 0o100600, b"12345")
    (tmp_path / "initrd").write_bytes(data + initramfs.member("TRAILER!!!", 0, b""))
    with open(tmp_path / "initrd", "rb") as archive:
        subprocess.run(
            ["busybox", "cpio", "-id"], cwd=tmp_path, stdin=archive, check=True, capture_output=True
        )

    assert (tmp_path / "dir/odd").read_bytes() == b"12345"


def test_the_image_is_named_after_everything_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = package_groups()
    before = recipe.fingerprint(groups)

    assert recipe.fingerprint(groups) == before
    assert recipe.fingerprint({**groups, "peers": ["runc"]}) != before
    monkeypatch.setattr(recipe, "DELEGATE", "")
    assert recipe.fingerprint(groups) != before


def test_no_word_is_the_whole_and_a_path_is_run_as_both_users() -> None:
    assert selections.choose([]) == selections.WHOLE
    assert "short-root" not in {s.name for s in selections.WHOLE}
    named = selections.choose(["tests/system/test_x.py", "-k", "run"])
    assert [(s.user, s.arguments) for s in named] == [
        ("root", ("tests/system/test_x.py", "-k", "run")),
        ("user", ("tests/system/test_x.py", "-k", "run")),
    ]


def test_a_selection_that_nobody_knows_is_named() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "tools.lab", "nosuch"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert answer.returncode == 2
    assert "no selection nosuch" in answer.stderr


def test_every_selection_names_tests_that_exist() -> None:
    named = {path for s in selections.SELECTIONS for path in s.arguments if "/" in path}

    assert [path for path in named if not os.path.exists(os.path.join(ROOT, path.partition("::")[0]))] == []


def test_everything_that_is_left_out_exists_and_says_why() -> None:
    for name, why in selections.NOT_HERE.items():
        path, _, function = name.partition("::")
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            assert f"def {function}(" in file.read() or not function, name
        assert why
