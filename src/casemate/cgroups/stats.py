"""Usage figures of a group, the same keys for both versions. The parsers are pure.

    cpu     usage_ns user_ns system_ns periods throttled_periods throttled_ns
    memory  usage_bytes peak_bytes limit_bytes anon_bytes file_bytes inactive_file_bytes swap_bytes
    kernel_bytes
            faults major_faults failures oom_kills
    pids    current limit
    io      a list of {device ("8:0"), read_bytes, write_bytes, reads, writes}

A figure that this kernel does not give is absent; ``limit`` and ``limit_bytes`` are None when there is no
limit.
"""

from __future__ import annotations

from casemate.cgroups.settings import find_number, find_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    DirectoryOf = Callable[[str], str | None]

_NS_PER_US = 1000
_NO_V1_LIMIT = (1 << 63) - (1 << 20)  # v1 rounds "unlimited" down to a page


def parse_pairs(text: str) -> dict[str, int]:
    """``key number`` lines, as in memory.stat, cpu.stat and memory.events; other lines are passed over."""
    pairs: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            pairs[key] = int(value)
    return pairs


def parse_io_stat(text: str) -> list[dict[str, Any]]:
    """v2's io.stat.

    Source: kernel Documentation/admin-guide/cgroup-v2.rst.
    """
    names = {"rbytes": "read_bytes", "wbytes": "write_bytes", "rios": "reads", "wios": "writes"}
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        device, *words = line.split()
        figures = dict(word.split("=", 1) for word in words if "=" in word)
        known = {name: int(figures[key]) for key, name in names.items() if figures.get(key, "").isdigit()}
        if known:
            found.append({"device": device, **known})
    return found


def parse_blkio(sizes: str, counts: str) -> list[dict[str, Any]]:
    """v1's io_service_bytes_recursive and io_serviced_recursive together.

    Source: kernel Documentation/admin-guide/cgroup-v1/blkio-controller.rst.
    """
    devices: dict[str, dict[str, Any]] = {}
    for text, names in ((sizes, ("read_bytes", "write_bytes")), (counts, ("reads", "writes"))):
        for line in text.splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in ("Read", "Write"):  # noqa: PLR2004 - device, operation, number
                entry = devices.setdefault(words[0], {"device": words[0]})
                entry[names[words[1] == "Write"]] = int(words[2])
    return list(devices.values())


def _pick(source: dict[str, int], names: dict[str, str], scale: int = 1) -> dict[str, int]:
    return {name: source[key] * scale for key, name in names.items() if key in source}


def _numbers(directory: str, files: dict[str, str]) -> dict[str, int]:
    found = {name: find_number(directory, file) for file, name in files.items()}
    return {name: number for name, number in found.items() if number is not None}


def _pids(directory: str | None) -> dict[str, Any]:
    current = None if directory is None else find_number(directory, "pids.current")
    if directory is None or current is None:
        return {}
    return {"current": current, "limit": find_number(directory, "pids.max")}


def read_v1(directory_of: DirectoryOf) -> dict[str, Any]:
    """The figures of a v1 group."""
    found = {
        "cpu": _cpu_v1(directory_of),
        "memory": _memory_v1(directory_of("memory")),
        "pids": _pids(directory_of("pids")),
    }
    blkio = directory_of("blkio")
    if blkio is not None:
        sizes = find_text(blkio, "blkio.throttle.io_service_bytes_recursive") or ""
        counts = find_text(blkio, "blkio.throttle.io_serviced_recursive") or ""
        return {**{k: v for k, v in found.items() if v}, "io": parse_blkio(sizes, counts)}
    return {k: v for k, v in found.items() if v}


def _cpu_v1(directory_of: DirectoryOf) -> dict[str, int]:
    found: dict[str, int] = {}
    accounting, scheduler = directory_of("cpuacct"), directory_of("cpu")
    if accounting is not None:
        files = {
            "cpuacct.usage": "usage_ns",
            "cpuacct.usage_user": "user_ns",
            "cpuacct.usage_sys": "system_ns",
        }
        found.update(_numbers(accounting, files))
    if scheduler is not None:
        figures = parse_pairs(find_text(scheduler, "cpu.stat") or "")
        names = {
            "nr_periods": "periods",
            "nr_throttled": "throttled_periods",
            "throttled_time": "throttled_ns",
        }
        found.update(_pick(figures, names))
    return found


def _memory_v1(directory: str | None) -> dict[str, Any]:
    if directory is None:
        return {}
    files = {
        "memory.usage_in_bytes": "usage_bytes",
        "memory.max_usage_in_bytes": "peak_bytes",
        "memory.limit_in_bytes": "limit_bytes",
        "memory.kmem.usage_in_bytes": "kernel_bytes",
        "memory.failcnt": "failures",
    }
    found: dict[str, Any] = dict(_numbers(directory, files))
    if found.get("limit_bytes", 0) >= _NO_V1_LIMIT:
        found["limit_bytes"] = None
    names = {
        "total_rss": "anon_bytes",
        "total_cache": "file_bytes",
        "total_inactive_file": "inactive_file_bytes",
        "total_swap": "swap_bytes",
        "total_pgfault": "faults",
        "total_pgmajfault": "major_faults",
    }
    found.update(_pick(parse_pairs(find_text(directory, "memory.stat") or ""), names))
    oom = parse_pairs(find_text(directory, "memory.oom_control") or "")
    found.update(_pick(oom, {"oom_kill": "oom_kills"}))
    return found


def read_v2(directory: str) -> dict[str, Any]:
    """The figures of a v2 group."""
    times = {"usage_usec": "usage_ns", "user_usec": "user_ns", "system_usec": "system_ns"}
    figures = parse_pairs(find_text(directory, "cpu.stat") or "")
    cpu = _pick(figures, {**times, "throttled_usec": "throttled_ns"}, _NS_PER_US)
    cpu.update(_pick(figures, {"nr_periods": "periods", "nr_throttled": "throttled_periods"}))
    found = {"cpu": cpu, "memory": _memory_v2(directory), "pids": _pids(directory)}
    io = find_text(directory, "io.stat")
    if io is not None:
        return {**{k: v for k, v in found.items() if v}, "io": parse_io_stat(io)}
    return {k: v for k, v in found.items() if v}


def _memory_v2(directory: str) -> dict[str, Any]:
    files = {
        "memory.current": "usage_bytes",
        "memory.peak": "peak_bytes",
        "memory.swap.current": "swap_bytes",
    }
    found: dict[str, Any] = dict(_numbers(directory, files))
    if not found:
        return {}
    found["limit_bytes"] = find_number(directory, "memory.max")
    names = {
        "anon": "anon_bytes",
        "file": "file_bytes",
        "inactive_file": "inactive_file_bytes",
        "kernel": "kernel_bytes",
        "pgfault": "faults",
        "pgmajfault": "major_faults",
    }
    found.update(_pick(parse_pairs(find_text(directory, "memory.stat") or ""), names))
    events = parse_pairs(find_text(directory, "memory.events") or "")
    found.update(_pick(events, {"max": "failures", "oom_kill": "oom_kills"}))
    return found
