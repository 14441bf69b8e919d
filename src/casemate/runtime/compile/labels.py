"""The AppArmor profile or SELinux label of the program: written for the exec to come, or refused where there is none.

Imported only when a spec names one.
Source: config.md, "Linux process"; apparmor(7), selinux(8): /proc/thread-self/attr.
"""

from __future__ import annotations

import os

from casemate.errors import Unsupported
from casemate.kernel.const.magic import PROC_SUPER_MAGIC
from casemate.runtime.compile.build import RESOLVE_NO_XDEV

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.compile.build import Build

_APPARMOR = ("/sys/kernel/security/apparmor", "/proc/self/attr/apparmor")
_SELINUX = "/sys/fs/selinux"
_UNCONFINED = "unconfined"


def refuse(process: dict[str, Any], linux: dict[str, Any]) -> None:
    """Raise Unsupported for a label that nobody on this host would enforce."""
    profile = process.get("apparmorProfile")
    if profile and profile != _UNCONFINED and not any(os.path.isdir(path) for path in _APPARMOR):
        raise Unsupported("apply process.apparmorProfile", profile, "AppArmor is not active on this host")
    for doing, label in (
        ("apply process.selinuxLabel", process.get("selinuxLabel")),
        ("apply linux.mountLabel", linux.get("mountLabel")),
    ):
        if label and not os.path.isdir(_SELINUX):
            raise Unsupported(doing, label, "SELinux is not active on this host")


def add_labels(build: Build) -> None:
    """Compile the profile or label that exec will switch to."""
    profile, label = build.process.get("apparmorProfile"), build.process.get("selinuxLabel")
    if profile and profile != _UNCONFINED:
        _write_attribute(build, "thread-self/attr/apparmor/exec", f"exec {profile}", profile)
    if label:
        _write_attribute(build, "thread-self/attr/exec", label, label)


def _write_attribute(build: Build, path: str, text: str, subject: str) -> None:
    """Write below a procfs of ours, or the container's after its type was verified; mounts on top are not followed."""
    proc = build.proc
    if proc < 0:
        proc = build.target("/proc", 0, meaning="open the container's procfs")
        build.inside("EXPECT_FS", proc, PROC_SUPER_MAGIC, meaning="verify the container's procfs")
    meaning = f"apply the security label {subject}"
    build.inside("WRITE_FILE", proc, path, text.encode(), RESOLVE_NO_XDEV, PROC_SUPER_MAGIC, meaning=meaning)
