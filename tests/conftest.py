"""What every test shares: the leak check of the system lane."""

from __future__ import annotations

import ctypes
import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PR_SET_CHILD_SUBREAPER = 36
CGROUPS = "/sys/fs/cgroup"
# Groups that may stay: parents of ours, and the slices that a user's systemd makes for itself when it first needs them.
PARENT_GROUPS = {"casemate", "casemate-oci", "app.slice", "background.slice", "session.slice"}


# A lane gives the same verdict on the same commit; whoever runs tests by hand searches on, with new random examples.
settings.register_profile("lane", derandomize=True)
if os.environ.get("CASEMATE_LANE") == "strict":
    settings.load_profile("lane")


def pytest_configure() -> None:
    """Become the reaper of orphans, so that a process that a test leaves behind is seen as ours."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a lane's selection, leave out what this user cannot do; a lane selects by the same markers."""
    is_root = os.geteuid() == 0
    absent = pytest.mark.skip(reason="a claim about the ordinary user" if is_root else "needs root")
    for item in items:
        if item.get_closest_marker("rootless" if is_root else "needs_root"):
            item.add_marker(absent)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A promised lane does not skip: what cannot hold in it says so by its marker."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter is not None else []
    if skipped and os.environ.get("CASEMATE_LANE") == "strict" and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _mounts() -> set[str]:
    return {line.split(" - ")[0].split(" ", 4)[4] for line in _read("/proc/self/mountinfo").splitlines()}


def _cgroups() -> set[str]:
    """Every control group of the machine that this user could have made, three levels deep."""
    found = set()
    user = os.geteuid()
    for base, children, _ in os.walk(CGROUPS):
        if base.count("/") - CGROUPS.count("/") > 3:
            children.clear()
        # The engine's own parent group may stay, empty: making it anew for each container costs milliseconds.
        found.update(os.path.join(base, child) for child in children if child not in PARENT_GROUPS)
    if os.path.isdir("/run/systemd/system"):
        found = {
            path for path in found if not path.endswith(".slice")
        }  # systemd makes them, and keeps them as it likes
    return {path for path in found if user == 0 or _owner(path) == user}


def _owner(path: str) -> int:
    try:
        return os.stat(path).st_uid
    except FileNotFoundError:
        return -1


def _processes() -> set[int]:
    """Descendants of this process that are not zombies waiting for us."""
    parents = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        stat = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if stat and stat[0] != "Z":
            parents[pid] = int(stat[1])
    ours = {os.getpid()}
    while True:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        if not more:
            return ours
        ours |= more


def _links() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def _descriptors() -> set[str]:
    return {
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{fd}")
    }


def _state() -> dict[str, set[object]]:
    return {
        "mounts": set(_mounts()),
        "cgroups": set(_cgroups()),
        "processes": set(_processes()),
        "network links": set(_links()),
        "descriptors": {
            d for d in _descriptors() if not d.startswith(("/proc/", "/tmp/pytest", "/memfd:casemate-enter"))
        },
    }


def _reap() -> None:
    """Collect orphans that have ended and were handed to us as their reaper."""
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        stat = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if stat[:2] == ["Z", str(os.getpid())]:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


@pytest.fixture(autouse=True)
def _leak_check(request: pytest.FixtureRequest) -> Iterator[None]:
    """No system test leaves a mount, cgroup, network link, descriptor or process behind."""
    if request.node.get_closest_marker("system") is None:
        yield
        return
    before = _state()
    yield
    deadline = time.monotonic() + 5
    while True:
        leaks = {what: found - before[what] for what, found in _state().items() if found - before[what]}
        if not leaks or time.monotonic() > deadline:
            break
        _reap()
        time.sleep(0.05)
    assert not leaks, f"left behind: {leaks}"
