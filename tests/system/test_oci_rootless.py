"""casemate-oci as the ordinary user who runs these tests: one id of his own, or many through newuidmap."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from ocibundle import APPLETS, SRC

from casemate.kernel.userns import find_helper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.rootless]

START = f"import sys; sys.path.insert(0, {str(SRC)!r}); from casemate.runtime.cli.main import main; sys.exit(main())"


class Mine:
    """A bundle with busybox, and casemate-oci in it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        binaries = base / "rootfs/bin"
        binaries.mkdir(parents=True)
        for name in ("tmp", "etc"):
            (base / "rootfs" / name).mkdir()
        shutil.copy("/usr/bin/busybox", binaries / "busybox")
        for name in [*APPLETS, "chown"]:
            (binaries / name).symlink_to("busybox")

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["/usr/bin/python3", "-I", "-S", "-c", START, "--root", str(self.base / "state"), *words]
        # Files, not pipes: a detached container keeps them open, and a pipe's reader would wait for its end.
        with (self.base / "out").open("w+") as out, (self.base / "err").open("w+") as err:
            done = subprocess.run(
                command,
                cwd=self.base,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=60,
                check=False,
            )
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, out.read(), err.read())

    def change(self, edit: Callable[[dict[str, Any]], None], *args: str) -> None:
        """Edit the config.json, which `spec` made, for a program without terminal."""
        path = self.base / "config.json"
        spec = json.loads(path.read_text())
        spec["process"].update(terminal=False, args=list(args))
        spec["root"]["readonly"] = False
        edit(spec)
        path.write_text(json.dumps(spec))


@pytest.fixture
def mine(tmp_path: Path) -> Mine:
    found = Mine(tmp_path)
    made = found("spec", "--rootless")
    assert made.returncode == 0, made.stderr
    return found


def as_it_is(spec: dict[str, Any]) -> None:
    del spec


def many_ids(spec: dict[str, Any]) -> None:
    for kind, own in (("uid", os.geteuid()), ("gid", os.getegid())):
        with open(f"/etc/sub{kind}", encoding="ascii") as file:
            rows = [line.split(":") for line in file.read().split()]
        first, size = next(
            (int(row[1]), int(row[2])) for row in rows if row[0] in (os.environ["USER"], str(own))
        )
        spec["linux"][f"{kind}Mappings"] = [
            {"containerID": 0, "hostID": own, "size": 1},
            {"containerID": 1, "hostID": first, "size": size},
        ]


def test_the_specification_that_it_writes_runs_with_one_id(mine: Mine) -> None:
    mine.change(as_it_is, "sh", "-c", "id -u; cat /proc/self/uid_map; touch /tmp/x")
    found = mine("run", "c")
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["0", "0", str(os.geteuid()), "1"]
    assert (mine.base / "rootfs/tmp/x").stat().st_uid == os.geteuid()


def test_many_ids_come_by_newuidmap(mine: Mine) -> None:
    assert find_helper("newuidmap"), "needs uidmap (apt-get install uidmap)"
    mine.change(many_ids, "sh", "-c", "touch /tmp/x && chown 5:6 /tmp/x && stat -c %u:%g /tmp/x")
    found = mine("run", "c")
    assert (found.stdout, found.returncode) == ("5:6\n", 0), found.stderr
    (mine.base / "rootfs/tmp/x").unlink()


def test_a_range_that_is_not_his_is_refused_and_leaves_nothing(mine: Mine) -> None:
    def foreign(spec: dict[str, Any]) -> None:
        many_ids(spec)
        spec["linux"]["uidMappings"][1]["hostID"] = 1

    mine.change(foreign, "true")
    found = mine("run", "c")
    assert found.returncode == 1
    assert "uid" in found.stderr
    assert not (mine.base / "state/c").exists()


def test_create_exec_and_delete_work_without_root(mine: Mine) -> None:
    mine.change(as_it_is, "sleep", "60")
    assert mine("run", "--detach", "c").returncode == 0
    assert mine("exec", "c", "id", "-u").stdout == "0\n"
    assert json.loads(mine("state", "c").stdout)["status"] == "running"
    assert mine("delete", "--force", "c").returncode == 0


def test_limits_are_set_or_named(mine: Mine) -> None:
    def limits(spec: dict[str, Any]) -> None:
        spec["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}

    mine.change(limits, "cat", "/proc/self/cgroup")
    log = mine.base / "log"
    found = mine("--log", str(log), "run", "c")
    assert found.returncode == 0, found.stderr
    text = log.read_text() if log.exists() else ""
    from casemate.cgroups.manager import open_manager

    missing = open_manager(rootless=True).check("c", {"memory": {"limit": 1}, "pids": {"limit": 1}})
    assert ("not enforced" in text) == bool(missing)
    assert all(name in text for name in missing)
