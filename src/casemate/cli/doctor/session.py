"""Checks of the login session and of other container tools."""

from __future__ import annotations

import os
import stat

from casemate.cli.doctor.finding import OK, WARN, Finding


def runtime_directory() -> Finding | None:
    """Check that an ordinary user has a private directory for run-time state."""
    if os.geteuid() == 0:
        return None
    path = os.environ.get("XDG_RUNTIME_DIR", "")
    fallback = f"/tmp/casemate-{os.geteuid()}"  # noqa: S108 - the store's fallback, made 0700 and checked there
    fix = f"log in through a login manager, or: export XDG_RUNTIME_DIR=/run/user/{os.geteuid()}"
    if not path:
        return Finding("XDG_RUNTIME_DIR", WARN, "not set", effect=f"{fallback} is used instead", fix=fix)
    try:
        status = os.stat(path)
    except OSError:
        return Finding(
            "XDG_RUNTIME_DIR", WARN, f"{path} does not exist", effect=f"{fallback} is used instead", fix=fix
        )
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        effect = "other users may see run-time state"
        return Finding(
            "XDG_RUNTIME_DIR", WARN, f"{path} is not private", effect=effect, fix=f"chmod 700 {path}"
        )
    return Finding("XDG_RUNTIME_DIR", OK, path)


def linger() -> Finding | None:
    """Check that detached containers of an ordinary user outlive the login session (systemd only)."""
    if os.geteuid() == 0 or not os.path.isdir("/run/systemd/system"):
        return None
    user = os.environ.get("USER", "")
    if user and os.path.exists(f"/var/lib/systemd/linger/{user}"):
        return Finding("linger", OK, "on")
    effect = "containers started with -d end when you log out"
    return Finding("linger", WARN, "off", effect=effect, fix=f"loginctl enable-linger {user or '$USER'}")


def docker_host() -> Finding | None:
    """Check whether DOCKER_HOST suggests something that casemate does not do."""
    value = os.environ.get("DOCKER_HOST", "")
    if not value:
        return None
    effect = "casemate ignores it: containers run here, not there"
    return Finding(
        "DOCKER_HOST", WARN, value, effect=effect, fix="unset DOCKER_HOST, or use docker for that host"
    )
