"""checkpoint and restore where criu works; elsewhere one clear sentence with the remedy, and nothing is changed."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from ocibundle import Runtime, made_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root]


@pytest.fixture(params=["root", "rootless"])
def oci(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with made_runtime(rootless=request.param == "rootless") as runtime:
        yield runtime


def works() -> bool:
    """Whether criu says that it works here."""
    program = shutil.which("criu", path="/usr/sbin:/usr/bin")
    return (
        bool(program)
        and subprocess.run([str(program), "check"], capture_output=True, check=False).returncode == 0
    )


def test_a_container_is_checkpointed_and_restored_or_the_reason_is_said(oci: Runtime) -> None:
    oci.args("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.1; done")
    assert oci("run", "--detach", "c").returncode == 0
    images = str(oci.base / "images")
    found = oci("checkpoint", "--image-path", images, "c")
    if oci.rootless:
        assert found.returncode == 1
        assert "checkpoint container c: criu needs root" in found.stderr
    elif works():
        assert found.returncode == 0, found.stderr
        before = int((oci.rootfs / "tmp/count").read_text())
        assert "does not exist" in oci("state", "c").stderr
        again = oci("restore", "--detach", "--image-path", images, "c")
        assert again.returncode == 0, again.stderr
        assert oci("exec", "c", "sleep", "0.5").returncode == 0
        assert int((oci.rootfs / "tmp/count").read_text()) > before
    else:
        assert found.returncode == 1
        assert "checkpoint container c: criu does not work on this kernel: " in found.stderr
        assert "fix: `criu check` must pass" in found.stderr
    if found.returncode:
        assert oci.state()["status"] == "running"
        assert not (oci.base / "images").exists()


def test_a_criu_that_is_not_there_is_named(oci: Runtime) -> None:
    if oci.rootless:
        return
    oci.args("sleep", "100")
    assert oci("run", "--detach", "c").returncode == 0
    found = oci("--criu", "/nosuch/criu", "checkpoint", "c")
    assert found.returncode == 1
    assert "the program /nosuch/criu is not installed" in found.stderr
    assert "install the package criu" in found.stderr


def test_what_cannot_be_checkpointed_or_restored_is_refused_by_name(oci: Runtime) -> None:
    assert "does not exist" in oci("checkpoint", "c").stderr
    oci.args("sleep", "100")
    assert oci("create", "c").returncode == 0
    assert "it is created, not running" in oci("checkpoint", "c").stderr
    assert oci("delete", "--force", "c").returncode == 0
    found = oci("restore", "--image-path", "/nosuch", "c")
    assert found.returncode == 1
    assert "restore container /nosuch: there is no checkpoint" in found.stderr
    assert oci("list", "--quiet").stdout == ""
