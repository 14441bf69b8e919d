"""``linux.resources`` become the unit properties that runc sets too."""

from __future__ import annotations

from typing import Any

import pytest

from casemate.cgroups.devices import fold_rules
from casemate.cgroups.systemd.properties import (
    INFINITY,
    cpu_bits,
    creation_properties,
    device_name,
    v1_properties,
    v2_properties,
)
from casemate.errors import Invalid

CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"memory": {"limit": 1000, "swap": 3000, "reservation": 500}},
     {"MemoryMax": 1000, "MemoryLow": 500, "MemorySwapMax": 2000}),
    ({"memory": {"limit": -1}}, {"MemoryMax": INFINITY, "MemorySwapMax": INFINITY}),
    ({"memory": {"limit": 1000, "swap": 1000}}, {"MemoryMax": 1000, "MemorySwapMax": 0}),
    ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
    ({"cpu": {"shares": 1024, "idle": 1}}, {"CPUWeight": 0}),
    ({"cpu": {"quota": 50000, "period": 100000}},
     {"CPUQuotaPeriodUSec": 100000, "CPUQuotaPerSecUSec": 500000}),
    ({"cpu": {"quota": 12345, "period": 100000}},
     {"CPUQuotaPeriodUSec": 100000, "CPUQuotaPerSecUSec": 130000}),
    ({"cpu": {"quota": 5000}}, {"CPUQuotaPerSecUSec": 50000}),
    ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": INFINITY}),
    ({"cpu": {"period": 20000}}, {"CPUQuotaPeriodUSec": 20000, "CPUQuotaPerSecUSec": INFINITY}),
    ({"cpu": {"cpus": "0-1,9", "mems": "0"}},
     {"AllowedCPUs": b"\x03\x02", "AllowedMemoryNodes": b"\x01"}),
    ({"pids": {"limit": 7}}, {"TasksMax": 7}),
    ({"pids": {"limit": 0}}, {"TasksMax": 1}),
    ({"pids": {"limit": -1}}, {"TasksMax": INFINITY}),
    ({"unified": {"memory.high": "5", "memory.swap.max": "max", "pids.max": "0", "cpu.weight": "9",
                  "cpu.max": "5000 10000", "cpuset.cpus": "1", "io.max": "8:0 rbps=1"}},
     {"MemoryHigh": 5, "MemorySwapMax": INFINITY, "TasksMax": 1, "CPUWeight": 9,
      "CPUQuotaPeriodUSec": 10000, "CPUQuotaPerSecUSec": 500000, "AllowedCPUs": b"\x02"}),
    ({"memory": {"limit": 1000}, "unified": {"memory.max": "2000"}}, {"MemoryMax": 2000}),
]  # fmt: skip


@pytest.mark.parametrize(("resources", "properties"), CASES)
def test_resources_become_properties(resources: dict[str, Any], properties: dict[str, Any]) -> None:
    found = v2_properties(resources, version=252, rules=None)
    assert {name: value for name, (_, value) in found} == properties


def test_an_older_systemd_is_not_given_what_it_does_not_know() -> None:
    resources = {"cpu": {"quota": 5000, "period": 10000, "cpus": "0", "idle": 1}}
    assert {name for name, _ in v2_properties(resources, version=241, rules=None)} == {"CPUQuotaPerSecUSec"}


def test_version_1_has_names_of_its_own() -> None:
    resources = {"memory": {"limit": 1000}, "cpu": {"shares": 512}, "blockIO": {"weight": 300}}
    found = {name: value for name, (_, value) in v1_properties(resources, version=247, rules=None)}
    assert found == {"MemoryLimit": 1000, "CPUShares": 512, "BlockIOWeight": 300}


@pytest.mark.parametrize(
    "unified", [{"memory.high": "1g"}, {"cpu.max": "x"}, {"cpuset.cpus": "-"}, {"pids.max": str(1 << 70)}]
)
def test_values_that_are_none_are_refused(unified: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        v2_properties({"unified": unified}, version=252, rules=None)


def test_no_cpu_is_no_mask() -> None:
    with pytest.raises(Invalid):
        cpu_bits(",")


def devices(*rules: dict[str, Any]) -> dict[str, Any]:
    found = v2_properties({}, version=252, rules=fold_rules({"devices": list(rules)}))
    return {name: value for name, (_, value) in found}


def test_device_rules_are_a_strict_list() -> None:
    found = devices(
        {"allow": False},
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"},
        {"allow": True, "type": "c", "major": 136, "access": "rwm"},
        {"allow": True, "type": "b", "access": "m"},
    )
    assert found == {
        "DevicePolicy": "strict",
        "DeviceAllow": [("/dev/char/1:3", "rw"), ("char-136", "rwm"), ("block-*", "m")],
    }


@pytest.mark.parametrize(
    "rules",
    [
        [{"allow": True}],
        [{"allow": False, "type": "c", "major": 5, "minor": 1}],
        [{"allow": False}, {"allow": True, "type": "c", "minor": 3}],
    ],
)
def test_what_systemd_cannot_say_it_is_not_asked_to_enforce(rules: list[dict[str, Any]]) -> None:
    assert devices(*rules) == {"DevicePolicy": "auto", "DeviceAllow": []}


def test_devices_are_named_by_number() -> None:
    assert device_name("c", -1, -1) == "char-*"
    assert device_name("b", 8, 0) == "/dev/block/8:0"
    assert device_name("c", -1, 3) == ""


def test_the_oom_policy_is_set_when_the_unit_is_made() -> None:
    unified = {"unified": {"memory.oom.group": "1"}}
    assert creation_properties(unified, 253) == [("OOMPolicy", ("s", "kill"))]
    assert creation_properties(unified, 252) == []
    assert creation_properties({}, 255) == []
