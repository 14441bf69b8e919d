"""Control groups of casemate-oci: where they lie, what is refused by name, and what an ordinary user is told."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from ocibundle import Runtime, made_runtime

from casemate.cgroups.hierarchy import read_hierarchies

if TYPE_CHECKING:
    from collections.abc import Iterator

V1 = any("memory" in h.controllers for h in read_hierarchies())

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox-static"),
]


@pytest.fixture
def oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        runtime.spec["linux"]["namespaces"] = [
            item for item in runtime.spec["linux"]["namespaces"] if item["type"] != "cgroup"
        ]
        yield runtime


def groups(oci: Runtime, path: str | None) -> set[str]:
    """The paths of the groups that the program finds itself in, on the host's own scale."""
    if path is None:
        oci.spec["linux"].pop("cgroupsPath", None)
    else:
        oci.spec["linux"]["cgroupsPath"] = path
    found = oci.run("cat", "/proc/self/cgroup")
    assert found.returncode == 0, found.stderr
    known = ("memory", "pids") if V1 else ("",)
    lines = [line.split(":", 2) for line in found.stdout.split()]
    return {path for _, names, path in lines if set(names.split(",")) & set(known)}


def forget(name: str) -> None:
    for hierarchy in read_hierarchies():
        if os.path.isdir(f"{hierarchy.mountpoint}/{name}"):
            os.rmdir(f"{hierarchy.mountpoint}/{name}")


def test_a_path_is_taken_from_the_top_with_or_without_a_slash_however_deep(oci: Runtime) -> None:
    try:
        assert groups(oci, "/casemate-paths/one") == {"/casemate-paths/one"}
        assert groups(oci, "casemate-paths/two") == {"/casemate-paths/two"}
        assert groups(oci, "/casemate-paths/a/b/c") == {"/casemate-paths/a/b/c"}
    finally:
        for name in ("casemate-paths/a/b", "casemate-paths/a", "casemate-paths"):
            forget(name)


@pytest.mark.parametrize("path", ["", None])
def test_no_path_is_a_group_below_our_own_that_differs_by_root_and_id(oci: Runtime, path: str | None) -> None:
    (found,) = groups(oci, path)
    assert found.startswith("/casemate-oci/")
    assert found.endswith("-c")


def test_systemds_form_without_systemd_nests_the_slices(oci: Runtime) -> None:
    try:
        assert groups(oci, "casemate-x.slice:test:1") == {"/casemate.slice/casemate-x.slice/test-1.scope"}
    finally:
        for name in ("casemate.slice/casemate-x.slice", "casemate.slice"):
            forget(name)


UNSETTABLE: list[tuple[dict[str, Any], str]] = [
    ({"network": {"classID": 5}}, "network.classID"),
    ({"rdma": {"mlx5_0": {"hcaHandles": 1}}}, "rdma"),
    ({"blockIO": {"leafWeight": 300}}, "blockIO.leafWeight"),
    ({"unified": {"memory.high": "1000000"}}, "unified.memory.high"),
]


@pytest.mark.skipif(not V1, reason="needs cgroup v1")
@pytest.mark.parametrize(("resources", "name"), UNSETTABLE)
def test_root_is_refused_by_name_what_the_kernel_cannot_limit(
    oci: Runtime, resources: dict[str, Any], name: str
) -> None:
    oci.spec["linux"]["resources"] = resources
    found = oci.run("true")
    assert found.returncode == 1
    assert name in found.stderr
    assert not (oci.base / "state/c").exists()


def test_an_ordinary_user_is_told_once_what_is_not_enforced() -> None:
    with made_runtime(rootless=True) as oci:
        oci.spec["linux"]["resources"] = {
            "memory": {"limit": 64 << 20},
            "pids": {"limit": 5},
            "devices": [{"allow": False, "access": "rwm"}],
        }
        oci.args("true")
        log = oci.base / "log"
        log.touch()
        os.chmod(log, 0o666)
        found = oci("--log", str(log), "run", "c")
        assert found.returncode == 0, found.stderr
        text = log.read_text()
        assert text.count("not enforced") == 1
        assert "memory.limit, pids.limit: this user has no control groups of its own" in text
        assert "devices" not in text
