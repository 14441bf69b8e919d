"""Figures of a v2 group; the keys are those of ``stats``.

Source: kernel Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

from casemate.cgroups.convert import parse_cpu_list
from casemate.cgroups.settings import find_number, find_text
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
    from typing import Any

_NS_PER_US = 1000
_MEMORY_STAT = {
    "anon": "anon_bytes",
    "file": "file_bytes",
    "inactive_file": "inactive_file_bytes",
    "kernel": "kernel_bytes",
    "pgfault": "faults",
    "pgmajfault": "major_faults",
}
_IO_TABLES = {
    "rbytes": ("service_bytes", "Read"),
    "wbytes": ("service_bytes", "Write"),
    "rios": ("serviced", "Read"),
    "wios": ("serviced", "Write"),
    "cost.usage": ("cost.usage", "Count"),
    "cost.wait": ("cost.wait", "Count"),
    "cost.indebt": ("cost.indebt", "Count"),
    "cost.indelay": ("cost.indelay", "Count"),
}


def read_v2(directory: str) -> dict[str, Any]:
    """The figures of a v2 group."""
    io = find_text(directory, "io.stat") or ""
    found = {
        "cpu": _cpu(directory),
        "cpuset": _cpuset(directory),
        "memory": _memory(directory),
        "pids": read_pids(directory) or _counted(directory),
        "io": parse_io_stat(io),
        "io_tables": io_tables(io),
        "hugetlb": read_hugetlb(directory),
        "rdma": read_rdma(directory),
        "misc": _misc(directory),
        "psi": read_psi(directory),
    }
    return {name: figures for name, figures in found.items() if figures}


def parse_io_stat(text: str) -> list[dict[str, Any]]:
    """One entry a device."""
    names = {"rbytes": "read_bytes", "wbytes": "write_bytes", "rios": "reads", "wios": "writes"}
    found: list[dict[str, Any]] = []
    for device, figures in _lines(text):
        known = {name: figures[key] for key, name in names.items() if key in figures}
        if known:
            found.append({"device": device, **known})
    return found


def io_tables(text: str) -> dict[str, list[dict[str, Any]]]:
    """The same as v1's tables."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for device, figures in _lines(text):
        major, _, minor = device.partition(":")
        for key, value in figures.items():
            if key in _IO_TABLES and major.isdigit() and minor.isdigit():
                table, op = _IO_TABLES[key]
                row = {"major": int(major), "minor": int(minor), "op": op, "value": value}
                tables.setdefault(table, []).append(row)
    return tables


def _lines(text: str) -> list[tuple[str, dict[str, int]]]:
    found: list[tuple[str, dict[str, int]]] = []
    for line in text.splitlines():
        device, *words = line.split() or [""]
        pairs = [word.partition("=") for word in words]
        found.append((device, {key: int(value) for key, _, value in pairs if value.isdigit()}))
    return found


def _cpu(directory: str) -> dict[str, int]:
    times = {
        "usage_usec": "usage_ns",
        "user_usec": "user_ns",
        "system_usec": "system_ns",
        "throttled_usec": "throttled_ns",
        "burst_usec": "burst_ns",
    }
    counts = {"nr_periods": "periods", "nr_throttled": "throttled_periods", "nr_bursts": "burst_periods"}
    figures = parse_pairs(find_text(directory, "cpu.stat") or "")
    return {**pick(figures, times, _NS_PER_US), **pick(figures, counts)}


def _cpuset(directory: str) -> dict[str, list[int]]:
    """What is in force: the group's own list may be empty, or hold more than its parent has."""
    texts = {name: find_text(directory, f"cpuset.{name}.effective") for name in ("cpus", "mems")}
    return {name: sorted(parse_cpu_list(text)) for name, text in texts.items() if text}


def _memory(directory: str) -> dict[str, Any]:
    files = {
        "memory.current": "usage_bytes",
        "memory.peak": "peak_bytes",
        "memory.swap.current": "swap_bytes",
    }
    found: dict[str, Any] = dict(numbers(directory, files))
    raw = parse_pairs(find_text(directory, "memory.stat") or "")
    if not found and not raw:
        return {}
    found["limit_bytes"] = find_number(directory, "memory.max")
    found.update(pick(raw, _MEMORY_STAT))
    events = parse_pairs(find_text(directory, "memory.events") or "")
    found.update(pick(events, {"max": "failures", "oom_kill": "oom_kills"}))
    if "swap_bytes" in found:
        found["swap"] = _with_swap(directory, found)
    found["raw"] = raw
    return found


def _with_swap(directory: str, memory: dict[str, Any]) -> dict[str, Any]:
    limit, swap_limit = memory["limit_bytes"], find_number(directory, "memory.swap.max")
    both = None if limit is None or swap_limit is None else limit + swap_limit
    usage = memory.get("usage_bytes", 0) + memory["swap_bytes"]
    failures = parse_pairs(find_text(directory, "memory.swap.events") or "").get("max", 0)
    return {"usage_bytes": usage, "limit_bytes": both, "failures": failures}


def _counted(directory: str) -> dict[str, Any]:
    """Without the pids controller the processes of this one group are counted."""
    text = find_text(directory, "cgroup.procs")
    return {} if text is None else {"current": len(text.split()), "limit": None}


def _misc(directory: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    current = parse_pairs(find_text(directory, "misc.current") or "")
    limits = parse_pairs(find_text(directory, "misc.max") or "")
    for name, value in current.items():
        found[name] = {"current": value, "limit": limits.get(name)}
    return found
