"""The schema of config.json: what it accepts, what it says, and that its two readers never disagree."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ocispecs import field_paths, rich_spec

from casemate.errors import CasemateError, Invalid, Unsupported
from casemate.runtime.compile import validate
from casemate.runtime.schema.accept import accepts
from casemate.runtime.schema.check import check_config, check_process, check_resources
from casemate.runtime.schema.config import CONFIG
from casemate.runtime.schema.document import read
from casemate.runtime.schema.explain import faults

GOOD = {"ociVersion": "1.2.0", "root": {"path": "rootfs"}, "process": {"args": ["sh"], "cwd": "/"}}


def changed(path: str, value: Any, spec: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a spec with one value replaced or added; a path as in `linux.namespaces[0].type`."""
    whole = copy.deepcopy(rich_spec() if spec is None else spec)
    keys = [int(key) if key.isdigit() else key for key in re.findall(r"[^.\[\]]+", path)]
    holder: Any = whole
    for key in keys[:-1]:
        holder = holder[key]
    holder[keys[-1]] = value
    return whole


def test_the_shortest_and_the_richest_config_are_accepted() -> None:
    for spec in (GOOD, rich_spec()):
        assert faults(spec, CONFIG) == []
        check_config(spec)


def test_the_rich_example_has_every_field_so_that_each_is_tested() -> None:
    def paths(value: Any, path: str = "") -> set[str]:
        if isinstance(value, list):
            return {found for item in value for found in paths(item, f"{path}[]")}
        if not isinstance(value, dict):
            return set()
        found = set()
        for name, item in value.items():
            here = f"{path}.{name}" if path else name
            found |= {here} | paths(item, here)
        return found

    named = {re.sub(r"(rdma|netDevices|timeOffsets)\.\w+", r"\1[NAME]", path) for path in paths(rich_spec())}
    assert {path for path in field_paths(CONFIG) if path not in named} == set()


FAULTS = [
    ("ociVersion", "one", "must be a version"),
    ("process.args", "sh", "must be a list, not 'sh'"),
    ("process.args", [], "must have at least 1 entry"),
    ("process.args[0]", "", "must not be empty"),
    ("process.args[2]", "a\0b", "must not contain NUL"),
    ("process.env[0]", "NAME", "must be NAME=value"),
    ("process.cwd", "tmp", "must be an absolute path"),
    ("process.terminal", 1, "must be true or false, not 1"),
    ("process.user.uid", -1, "must be a whole number from 0"),
    ("process.user.gid", (1 << 32) - 1, "must be a whole number from 0"),
    ("process.user.gid", True, "must be a whole number"),
    ("process.user.additionalGids[1]", 1.0, "must be a whole number"),
    ("process.capabilities.bounding", "CAP_KILL", "must be a list"),
    ("process.rlimits[0].type", "RLIMIT_MAGIC", "must be a name that is known"),
    ("process.rlimits[1].type", "RLIMIT_NOFILE", "is listed twice"),
    ("process.rlimits[0].soft", 300, "is above hard 200"),
    ("process.oomScoreAdj", 1001, "must be a whole number from -1000 to 1000"),
    ("process.scheduler.policy", "SCHED_FAST", "must be one of SCHED_OTHER"),
    ("process.scheduler.nice", 20, "from -20 to 19"),
    ("process.scheduler.priority", 5, "must be 0 with SCHED_BATCH"),
    ("process.scheduler.policy", "SCHED_FIFO", "must be from 1 to 99"),
    ("process.scheduler.policy", "SCHED_DEADLINE", "must be from 1024 to deadline"),
    ("process.scheduler.period", 5, "must be 0 with SCHED_BATCH"),
    ("linux.memoryPolicy.mode", "MPOL_LOCAL", "must be empty with MPOL_LOCAL"),
    ("linux.memoryPolicy.nodes", "", "must name at least one node"),
    (
        "linux.memoryPolicy.flags",
        ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"],
        "must not have both",
    ),
    ("process.ioPriority.class", "IOPRIO_CLASS_NONE", "must be one of"),
    ("process.execCPUAffinity.initial", "3-1", "ranges that go upwards"),
    ("root.path", "", "must not be empty"),
    ("hostname", "x" * 65, "at most 64 bytes"),
    ("mounts[1].destination", None, "is missing"),
    ("mounts[1].gidMappings", [], "goes with uidMappings"),
    ("mounts[1].options[0]", {}, "must be a string, not an object"),
    ("hooks.prestart[0].path", "true", "must be an absolute path"),
    ("hooks.poststop[0].timeout", 0, "from 1"),
    ("annotations", {"": "x"}, "must not be empty"),
    ("linux.namespaces[2].type", "magic", "must be one of mount"),
    ("linux.namespaces[2].type", "pid", "is listed twice"),
    ("linux.namespaces[7].path", "ns/net", "must be an absolute path"),
    ("linux.uidMappings[0].size", 0, "from 1"),
    ("linux.uidMappings[0].hostID", 4294967290, "end beyond"),
    ("linux.uidMappings", None, "goes with gidMappings"),
    ("linux.timeOffsets", {"realtime": {}}, "must be one of monotonic, boottime"),
    ("linux.devices[0].type", "d", "must be one of c, b, u, p"),
    ("linux.devices[0].major", None, "is missing"),
    ("linux.devices[0].path", "fuse", "must be an absolute path"),
    ("linux.netDevices", {"a/b": {}}, "must be an interface name"),
    ("linux.netDevices.eth0.name", "%s", "must have no % but one %d"),
    ("linux.netDevices", {"a": {"name": "x"}, "b": {"name": "x"}}, "x is what a will be called"),
    ("linux.namespaces", [{"type": "mount"}], "needs a network namespace"),
    ("linux.netDevices.eth0.name", 23, "must be a string, not 23"),
    ("linux.resources.hugepageLimits[0].pageSize", "64kB", "must be a size"),
    ("linux.resources.rdma.mlx5_1", {}, "must have hcaHandles or hcaObjects"),
    ("linux.resources.rdma.mlx5_1.hcaHandles", "some", "must be a whole number"),
    ("linux.resources.devices[0].allow", None, "is missing"),
    ("linux.resources.devices[0].access", "rx", "letters r, w and m"),
    ("linux.resources.cpu.cpus", "a", "must be a list of numbers"),
    ("linux.resources.memory.limit", 1 << 63, "must be a whole number"),
    ("linux.seccomp.syscalls[0].names", [], "must have at least 1 entry"),
    ("linux.seccomp.defaultAction", None, "is missing"),
    ("linux.seccomp.listenerPath", "", "listenerMetadata is for it"),
    ("linux.sysctl", {"kernel.msgmax": 1}, "must be a string"),
    ("linux.maskedPaths[0]", "proc", "must be an absolute path"),
    ("linux.memoryPolicy.mode", "MPOL_ANY", "must be one of"),
    ("linux.personality.domain", "BSD", "must be one of LINUX, LINUX32"),
    ("linux.intelRdt.memBwSchema", "L3:0", "begins with MB:"),
    ("linux.intelRdt.schemata[0]", "a\nb", "must be one line"),
]


@pytest.mark.parametrize(("path", "value", "words"), FAULTS)
def test_a_fault_is_named_with_its_path(path: str, value: Any, words: str) -> None:
    spec = changed(path, value)
    found = faults(spec, CONFIG)
    assert len(found) == 1, found
    assert words in found[0]
    named = found[0].split(": ")[0].replace("['", ".").replace("']", "")
    assert named.rpartition(".")[0] in path or path in named
    assert not accepts(spec, CONFIG)


def test_all_faults_come_at_once_each_with_its_path() -> None:
    spec = changed("process.args", "sh")
    spec["linux"]["namespaces"][2]["type"] = "magic"
    spec["mounts"][1]["options"] = [1]
    del spec["root"]["path"]
    with pytest.raises(Invalid) as caught:
        check_config(spec)
    for part in (
        "read config.json: ",
        "process.args: must be a list",
        "linux.namespaces[2].type: ",
        "mounts[1].options[0]: must be a string",
        "root.path: is missing",
    ):
        assert part in caught.value.message, part


def test_very_many_faults_are_counted_not_printed() -> None:
    with pytest.raises(Invalid, match="; and 950 more"):
        check_config({**GOOD, "mounts": [1] * 1000})


@pytest.mark.parametrize("value", [None, [], "x", 5, True, {}, [[]]])
def test_what_is_no_config_is_said_so(value: Any) -> None:
    with pytest.raises(Invalid):
        validate.check(value)


def test_unknown_fields_are_accepted_wherever_they_stand() -> None:
    spec = changed("process.user.nickname", 5, changed("linux.new", {"x": [None]}, changed("magic", [1])))
    assert faults(spec, CONFIG) == []


def test_a_null_is_the_same_as_an_absent_field() -> None:
    found = read(b'{"process": {"env": null, "args": ["a", null]}, "x": null, "y": [{"z": null}]}', what="it")
    assert found == {"process": {"args": ["a", None]}, "y": [{}]}
    assert faults(changed("linux", None), CONFIG) == []
    assert "process.args[0]: must be a string, not null" in faults(changed("process.args[0]", None), CONFIG)


def test_a_process_and_resources_alone_are_checked_by_the_same_rules() -> None:
    check_process({"args": ["sh"], "cwd": "/"}, what="p.json")
    with pytest.raises(Invalid, match=r"read p\.json: cwd: is missing; user\.uid: must be"):
        check_process({"args": ["sh"], "user": {"uid": "x"}}, what="p.json")
    check_resources({"pids": {"limit": -1}}, what="-")
    with pytest.raises(Invalid, match=r"pids\.limit: must be a whole number .*; memory: must be an object"):
        check_resources({"pids": {"limit": "x"}, "memory": []}, what="-")


@pytest.mark.parametrize("version", ["0.9.0", "2.0.0", "10.0.0"])
def test_another_major_version_is_refused_before_its_form_is_judged(version: str) -> None:
    with pytest.raises(Unsupported, match=r"only 1\.x is known"):
        validate.check({"ociVersion": version})


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.sampled_from(
        ["", "/", "/x", "a=b", "\0", "\ud800", "pid", "1" * 5000, 10**5000, -1, 1 << 32, 1 << 64, "%d%d"]
    ),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=2)), max_size=2),
    st.dictionaries(st.text(max_size=3), st.one_of(st.none(), st.integers()), max_size=2),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, item in items:
        found += [(*path, key), *places(item, (*path, key))]
    return found


PLACES = places(rich_spec())


def mutated(changes: list[tuple[tuple[Any, ...], Any]]) -> dict[str, Any]:
    spec = rich_spec()
    for path, value in changes:
        holder: Any = spec
        for key in path[:-1]:
            try:
                holder = holder[key]
            except (KeyError, IndexError, TypeError):
                break
        else:
            if isinstance(holder, dict) or (
                isinstance(holder, list) and isinstance(path[-1], int) and path[-1] < len(holder)
            ):
                holder[path[-1]] = value
    return spec


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=4))
def test_both_readers_agree_and_no_config_gives_anything_but_an_error_with_words(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    spec = mutated(changes)
    found = faults(spec, CONFIG)
    assert accepts(spec, CONFIG) == (not found)
    assert all("\n" not in fault and len(fault) < 400 for fault in found)
    try:
        validate.check(spec)
    except CasemateError as error:
        assert error.message.isprintable()  # noqa: PT017 - what is caught is the subject
