"""Checks of control groups: which limits will hold."""

from __future__ import annotations

import os

from casemate.cli.doctor.finding import FAIL, OK, WARN, Finding, read_text

WANTED = ("cpu", "memory", "pids")
DELEGATE = (
    "sudo mkdir -p /etc/systemd/system/user@.service.d"
    " && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n'"
    " | sudo tee /etc/systemd/system/user@.service.d/delegate.conf"
    " && sudo systemctl daemon-reload, then log in again"
)


def control_groups() -> Finding:
    """Check the version of control groups and which limits are enforced for this user."""
    from casemate.cgroups.manager import open_manager  # reads the mount table
    from casemate.errors import CasemateError

    rootless = os.geteuid() != 0
    try:
        manager = open_manager(rootless=rootless)
    except (CasemateError, OSError) as error:
        return Finding(
            "control groups", FAIL, str(error), effect="no limit is enforced", fix="mount /sys/fs/cgroup"
        )
    if manager.kind == "none":
        effect = "--memory, --cpus and --pids-limit are not enforced"
        fix = remedy(os.path.isdir("/run/systemd/system"))
        return Finding("control groups", WARN, "none that this user may change", effect=effect, fix=fix)
    controllers = set(getattr(manager, "offered", ())) if manager.kind == "v2" else _v1_controllers()
    missing = [name for name in WANTED if name not in controllers]
    if missing:
        effect = f"limits of {', '.join(missing)} are not enforced"
        fix = (
            remedy(os.path.isdir("/run/systemd/system"))
            if rootless
            else "boot with cgroup_enable=" + ",".join(missing)
        )
        return Finding(
            "control groups", WARN, f"{manager.kind} without {', '.join(missing)}", effect=effect, fix=fix
        )
    return Finding("control groups", OK, f"{manager.kind}: {' '.join(sorted(controllers))}")


def _v1_controllers() -> set[str]:
    rows = [line.split() for line in (read_text("/proc/cgroups") or "").splitlines()[1:]]
    return {row[0] for row in rows if len(row) == 4 and row[1] != "0" and row[3] == "1"}  # noqa: PLR2004 - proc(5)


def remedy(systemd: bool) -> str:  # noqa: FBT001 - the one fact that decides
    """What gives an ordinary user limits on this machine."""
    from casemate.cgroups.hierarchy import read_hierarchies

    if not all(hierarchy.is_v2 for hierarchy in read_hierarchies()):
        return "cgroup v1 is not delegated to ordinary users: boot with systemd.unified_cgroup_hierarchy=1, or use root"
    if systemd:
        return DELEGATE
    return (
        "as root, for USER: cd /sys/fs/cgroup && mkdir USER && echo +cpu +memory +pids > cgroup.subtree_control"
        " && chown USER USER USER/cgroup.procs USER/cgroup.subtree_control && echo PID-OF-THE-SHELL > USER/cgroup.procs"
    )
