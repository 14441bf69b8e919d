"""config.json through casemate-oci: bad ones leave nothing behind, and each field of `process` is read back from inside."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from ocibundle import Runtime, made_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs_root,
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox-static"),
]


@pytest.fixture(params=["root", "rootless"])
def oci(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with made_runtime(rootless=request.param == "rootless") as runtime:
        yield runtime


@pytest.fixture
def root_oci() -> Iterator[Runtime]:
    with made_runtime(rootless=False) as runtime:
        yield runtime


@pytest.mark.parametrize("verb", ["run", "create"])
def test_a_config_with_faults_names_them_all_and_leaves_nothing(oci: Runtime, verb: str) -> None:
    oci.spec["process"]["args"] = "sh"
    oci.spec["process"]["cwd"] = "tmp"
    oci.spec["linux"]["namespaces"].append({"type": "pid"})
    found = oci(verb, "c")
    assert found.returncode == 1
    assert "process.args: must be a list, not 'sh'" in found.stderr
    assert "process.cwd: must be an absolute path, not 'tmp'" in found.stderr
    assert "pid is listed twice" in found.stderr
    assert "Traceback" not in found.stderr
    assert "does not exist" in oci("state", "c").stderr


def test_exec_and_update_say_all_faults_of_their_files(root_oci: Runtime) -> None:
    root_oci.args("sleep", "100")
    assert root_oci("run", "--detach", "c").returncode == 0
    process, resources = root_oci.base / "process.json", root_oci.base / "resources.json"
    process.write_text(json.dumps({"args": [1], "env": ["x"]}))
    resources.write_text(json.dumps({"pids": {"limit": "many"}, "cpu": []}))
    found = root_oci("exec", "--process", str(process), "c")
    for words in ("cwd: is missing", "args[0]: must be a string, not 1", "env[0]: must be NAME=value"):
        assert words in found.stderr, found.stderr
    found = root_oci("update", "--resources", str(resources), "c")
    for words in ("pids.limit: must be a whole number", "cpu: must be an object"):
        assert words in found.stderr, found.stderr


def test_null_fields_are_absent_ones(oci: Runtime) -> None:
    oci.spec["process"]["env"] = None
    oci.spec["hooks"] = None
    oci.spec["process"]["rlimits"] = None
    oci.spec["linux"]["sysctl"] = None
    found = oci.run("echo", "fine")
    assert (found.stdout, found.returncode) == ("fine\n", 0), found.stderr
