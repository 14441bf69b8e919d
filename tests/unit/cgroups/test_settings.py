"""``linux.resources`` becomes these files and values, in v1 and in v2."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.cgroups import settings_v1, settings_v2
from casemate.cgroups.none import NoManager
from casemate.errors import Invalid, Unsupported


def written(resources: dict[str, Any], version: int) -> list[tuple[str, str]]:
    module = settings_v1 if version == 1 else settings_v2
    return [setting.choices[0] for setting in module.settings(resources)[0]]


def ignored(resources: dict[str, Any], version: int) -> list[str]:
    return (settings_v1 if version == 1 else settings_v2).settings(resources)[1]


CASES: list[tuple[dict[str, Any], list[tuple[str, str]], list[tuple[str, str]]]] = [
    ({}, [], []),
    ({"memory": None, "cpu": {}, "pids": {}}, [], []),
    (
        {"memory": {"limit": 1000, "swap": 3000, "reservation": 500}},
        [
            ("memory.limit_in_bytes", "1000"),
            ("memory.memsw.limit_in_bytes", "3000"),
            ("memory.soft_limit_in_bytes", "500"),
        ],
        [("memory.swap.max", "2000"), ("memory.max", "1000"), ("memory.low", "500")],
    ),
    (
        {"memory": {"limit": -1}},
        [("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")],
        [("memory.swap.max", "max"), ("memory.max", "max")],
    ),
    (
        {"memory": {"limit": 1000, "swap": 1000}},
        [("memory.limit_in_bytes", "1000"), ("memory.memsw.limit_in_bytes", "1000")],
        [("memory.swap.max", "0"), ("memory.max", "1000")],
    ),
    ({"memory": {"swappiness": 0}}, [("memory.swappiness", "0")], []),
    ({"cpu": {"shares": 1024}}, [("cpu.shares", "1024")], [("cpu.weight", "100")]),
    ({"cpu": {"shares": 0}}, [], []),
    (
        {"cpu": {"quota": 50000, "period": 100000, "burst": 0}},
        [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000"), ("cpu.cfs_burst_us", "0")],
        [("cpu.max", "50000 100000"), ("cpu.max.burst", "0")],
    ),
    ({"cpu": {"quota": -1}}, [("cpu.cfs_quota_us", "-1")], [("cpu.max", "max 100000")]),
    ({"cpu": {"shares": 512, "idle": 1}}, [("cpu.idle", "1")], [("cpu.idle", "1")]),
    (
        {"cpu": {"cpus": "0-1", "mems": "0"}},
        [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")],
        [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")],
    ),
    ({"pids": {"limit": 7}}, [("pids.max", "7")], [("pids.max", "7")]),
    ({"pids": {"limit": 0}}, [("pids.max", "1")], [("pids.max", "1")]),
    ({"pids": {"limit": -1}}, [("pids.max", "max")], [("pids.max", "max")]),
    ({"blockIO": {"weight": 500}}, [("blkio.weight", "500")], [("io.bfq.weight", "500")]),
    (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}]}},
        [("blkio.throttle.read_bps_device", "8:0 600")],
        [("io.max", "8:0 rbps=600")],
    ),
    (
        {"blockIO": {"throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}]}},
        [("blkio.throttle.write_iops_device", "8:0 0")],
        [("io.max", "8:0 wiops=max")],
    ),
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]},
        [("hugetlb.2MB.limit_in_bytes", "4194304"), ("hugetlb.2MB.rsvd.limit_in_bytes", "4194304")],
        [("hugetlb.2MB.max", "4194304"), ("hugetlb.2MB.rsvd.max", "4194304")],
    ),
    ({"network": {"classID": 1048577}}, [("net_cls.classid", "1048577")], []),
    ({"network": {"priorities": [{"name": "eth0", "priority": 5}]}}, [("net_prio.ifpriomap", "eth0 5")], []),
    (
        {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10}}},
        [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10")],
        [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10")],
    ),
    ({"blockIO": {"leafWeight": 300}}, [("blkio.leaf_weight", "300")], []),
    (
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 200, "leafWeight": 100}]}},
        [("blkio.weight_device", "8:0 200"), ("blkio.leaf_weight_device", "8:0 100")],
        [("io.bfq.weight", "8:0 200")],
    ),
    (
        {"cpu": {"realtimeRuntime": 950000, "realtimePeriod": 1000000}},
        [("cpu.rt_period_us", "1000000"), ("cpu.rt_runtime_us", "950000")],
        [],
    ),
    ({"memory": {"disableOOMKiller": True}}, [("memory.oom_control", "1")], []),
    ({"memory": {"disableOOMKiller": False, "useHierarchy": True, "checkBeforeUpdate": True}}, [], []),
]


@pytest.mark.parametrize(("resources", "v1", "v2"), CASES)
def test_resources_become_files(
    resources: dict[str, Any], v1: list[tuple[str, str]], v2: list[tuple[str, str]]
) -> None:
    assert written(resources, 1) == v1
    assert written(resources, 2) == v2


def test_the_second_choice_of_a_weight_is_converted() -> None:
    (setting,) = settings_v2.settings({"blockIO": {"weight": 500}})[0]
    assert setting.choices[1] == ("io.weight", "4950")


def test_what_has_no_meaning_is_named() -> None:
    memory = {"memory": {"disableOOMKiller": True, "kernel": 5, "swappiness": 60, "useHierarchy": False}}
    assert ignored(memory, 1) == ["memory.useHierarchy", "memory.kernel"]
    assert ignored(memory, 2) == [
        "memory.kernel",
        "memory.swappiness",
        "memory.disableOOMKiller",
        "memory.useHierarchy",
    ]
    assert ignored({"network": {"classID": 1}, "cpu": {"realtimeRuntime": 5}}, 2) == [
        "cpu.realtimeRuntime",
        "network.classID",
    ]
    assert ignored({"blockIO": {"leafWeight": 20}}, 2) == ["blockIO.leafWeight"]


def test_the_unified_map_is_refused_by_its_keys_on_version_1() -> None:
    with pytest.raises(Unsupported) as caught:
        written({"unified": {"memory.high": "1", "cpu.idle": "1"}}, 1)
    assert caught.value.subject == "unified.memory.high, unified.cpu.idle"
    assert written({"unified": {}}, 1) == []


def test_the_unified_map_is_written_line_by_line() -> None:
    unified = {"memory.high": "1000", "io.max": "8:0 rbps=1\n8:16 rbps=2\n"}
    assert written({"unified": unified}, 2) == [
        ("memory.high", "1000"),
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:16 rbps=2"),
    ]


def test_what_is_the_default_anyway_needs_no_file() -> None:
    resources = {"memory": {"limit": -1}, "cpu": {"burst": 0, "idle": 0}}
    for module, name in ((settings_v1, "memory.memsw.limit_in_bytes"), (settings_v2, "memory.swap.max")):
        optional = {s.choices[0][0] for s in module.settings(resources)[0] if s.optional}
        assert name in optional
        assert "cpu.idle" in optional
    limited = settings_v2.settings({"memory": {"limit": 1000, "swap": 3000}})[0]
    assert not any(setting.optional for setting in limited)


@pytest.mark.parametrize(
    "resources",
    [
        {"memory": []}, {"memory": {"limit": "1g"}}, {"memory": {"limit": 1.5}}, {"memory": {"limit": True}},
        {"memory": {"limit": -2}}, {"memory": {"limit": 1 << 63}}, {"memory": {"swappiness": 101}},
        {"memory": {"limit": 2000, "swap": 1000}}, {"memory": {"disableOOMKiller": "yes"}},
        {"cpu": {"cpus": "0-"}}, {"cpu": {"cpus": "0\n1"}}, {"cpu": {"cpus": 1}}, {"cpu": {"idle": 2}},
        {"cpu": {"shares": -1}}, {"pids": {"limit": "5"}}, {"pids": 5},
        {"blockIO": {"weight": 5}}, {"blockIO": {"weightDevice": [{"weight": 20}]}},
        {"blockIO": {"throttleReadBpsDevice": {"major": 1}}}, {"blockIO": {"throttleReadBpsDevice": ["8:0"]}},
        {"hugepageLimits": [{"pageSize": "../../x", "limit": 1}]}, {"hugepageLimits": [{"limit": 1}]},
        {"hugepageLimits": [{"pageSize": "MB", "limit": 1}]},
        {"rdma": {"a/b": {"hcaHandles": 1}}}, {"rdma": {"a\nb": {}}},
    ],
)  # fmt: skip
def test_malformed_resources_are_refused_in_both_versions(resources: dict[str, Any]) -> None:
    for version in (1, 2):
        with pytest.raises(Invalid):
            written(resources, version)


@pytest.mark.parametrize(
    "key",
    ["cgroup.procs", "cgroup.kill", "cgroup.subtree_control", "cgroup.freeze", "../x.y",
        "memory/max", "memory",
     "memory.", ".max", "memory.max\n", "", "a b.c", "größe.max"],
)  # fmt: skip
def test_the_unified_map_sets_limits_and_nothing_else(key: str) -> None:
    with pytest.raises(Invalid):
        written({"unified": {key: "1"}}, 2)


@pytest.mark.parametrize("value", [1, None, "a\0b", "\x1b", ["1"]])
def test_the_unified_map_holds_text(value: Any) -> None:
    with pytest.raises(Invalid):
        written({"unified": {"memory.high": value}}, 2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(
    ["memory", "cpu", "pids", "blockIO", "hugepageLimits", "network", "rdma", "unified", "devices"]
)
FIELDS = st.sampled_from(
    ["limit", "swap", "shares", "quota", "cpus", "weight", "weightDevice", "priorities", "idle"]
)


@given(st.dictionaries(KEYS, JSON | st.dictionaries(FIELDS, JSON)))
def test_any_json_is_either_settings_or_a_named_complaint(resources: dict[str, Any]) -> None:
    complaints: list[str] = []
    for version in (1, 2):
        try:
            for file, text in written(resources, version):
                assert "/" not in file
                assert "\0" not in text
        except (Invalid, Unsupported) as error:
            complaints.append(error.subject)
    assert all(complaints)


def test_without_groups_everything_that_was_asked_for_is_named() -> None:
    manager = NoManager()
    assert manager.kind == "none"
    group = manager.create("casemate/x")
    resources = {"memory": {"limit": 1}, "pids": {"limit": 5}, "cpu": {"shares": 2}, "devices": []}
    assert sorted(group.apply(resources)) == ["cpu.shares", "devices", "memory.limit", "pids.limit"]
    assert group.unenforced == ["cpu", "devices", "memory", "pids"]
    assert (group.join_fds(), group.dirs(), group.collect(), group.pids(), group.stats()) == (
        [],
        [],
        [],
        [],
        {},
    )
    with pytest.raises(Invalid):
        manager.create("../x")


@pytest.mark.parametrize(
    "resources", [{"network": {"priorities": [{"name": "a b"}]}}, {"cpu": {"shares": 1}}]
)
def test_what_only_v1_has_is_checked_there(resources: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        written(resources, 1)
