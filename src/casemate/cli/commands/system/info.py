"""``casemate info``."""

from __future__ import annotations

import os

from casemate import __version__
from casemate.cli.opening import open_engine
from casemate.cli.show.detail import show_document
from casemate.cli.streams import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.cli.args import Parsed

NO_GROUPS = {"v1": "1", "v2": "2"}


def run(parsed: Parsed) -> int:
    """Show the document, as lines or by ``--format``."""
    document = gather()
    layout = parsed.text("format")
    if layout:
        show_document(document, layout)
    else:
        put("".join(f"{key}: {_shown(value)}\n" for key, value in document.items()))
    return 0


def gather() -> dict[str, Any]:
    """Return what is known of this host and store, with docker's keys."""
    from casemate.cgroups.manager import open_manager  # reads the mount table

    rootless = os.geteuid() != 0
    with open_engine() as engine:
        states = [box.state for box in engine.containers.list(all=True)]
        images = len(engine.images.list())
        root = engine.store.paths.root
        driver = getattr(engine.store.snapshots, "name", "overlay")
    groups = open_manager(rootless=rootless)
    system = os.uname()
    return {
        "ServerVersion": __version__,
        "Containers": len(states),
        "ContainersRunning": states.count("running"),
        "ContainersPaused": states.count("paused"),
        "ContainersStopped": len(states) - states.count("running") - states.count("paused"),
        "Images": images,
        "Driver": driver,
        "DockerRootDir": root,
        "CgroupDriver": "none" if groups.kind == "none" else "cgroupfs",
        "CgroupVersion": NO_GROUPS.get(groups.kind, ""),
        **_limits(),
        "SecurityOptions": [
            "name=seccomp,profile=builtin",
            "name=userns",
            *(["name=rootless"] if rootless else []),
        ],
        "KernelVersion": system.release,
        "OperatingSystem": _distribution(),
        "OSType": "linux",
        "Architecture": system.machine,
        "NCPU": len(os.sched_getaffinity(0)),
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "Name": system.nodename,
    }


def _limits() -> dict[str, Any]:
    """Docker's yes and no for each kind of limit, and one warning that names those that will not hold."""
    from casemate.cli.unenforced import unenforceable

    missing, why = unenforceable()
    keys = {
        "MemoryLimit": "--memory",
        "SwapLimit": "--memory-swap",
        "CpuCfsQuota": "--cpus",
        "CPUShares": "--cpu-shares",
        "CPUSet": "--cpuset-cpus",
        "PidsLimit": "--pids-limit",
    }
    warnings = [f"{', '.join(missing)} cannot be enforced: {why}"] if missing else []
    return {**{key: flag not in missing for key, flag in keys.items()}, "Warnings": warnings}


def _distribution() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            names = [
                line.partition("=")[2].strip().strip('"') for line in file if line.startswith("PRETTY_NAME=")
            ]
    except OSError:
        return "Linux"
    return names[0] if names else "Linux"


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
