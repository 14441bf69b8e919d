"""config.json through casemate-oci: bad ones leave nothing behind, and each field of `process` is read back from inside."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


READ_SERVICE = """
import ctypes, json, os
libc = ctypes.CDLL(None, use_errno=True)
mode, mask = ctypes.c_int(), (ctypes.c_ulong * 16)()
got = libc.syscall(239, ctypes.byref(mode), mask, 1024, 0, 0)
print(json.dumps({
    "policy": os.sched_getscheduler(0), "priority": os.sched_getparam(0).sched_priority,
    "nice": os.getpriority(os.PRIO_PROCESS, 0), "io": libc.syscall(252, 1, 0),
    "cpus": sorted(os.sched_getaffinity(0)), "mode": mode.value if got == 0 else -1, "nodes": mask[0],
    "machine": os.uname().machine,
}))
"""
"""Numbers of x86-64: get_mempolicy, ioprio_get."""


def with_python(oci: Runtime) -> Runtime:
    """Mount the host's /usr, so that a program inside can make any system call; seccomp would refuse some."""
    oci.spec["mounts"] += [
        {
            "destination": f"/{name}",
            "source": f"/{name}",
            "type": "bind",
            "options": ["rbind", "ro", "nosuid", "nodev"],
        }
        for name in ("usr", "lib", "lib64")
    ]
    del oci.spec["linux"]["seccomp"]
    return oci


def served(oci: Runtime, *verb: str) -> dict[str, Any]:
    oci.args("/usr/bin/python3", "-I", "-S", "-c", READ_SERVICE)
    found = oci(*(verb or ("run", "c")))
    assert found.returncode == 0, found.stderr
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def test_the_scheduling_policy_is_what_the_program_has(oci: Runtime) -> None:
    with_python(oci).spec["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}
    found = served(oci)
    assert (found["policy"], found["nice"], found["priority"]) == (os.SCHED_BATCH, 7, 0)


@pytest.mark.parametrize("ids", ["the host's", "its own"])
def test_root_may_give_a_better_nice_also_to_a_user_namespace(root_oci: Runtime, ids: str) -> None:
    root_oci.spec["process"]["scheduler"] = {
        "policy": "SCHED_OTHER",
        "nice": -5,
        "flags": ["SCHED_FLAG_RESET_ON_FORK"],
    }
    if ids == "its own":
        root_oci.spec["linux"]["namespaces"].append({"type": "user"})
        for name in ("uidMappings", "gidMappings"):
            root_oci.spec["linux"][name] = [{"containerID": 0, "hostID": 0, "size": 65536}]
    found = served(with_python(root_oci))
    assert found["nice"] == -5
    assert found["policy"] == os.SCHED_OTHER | os.SCHED_RESET_ON_FORK


def test_a_better_nice_is_refused_by_name_to_who_may_not_give_it() -> None:
    with made_runtime(rootless=True) as oci:
        oci.spec["process"]["scheduler"] = {"policy": "SCHED_OTHER", "nice": -5}
        found = oci.run("true")
        assert found.returncode == 1
        assert "apply process.scheduler SCHED_OTHER: nice -5 needs CAP_SYS_NICE" in found.stderr
        assert "does not exist" in oci("state", "c").stderr


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        ({"policy": "SCHED_ISO"}, "Linux has the name but no such policy"),
        ({"policy": "SCHED_FIFO", "priority": 0}, "process.scheduler.priority: must be from 1 to 99"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_before_anything_is_made(
    oci: Runtime, scheduler: dict[str, Any], words: str
) -> None:
    oci.spec["process"]["scheduler"] = scheduler
    found = oci.run("true")
    assert (found.returncode, words in found.stderr) == (1, True), found.stderr
    assert "does not exist" in oci("state", "c").stderr


def test_real_time_is_given_or_refused_with_the_remedy(root_oci: Runtime) -> None:
    root_oci.spec["process"]["scheduler"] = {"policy": "SCHED_RR", "priority": 3}
    if Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        found = root_oci.run("true")
        assert "fix: set linux.resources.cpu.realtimeRuntime" in found.stderr
    else:
        answer = served(with_python(root_oci))
        assert (answer["policy"], answer["priority"]) == (os.SCHED_RR, 3)


@pytest.mark.parametrize(("name", "number"), [("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)])
def test_the_priority_of_input_and_output_is_what_the_program_has(
    oci: Runtime, name: str, number: int
) -> None:
    with_python(oci).spec["process"]["ioPriority"] = {"class": name, "priority": 6}
    assert served(oci)["io"] == number << 13 | 6


def test_real_time_input_and_output_is_for_root_only(oci: Runtime) -> None:
    with_python(oci).spec["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_RT", "priority": 1}
    if oci.rootless:
        assert "IOPRIO_CLASS_RT: it needs CAP_SYS_NICE" in oci.run("true").stderr
    else:
        assert served(oci)["io"] == 1 << 13 | 1


def test_exec_runs_on_the_processors_that_the_spec_names(oci: Runtime) -> None:
    with_python(oci).spec["process"]["execCPUAffinity"] = {"initial": "0", "final": "1"}
    oci.args("sleep", "100")
    assert oci("run", "--detach", "c").returncode == 0
    program = ["/usr/bin/python3", "-I", "-S", "-c", READ_SERVICE]
    assert json.loads(oci("exec", "c", *program).stdout)["cpus"] == [1]
    status = Path(f"/proc/{oci.state()['pid']}/status").read_text()
    assert "Cpus_allowed_list:\t0-1\n" in status, "the first program is not concerned"
    process = oci.base / "process.json"
    about = dict(oci.spec["process"], args=program, execCPUAffinity={"initial": "0"})
    process.write_text(json.dumps(about))
    assert json.loads(oci("exec", "--process", str(process), "c").stdout)["cpus"] == [0]
    about["execCPUAffinity"] = {"final": "4000"}
    process.write_text(json.dumps(about))
    assert "apply process.execCPUAffinity.final 4000" in oci("exec", "--process", str(process), "c").stderr


def test_exec_has_the_priorities_that_its_process_names(oci: Runtime) -> None:
    with_python(oci).args("sleep", "100")
    assert oci("run", "--detach", "c").returncode == 0
    process = oci.base / "process.json"
    about = dict(oci.spec["process"], args=["/usr/bin/python3", "-I", "-S", "-c", READ_SERVICE])
    about["scheduler"] = {"policy": "SCHED_IDLE"}
    about["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 5}
    process.write_text(json.dumps(about))
    found = json.loads(oci("exec", "--process", str(process), "c").stdout)
    assert (found["policy"], found["io"]) == (os.SCHED_IDLE, 2 << 13 | 5)


def test_the_memory_policy_is_what_the_program_has(oci: Runtime) -> None:
    with_python(oci).spec["linux"]["memoryPolicy"] = {
        "mode": "MPOL_BIND",
        "nodes": "0",
        "flags": ["MPOL_F_STATIC_NODES"],
    }
    found = served(oci)
    assert (found["mode"], found["nodes"]) == (2 | 1 << 15, 1)
    oci.spec["linux"]["memoryPolicy"] = {"mode": "MPOL_LOCAL"}
    assert served(oci)["mode"] == 4
    oci.spec["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0,63"}
    assert "this host has no memory node 63" in oci.run("true").stderr


def test_the_execution_domain_shows_in_uname(oci: Runtime) -> None:
    with_python(oci).spec["linux"]["personality"] = {"domain": "LINUX32"}
    assert served(oci)["machine"] == "i686"
    oci.spec["linux"]["personality"] = {"domain": "LINUX"}
    assert served(oci)["machine"] == os.uname().machine
    oci.spec["linux"]["personality"]["flags"] = ["ADDR_NO_RANDOMIZE"]
    assert "the specification defines none" in oci.run("true").stderr


def test_seccomp_that_forbids_the_calls_does_not_disturb_them(oci: Runtime) -> None:
    seccomp = oci.spec["linux"]["seccomp"]
    with_python(oci).spec["linux"]["seccomp"] = seccomp
    oci.spec["linux"]["personality"] = {"domain": "LINUX32"}
    oci.spec["linux"]["memoryPolicy"] = {"mode": "MPOL_LOCAL"}
    oci.args("/usr/bin/python3", "-I", "-S", "-c", "import os; print(os.uname().machine)")
    assert oci("run", "c").stdout == "i686\n"


def test_exec_has_the_containers_memory_policy_and_execution_domain(oci: Runtime) -> None:
    with_python(oci).spec["linux"]["personality"] = {"domain": "LINUX32"}
    oci.spec["linux"]["memoryPolicy"] = {"mode": "MPOL_LOCAL"}
    oci.args("sleep", "100")
    assert oci("run", "--detach", "c").returncode == 0
    found = json.loads(oci("exec", "c", "/usr/bin/python3", "-I", "-S", "-c", READ_SERVICE).stdout)
    assert (found["machine"], found["mode"]) == ("i686", 4)
