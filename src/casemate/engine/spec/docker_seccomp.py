"""Docker's seccomp profile format, which says for which machine and capabilities each rule is, as plain OCI seccomp."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
_PROFILE_KEYS = ("defaultAction", "defaultErrnoRet", "flags", "listenerPath", "listenerMetadata")
_RULE_KEYS = ("names", "action", "errnoRet", "args")


def to_oci(profile: dict[str, Any], capabilities: Collection[str]) -> dict[str, Any]:
    """The OCI form for this machine and these capabilities; a profile that is OCI already comes out as it is.

    ``name`` (one call) becomes ``names``; rules whose ``includes`` do not hold, or whose ``excludes`` do, are left out.
    Source: moby, profiles/seccomp (Profile, Filter).
    """
    machine = os.uname().machine
    found: dict[str, Any] = {key: profile[key] for key in _PROFILE_KEYS if key in profile}
    native = _ARCHITECTURES.get(machine, "")
    found["architectures"] = profile.get("architectures") or [
        name
        for entry in profile.get("archMap") or ()
        if entry.get("architecture") == native
        for name in (native, *(entry.get("subArchitectures") or ()))
    ]
    if not found["architectures"]:
        del found["architectures"]
    rules = []
    for rule in profile.get("syscalls") or ():
        if _holds(rule.get("includes"), capabilities, machine, empty=True) and not _holds(
            rule.get("excludes"), capabilities, machine, empty=False
        ):
            kept = {key: rule[key] for key in _RULE_KEYS if rule.get(key) is not None}
            kept.setdefault("names", [rule["name"]] if "name" in rule else [])
            rules.append(kept)
    found["syscalls"] = rules
    return found


def _holds(
    condition: dict[str, Any] | None, capabilities: Collection[str], machine: str, *, empty: bool
) -> bool:
    """Includes need all of what they name, excludes any of it; the kernels we run on are newer than any minKernel in use."""
    if not condition:
        return empty
    answers = []
    if condition.get("arches"):
        answers.append(_GO_NAMES.get(machine, machine) in condition["arches"])
    if condition.get("caps"):
        answers.append((all if empty else any)(name in capabilities for name in condition["caps"]))
    if condition.get("minKernel"):
        answers.append(True)
    return all(answers) if empty else any(answers)
