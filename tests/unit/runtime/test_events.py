"""The figures of a control group in runc's words: zeros are left out where runc leaves them out, no limit is runc's number."""

from __future__ import annotations

from casemate.runtime.cli.group.figures import event_data


def test_a_group_without_any_figure_has_every_section() -> None:
    data = event_data({})
    assert list(data) == [
        "cpu",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
        "network_interfaces",
    ]
    assert data["cpu"] == {"usage": {"kernel": 0, "user": 0}, "throttling": {}}
    assert data["memory"]["usage"] == {"limit": 0, "failcnt": 0}


def test_no_limit_is_the_number_of_each_version() -> None:
    version_1 = event_data({"memory": {"limit_bytes": None, "raw": {"hierarchical_memory_limit": 1}}})
    version_2 = event_data({"memory": {"limit_bytes": None, "raw": {"file": 7}}})
    assert version_1["memory"]["usage"]["limit"] == 9223372036854771712
    assert version_2["memory"]["usage"]["limit"] == 18446744073709551615
    assert version_2["memory"]["cache"] == 7


def test_tables_pages_and_pressure_have_the_names_of_runc() -> None:
    line = {"avg10": 0.5, "avg60": 0.0, "avg300": 0.0, "total_us": 9}
    data = event_data(
        {
            "io_tables": {
                "service_bytes": [{"major": 8, "minor": 0, "op": "Read", "value": 5}],
                "queued": [],
            },
            "hugetlb": {"2MB": {"usage_bytes": 0, "peak_bytes": 4, "failures": 1}},
            "pids": {"current": 3, "limit": None},
            "psi": {"io": {"some": line}},
            "cpu": {"usage_ns": 5, "throttled_periods": 2, "system_ns": 1},
        }
    )
    assert data["blkio"] == {
        "ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 5}],
        "psi": {"some": {"avg10": 0.5, "avg60": 0.0, "avg300": 0.0, "total": 9}},
    }
    assert data["hugetlb"] == {"2MB": {"max": 4, "failcnt": 1}}
    assert data["pids"] == {"current": 3}
    assert data["cpu"] == {
        "usage": {"total": 5, "kernel": 1, "user": 0},
        "throttling": {"throttledPeriods": 2},
    }
