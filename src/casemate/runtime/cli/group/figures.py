"""The figures of a control group in the words of `runc events`. Pure.

Source: runc's types/events.go: what is zero and optional there is left out here too.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Figures = Mapping[str, Any]

_NO_LIMIT_V1 = (1 << 63) - 4096  # the kernel rounds its largest number down to a page
_NO_LIMIT_V2 = (1 << 64) - 1  # what runc makes of "max"
_CPUSET = {
    "cpu_exclusive": 0,
    "mem_hardwall": 0,
    "mem_exclusive": 0,
    "memory_migrate": 0,
    "memory_spread_page": 0,
    "memory_spread_slab": 0,
    "memory_pressure": 0,
    "sched_load_balance": 0,
    "sched_relax_domain_level": 0,
}
_TABLES = {
    "service_bytes": "ioServiceBytesRecursive",
    "serviced": "ioServicedRecursive",
    "queued": "ioQueueRecursive",
    "service_time": "ioServiceTimeRecursive",
    "wait_time": "ioWaitTimeRecursive",
    "merged": "ioMergedRecursive",
    "time": "ioTimeRecursive",
    "sectors": "sectorsRecursive",
}


def event_data(figures: Figures) -> dict[str, Any]:
    """Return the `data` of a stats event from what ``Cgroup.stats`` tells."""
    pressure = figures.get("psi") or {}
    return {
        "cpu": _cpu(figures.get("cpu") or {}, pressure),
        "cpuset": _cpuset(figures.get("cpuset") or {}),
        "memory": _memory(figures.get("memory") or {}, pressure),
        "pids": _some({name: (figures.get("pids") or {}).get(name) for name in ("current", "limit")}),
        "blkio": _blkio(figures.get("io_tables") or {}, pressure),
        "hugetlb": {size: _pages(entry) for size, entry in (figures.get("hugetlb") or {}).items()},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _some(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is zero, empty or not there."""
    return {name: value for name, value in values.items() if value}


def _psi(pressure: Figures, name: str) -> dict[str, Any]:
    found = pressure.get(name)
    if not found:
        return {}
    kinds = {
        kind: {**{key: line[key] for key in ("avg10", "avg60", "avg300")}, "total": line["total_us"]}
        for kind, line in found.items()
    }
    return {"psi": kinds}


def _cpu(cpu: Figures, pressure: Figures) -> dict[str, Any]:
    usage = _some(
        {
            "total": cpu.get("usage_ns"),
            "percpu": cpu.get("per_cpu_ns"),
            "percpu_kernel": cpu.get("per_cpu_system_ns"),
            "percpu_user": cpu.get("per_cpu_user_ns"),
        }
    )
    usage |= {"kernel": cpu.get("system_ns", 0), "user": cpu.get("user_ns", 0)}
    throttling = {
        "periods": cpu.get("periods"),
        "throttledPeriods": cpu.get("throttled_periods"),
        "throttledTime": cpu.get("throttled_ns"),
    }
    return {"usage": usage, "throttling": _some(throttling), **_psi(pressure, "cpu")}


def _cpuset(cpuset: Figures) -> dict[str, Any]:
    lists = _some({name: cpuset.get(name) for name in ("cpus", "mems")})
    return lists | {name: cpuset.get(name, none) for name, none in _CPUSET.items()}


def _memory(memory: Figures, pressure: Figures) -> dict[str, Any]:
    raw: dict[str, int] = memory.get("raw") or {}
    none = _NO_LIMIT_V1 if "hierarchical_memory_limit" in raw else _NO_LIMIT_V2
    return {
        **_some({"cache": raw.get("cache", raw.get("file"))}),
        "usage": _counter(memory, none),
        "swap": _counter(memory.get("swap") or {}, none),
        "kernel": _counter(memory.get("kernel") or {}, none),
        "kernelTCP": _counter(memory.get("kernel_tcp") or {}, none),
        **_some({"raw": dict(sorted(raw.items()))}),
        **_psi(pressure, "memory"),
    }


def _counter(entry: Figures, none: int) -> dict[str, int]:
    limit = 0
    if "limit_bytes" in entry:
        limit = none if entry["limit_bytes"] is None else entry["limit_bytes"]
    used = _some({"usage": entry.get("usage_bytes"), "max": entry.get("peak_bytes")})
    return {"limit": limit, **used, "failcnt": entry.get("failures", 0)}


def _blkio(tables: Figures, pressure: Figures) -> dict[str, Any]:
    found = {
        runc: [
            _some({key: row.get(key) for key in ("major", "minor", "op", "value")}) for row in tables[ours]
        ]
        for ours, runc in _TABLES.items()
        if tables.get(ours)
    }
    return {**found, **_psi(pressure, "io")}


def _pages(entry: Figures) -> dict[str, int]:
    used = _some({"usage": entry.get("usage_bytes"), "max": entry.get("peak_bytes")})
    return {**used, "failcnt": entry.get("failures", 0)}
