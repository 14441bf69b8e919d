"""Parsers and readers that both versions share. What is named ``parse_`` is pure."""

from __future__ import annotations

import os

from casemate.cgroups.settings import find_number, find_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PRESSURES = ("cpu", "memory", "io")


def parse_pairs(text: str) -> dict[str, int]:
    """``key number`` lines, as in memory.stat, cpu.stat and memory.events; other lines are passed over."""
    pairs: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            pairs[key] = int(value)
    return pairs


def parse_psi(text: str) -> dict[str, dict[str, float]]:
    """The lines ``some`` and ``full`` of a pressure file.

    Source: kernel Documentation/accounting/psi.rst.
    """
    found: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        kind, *words = line.split()
        if kind not in ("some", "full"):
            continue
        figures: dict[str, float] = {}
        for word in words:
            key, _, value = word.partition("=")
            if key == "total" and value.isdigit():
                figures["total_us"] = int(value)
            elif key.startswith("avg") and value.replace(".", "", 1).isdigit():
                figures[key] = float(value)
        found[kind] = figures
    return found


def parse_rdma(text: str) -> dict[str, dict[str, int | None]]:
    """``device hca_handle=N hca_object=max`` lines; None stands for max.

    Source: kernel Documentation/admin-guide/cgroup-v1/rdma.rst.
    """
    names = {"hca_handle": "hca_handles", "hca_object": "hca_objects"}
    found: dict[str, dict[str, int | None]] = {}
    for line in text.splitlines():
        device, *words = line.split(" ")
        pairs = [word.partition("=") for word in words]
        figures = {
            names[k]: int(v) if v.isdigit() else None
            for k, _, v in pairs
            if k in names and (v.isdigit() or v == "max")
        }
        if figures:
            found[device] = figures
    return found


def pick(source: dict[str, int], names: dict[str, str], scale: int = 1) -> dict[str, int]:
    """The figures that have a name of ours, multiplied."""
    return {name: source[key] * scale for key, name in names.items() if key in source}


def numbers(directory: str, files: dict[str, str]) -> dict[str, int]:
    """The numbers that the files of a group hold, by our names; missing files are left out."""
    found = [(name, find_number(directory, file)) for file, name in files.items()]
    return {name: number for name, number in found if number is not None}


def huge_page_sizes(directory: str) -> list[str]:
    """The sizes that this group has files for, such as ``2MB``, sorted."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    parts = [name.split(".") for name in names if name.startswith("hugetlb.")]
    return sorted({part[1] for part in parts if len(part) > 2})  # noqa: PLR2004 - hugetlb, size, what


def read_pids(directory: str | None) -> dict[str, Any]:
    """The pids controller, the same in both versions."""
    current = None if directory is None else find_number(directory, "pids.current")
    if directory is None or current is None:
        return {}
    return {"current": current, "limit": find_number(directory, "pids.max")}


def read_hugetlb(directory: str | None) -> dict[str, Any]:
    """The hugetlb controller by the file names of either version; reservations, where they are counted (Linux 5.7)."""
    if directory is None:
        return {}
    found: dict[str, Any] = {}
    for size in huge_page_sizes(directory):
        for prefix in (f"hugetlb.{size}.rsvd", f"hugetlb.{size}"):
            files = {
                f"{prefix}.current": "usage_bytes",
                f"{prefix}.usage_in_bytes": "usage_bytes",
                f"{prefix}.max_usage_in_bytes": "peak_bytes",
                f"{prefix}.failcnt": "failures",
            }
            if figures := numbers(directory, files):
                break
        events = parse_pairs(find_text(directory, f"hugetlb.{size}.events") or "")
        found[size] = {**figures, **pick(events, {"max": "failures"})}
    return found


def read_rdma(directory: str | None) -> dict[str, Any]:
    """The rdma controller, the same in both versions."""
    if directory is None:
        return {}
    found: dict[str, Any] = {}
    for file, name in (("rdma.current", "current"), ("rdma.max", "limit")):
        for device, figures in parse_rdma(find_text(directory, file) or "").items():
            found.setdefault(device, {})[name] = figures
    return found


def read_psi(directory: str | None) -> dict[str, Any]:
    """The pressures of a v2 directory; also on hybrid machines, whose v2 side has no controllers.

    Needs: Linux 4.20 with CONFIG_PSI, not switched off by psi=0 or cgroup.pressure.
    """
    if directory is None:
        return {}
    found = {name: parse_psi(find_text(directory, f"{name}.pressure") or "") for name in PRESSURES}
    return {name: figures for name, figures in found.items() if figures}
