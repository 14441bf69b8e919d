"""Figures of a v1 group, one directory per controller; the keys are those of ``stats``.

Source: kernel Documentation/admin-guide/cgroup-v1.
"""

from __future__ import annotations

from casemate.cgroups.convert import parse_cpu_list
from casemate.cgroups.hierarchy import UNIFIED
from casemate.cgroups.settings import find_text
from casemate.cgroups.stats.figures import (
    numbers,
    parse_pairs,
    pick,
    read_hugetlb,
    read_pids,
    read_psi,
    read_rdma,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    DirectoryOf = Callable[[str], str | None]

NO_LIMIT = (1 << 63) - (1 << 20)  # "unlimited" is rounded down to a page

_MEMORY_STAT = {
    "total_rss": "anon_bytes",
    "total_cache": "file_bytes",
    "total_inactive_file": "inactive_file_bytes",
    "total_swap": "swap_bytes",
    "total_pgfault": "faults",
    "total_pgmajfault": "major_faults",
}
_CPUSET_FLAGS = (
    "cpu_exclusive",
    "mem_exclusive",
    "mem_hardwall",
    "memory_migrate",
    "memory_pressure",
    "memory_spread_page",
    "memory_spread_slab",
    "sched_load_balance",
    "sched_relax_domain_level",
)
# Whoever schedules the disk counts: BFQ, the old CFQ, or only the throttling layer.
_IO_FILES = (
    "blkio.bfq.{}_recursive",
    "blkio.{}_recursive",
    "blkio.throttle.{}_recursive",
    "blkio.throttle.{}",
)
_IO_TABLES = {
    "io_service_bytes": "service_bytes",
    "io_serviced": "serviced",
    "io_queued": "queued",
    "io_service_time": "service_time",
    "io_wait_time": "wait_time",
    "io_merged": "merged",
    "time": "time",
    "sectors": "sectors",
}
_WORDS = 4  # major, minor, operation, number


def read_v1(directory_of: DirectoryOf) -> dict[str, Any]:
    """The figures of a v1 group."""
    tables = _io_tables(directory_of("blkio"))
    found = {
        "cpu": _cpu(directory_of),
        "cpuset": _cpuset(directory_of("cpuset")),
        "memory": _memory(directory_of("memory")),
        "pids": read_pids(directory_of("pids")),
        "io": by_device(tables),
        "io_tables": tables,
        "hugetlb": read_hugetlb(directory_of("hugetlb")),
        "rdma": read_rdma(directory_of("rdma")),
        "psi": read_psi(directory_of(UNIFIED)),
    }
    return {name: figures for name, figures in found.items() if figures}


def parse_blkio(text: str) -> list[dict[str, Any]]:
    """``major:minor [operation] number`` lines as table rows; the sum at the end is left out."""
    rows: list[dict[str, Any]] = []
    for line in text.splitlines():
        words = line.replace(":", " ", 1).split()
        if len(words) not in (_WORDS - 1, _WORDS) or not (words[0] + words[1] + words[-1]).isdigit():
            continue
        op = words[2] if len(words) == _WORDS else ""
        rows.append({"major": int(words[0]), "minor": int(words[1]), "op": op, "value": int(words[-1])})
    return rows


def by_device(tables: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One entry a device, from the tables of bytes and of operations."""
    devices: dict[str, dict[str, Any]] = {}
    for table, names in (
        ("service_bytes", {"Read": "read_bytes", "Write": "write_bytes"}),
        ("serviced", {"Read": "reads", "Write": "writes"}),
    ):
        for row in tables.get(table, ()):
            if row["op"] in names:
                device = f"{row['major']}:{row['minor']}"
                devices.setdefault(device, {"device": device})[names[row["op"]]] = row["value"]
    return list(devices.values())


def _io_tables(directory: str | None) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    if directory is None:
        return found
    for word, name in _IO_TABLES.items():
        texts = (find_text(directory, form.format(word)) for form in _IO_FILES)
        rows = next((rows for text in texts if text and (rows := parse_blkio(text))), None)
        if rows:
            found[name] = rows
    return found


def _cpu(directory_of: DirectoryOf) -> dict[str, Any]:
    found: dict[str, Any] = {}
    accounting, scheduler = directory_of("cpuacct"), directory_of("cpu")
    if accounting is not None:
        files = {
            "cpuacct.usage": "usage_ns",
            "cpuacct.usage_user": "user_ns",
            "cpuacct.usage_sys": "system_ns",
        }
        found.update(numbers(accounting, files))
        found.update(_per_cpu(accounting))
    if scheduler is not None:
        names = {
            "nr_periods": "periods",
            "nr_throttled": "throttled_periods",
            "throttled_time": "throttled_ns",
            "nr_bursts": "burst_periods",
            "burst_time": "burst_ns",
        }
        found.update(pick(parse_pairs(find_text(scheduler, "cpu.stat") or ""), names))
    return found


def _per_cpu(directory: str) -> dict[str, list[int]]:
    found = {
        "per_cpu_ns": [int(word) for word in (find_text(directory, "cpuacct.usage_percpu") or "").split()]
    }
    rows = [line.split() for line in (find_text(directory, "cpuacct.usage_all") or "").splitlines()[1:]]
    for column, name in ((1, "per_cpu_user_ns"), (2, "per_cpu_system_ns")):
        found[name] = [int(row[column]) for row in rows]
    return {name: figures for name, figures in found.items() if figures}


def _cpuset(directory: str | None) -> dict[str, Any]:
    if directory is None:
        return {}
    found: dict[str, Any] = {}
    for name in ("cpus", "mems"):
        found[name] = sorted(parse_cpu_list(find_text(directory, f"cpuset.{name}") or ""))
    return {**found, **numbers(directory, {f"cpuset.{name}": name for name in _CPUSET_FLAGS})}


def _counter(directory: str, prefix: str) -> dict[str, Any]:
    """One of the memory controller's counters: memory, memory and swap, kernel memory, tcp buffers."""
    files = {
        f"{prefix}.usage_in_bytes": "usage_bytes",
        f"{prefix}.max_usage_in_bytes": "peak_bytes",
        f"{prefix}.limit_in_bytes": "limit_bytes",
        f"{prefix}.failcnt": "failures",
    }
    found: dict[str, Any] = dict(numbers(directory, files))
    if found.get("limit_bytes", 0) >= NO_LIMIT:
        found["limit_bytes"] = None
    return found


def _memory(directory: str | None) -> dict[str, Any]:
    if directory is None:
        return {}
    found = _counter(directory, "memory")
    for name, prefix in (("swap", "memsw"), ("kernel", "kmem"), ("kernel_tcp", "kmem.tcp")):
        counter = _counter(directory, f"memory.{prefix}")
        if counter:
            found[name] = counter
    if "usage_bytes" in found.get("kernel", {}):
        found["kernel_bytes"] = found["kernel"]["usage_bytes"]
    raw = parse_pairs(find_text(directory, "memory.stat") or "")
    found.update(pick(raw, _MEMORY_STAT))
    found["raw"] = raw
    oom = parse_pairs(find_text(directory, "memory.oom_control") or "")
    found.update(pick(oom, {"oom_kill": "oom_kills"}))
    return found
