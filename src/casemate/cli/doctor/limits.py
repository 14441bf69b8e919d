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
        return Finding("control groups", WARN, "none that this user may change", effect=effect, fix=DELEGATE)
    controllers = _v2_controllers() if manager.kind == "v2" else _v1_controllers()
    missing = [name for name in WANTED if name not in controllers]
    if missing:
        effect = f"limits of {', '.join(missing)} are not enforced"
        fix = DELEGATE if rootless else "boot with cgroup_enable=" + ",".join(missing)
        return Finding(
            "control groups", WARN, f"{manager.kind} without {', '.join(missing)}", effect=effect, fix=fix
        )
    return Finding("control groups", OK, f"{manager.kind}: {' '.join(sorted(controllers))}")


def _v1_controllers() -> set[str]:
    rows = [line.split() for line in (read_text("/proc/cgroups") or "").splitlines()[1:]]
    return {row[0] for row in rows if len(row) == 4 and row[1] != "0" and row[3] == "1"}  # noqa: PLR2004 - proc(5)


def _v2_controllers() -> set[str]:
    own = next(
        (line[3:] for line in (read_text("/proc/self/cgroup") or "").splitlines() if line.startswith("0::")),
        "/",
    )
    path = (
        "/sys/fs/cgroup/cgroup.controllers"
        if os.geteuid() == 0
        else f"/sys/fs/cgroup{own}/cgroup.controllers"
    )
    return set((read_text(path) or "").split())
