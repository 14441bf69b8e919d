"""Checks of who the user is: subordinate ids, their helpers, capabilities."""

from __future__ import annotations

import os
import stat

from casemate.cli.doctor.finding import OK, WARN, Finding

FULL_RANGE = 65536
# what root may lack in a sandbox or virtual machine, and what is lost then
LOST = {
    "CAP_SYS_ADMIN": "containers cannot start",
    "CAP_SYS_RESOURCE": "hard limits (--ulimit) above our own and a lower --oom-score-adj are refused",
    "CAP_SETUID": "containers cannot have ids of their own",
    "CAP_SETGID": "containers cannot have ids of their own",
    "CAP_CHOWN": "layers cannot be given their owners",
    "CAP_DAC_OVERRIDE": "layers of other owners cannot be read",
    "CAP_MKNOD": "devices cannot be given to containers",
    "CAP_NET_ADMIN": "networks cannot be set up",
}


def subordinate_ids() -> Finding | None:
    """Check that an ordinary user has enough ids for a container."""
    if os.geteuid() == 0:
        return None
    from casemate.kernel.userns import own_subid_ranges  # ctypes

    uids, gids = own_subid_ranges()
    count = min(sum(range_[1] for range_ in uids), sum(range_[1] for range_ in gids))
    if count >= FULL_RANGE:
        return Finding("subordinate ids", OK, f"{count}")
    user = os.environ.get("USER", "$USER")
    fix = f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
    effect = "files of an image that belong to other users cannot be shown with their owners"
    return Finding(
        "subordinate ids", WARN, f"{count} (a container wants {FULL_RANGE})", effect=effect, fix=fix
    )


def id_map_helpers() -> Finding | None:
    """Check that newuidmap and newgidmap are there and privileged."""
    if os.geteuid() == 0:
        return None
    for name in ("newuidmap", "newgidmap"):
        path = next(
            (
                f"{place}/{name}"
                for place in ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin")
                if os.path.exists(f"{place}/{name}")
            ),
            "",
        )
        if not path:
            return Finding(
                name,
                WARN,
                "missing",
                effect="a container has one user id only",
                fix="sudo apt install uidmap",
            )
        if not os.stat(path).st_mode & stat.S_ISUID and not _has_file_capability(path):
            return Finding(
                name,
                WARN,
                f"{path} is not privileged",
                effect="a container has one user id only",
                fix=f"sudo chmod u+s {path}",
            )
    return Finding("newuidmap", OK, "newuidmap and newgidmap")


def _has_file_capability(path: str) -> bool:
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False


def root_capabilities() -> Finding | None:
    """Check that root is really root: sandboxes and virtual machines take capabilities away."""
    if os.geteuid() != 0:
        return None
    from casemate.kernel.capabilities import to_names  # ctypes
    from casemate.kernel.procfs import capability_sets

    sets = capability_sets()
    held = to_names(sets.get("bounding", 0) & sets.get("effective", 0))
    missing = [name for name in LOST if name not in held]
    if not missing:
        return Finding("capabilities", OK, "root has every one that is used")
    fatal = "CAP_SYS_ADMIN" in missing
    effect = "; ".join(LOST[name] for name in missing)
    fix = "start casemate outside the sandbox that took them away (this system's supervisor decides)"
    return Finding(
        "capabilities", "fail" if fatal else WARN, f"missing: {', '.join(missing)}", effect=effect, fix=fix
    )
