"""Checks of casemate's own parts, of the interpreter's start, and of programs that some verbs use."""

from __future__ import annotations

import os
import sys

from casemate.cli.doctor.finding import FAIL, OK, WARN, Finding, read_text


def enter() -> Finding:
    """Check that the program that sets containers up is here and may be executed."""
    from casemate.runtime.sealed import enter_path  # ctypes

    path = enter_path()
    if not os.path.exists(path):
        fix = "install casemate from a wheel, or build it: python src/enter/build.py"
        return Finding("enter", FAIL, f"{path} is missing", effect="containers cannot start", fix=fix)
    if not os.access(path, os.X_OK):
        return Finding(
            "enter",
            FAIL,
            f"{path} may not be executed",
            effect="containers cannot start",
            fix=f"chmod +x {path}",
        )
    if os.statvfs(path).f_flag & os.ST_NOEXEC and not _memory_files_run():
        return Finding(
            "enter",
            FAIL,
            "it lies on a noexec file system",
            effect="containers cannot start",
            fix="install casemate elsewhere",
        )
    return Finding("enter", OK, path)


def _memory_files_run() -> bool:
    """Return whether programs may be executed from memory (memfd).

    Source: sysctl vm.memfd_noexec, Linux 6.3.
    """
    return (read_text("/proc/sys/vm/memfd_noexec") or "0") != "2"


def slow_start() -> Finding:
    """Check for .pth files that run code at every start of the interpreter."""
    slow = [path for path in sys.path if path.endswith("site-packages") for path in _code_files(path)]
    if slow:
        effect = "every command starts later, for what other packages do at start"
        fix = "install casemate alone: pipx install casemate, or uv tool install casemate"
        return Finding("interpreter start", WARN, f"{', '.join(slow)} run code", effect=effect, fix=fix)
    return Finding("interpreter start", OK, "no .pth file runs code")


def _code_files(directory: str) -> list[str]:
    try:
        names = [name for name in os.listdir(directory) if name.endswith(".pth")]
    except OSError:
        return []
    return sorted(
        name
        for name in names
        if any(
            line.startswith(("import ", "import\t"))
            for line in (read_text(f"{directory}/{name}") or "").splitlines()
        )
    )


def bootstrap_program() -> Finding:
    """Check for mmdebstrap, which makes Debian images without a registry."""
    found = next(
        (f"{place}/mmdebstrap" for place in os.get_exec_path() if os.access(f"{place}/mmdebstrap", os.X_OK)),
        "",
    )
    if not found:
        effect = "casemate image bootstrap cannot make Debian images"
        return Finding("mmdebstrap", WARN, "missing", effect=effect, fix="sudo apt install mmdebstrap")
    return Finding("mmdebstrap", OK, found)
