"""The named selections of tests: as whom they run in the guest, and how long each may take."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, field

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

ROOT, USER = "root", "user"
MARKERS = {ROOT: "not rootless", USER: "rootless or (system and not needs_root)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """One run of pytest in the guest; its name is that of its junit file."""

    name: str
    user: str
    arguments: tuple[str, ...]
    deadline_s: int = 900
    groups: tuple[str, ...] = field(default=())


def _both(name: str, *arguments: str, deadline_s: int = 900) -> list[Selection]:
    return [
        Selection(
            name=f"{name}-{user}", user=user, arguments=arguments, deadline_s=deadline_s, groups=(name,)
        )
        for user in (ROOT, USER)
    ]


def _files(pattern: str, *but: str) -> tuple[str, ...]:
    """The checkout's files that match, by relative path, without those whose name contains one of ``but``."""
    found = sorted(glob.glob(pattern, root_dir=TOP))
    return tuple(path for path in found if not any(word in path for word in but))


_ROOTLESS = "tests/system/engine/test_engine_rootless.py"
# Claims about another machine than the guest, with the reason why they cannot be made there.
NOT_HERE = {
    "tests/system/test_cgroups_v1.py": "the guest has no cgroup v1",
    "tests/system/test_cgroups_peers.py": "compares cgroup v1 files",
    "tests/system/test_oci_cgroups.py::test_root_is_refused_by_name_what_the_kernel_cannot_limit": "names what v1 lacks",
    f"{_ROOTLESS}::test_limits_without_control_groups_are_listed_as_not_enforced": "the user has some there",
    "tests/system/test_enter_kernel_facts.py": "detached layers came with Linux 6.15; the engine's tests use the older way",
}

# Each of these takes some seconds; what a verb is slow at, it is at its first use.
SHORT = (
    "test_machine or a_container_runs or limits_asked_for or too_much_memory or what_was_delegated"
    " or run_returns_output or create_start_exec_kill_delete or masks_come or a_terminal_is"
)
SELECTIONS = [
    *_both("short", "tests/lab", "tests/system/test_oci_runtime.py", "-k", SHORT, deadline_s=240),
    *_both("machine", "tests/lab"),
    Selection(name="kernel", user=ROOT, deadline_s=600,
              arguments=("tests/unit/kernel", "tests/unit/cgroups", "tests/unit/runtime")),
    *_both("enter", *_files("tests/system/test_enter_*.py", "failures"), deadline_s=1200),
    *_both("cgroups", *_files("tests/system/test_cgroups_*.py")),
    *_both("runtime", *_files("tests/system/test_oci_*.py", "peers"), deadline_s=2400),
    *_both("engine", "tests/system/engine", deadline_s=2700),
    Selection(name="peers", user=ROOT, deadline_s=2400, arguments=("tests/system/test_oci_peers.py",)),
    *_both("store", *_files("tests/system/test_store_*.py"), deadline_s=2400),
    *_both("commands", "tests/system/test_cli.py", "tests/system/test_cli_transports.py", deadline_s=1200),
    *_both("hostile", "tests/system/hostile", deadline_s=3600),
    # Every system call of enter fails in turn: the slowest tests of all, so they come last.
    *_both("failures", "tests/system/test_enter_failures.py", deadline_s=3600),
]  # fmt: skip
WHOLE = [selection for selection in SELECTIONS if "short" not in selection.groups]


def choose(words: list[str]) -> list[Selection]:
    """The selections that ``words`` name, by name or group; a path is run as root and as the ordinary user.

    Whatever begins with a dash, and all after it, goes to pytest with the paths before it.

    Raises: LookupError with the word that names nothing.
    """
    if not words:
        return WHOLE
    dash = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    names, options = words[:dash], words[dash:]
    paths = [word for word in names if "/" in word]
    chosen = []
    for word in names:
        if word in paths:
            continue
        found = [s for s in SELECTIONS if word == s.name or word in s.groups]
        if not found:
            raise LookupError(word)
        chosen += found
    if paths:
        chosen += _both("named", *paths, *options)
    elif options:
        raise LookupError(options[0])
    return list(dict.fromkeys(chosen))
