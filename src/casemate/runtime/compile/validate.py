"""What the specification offers and this runtime does not do is refused by name, before anything is made."""

from __future__ import annotations

from casemate.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OTHER_SYSTEMS = ("windows", "solaris", "vm", "zos", "freebsd")
PRIORITIES = ("scheduler", "ioPriority", "execCPUAffinity")
_LABELS = ("apparmorProfile", "selinuxLabel")


def check(spec: Any) -> None:
    """Return for a config.json that is well formed and can be met. Raises: Invalid with all its faults, Unsupported."""
    from casemate.runtime.schema.check import check_config

    if isinstance(spec, dict):
        _refuse_strangers(spec)
    check_config(spec)
    refuse(spec)


def refuse(spec: dict[str, Any]) -> None:
    """Raise Unsupported for a request of a well-formed spec that cannot be met."""
    _refuse_strangers(spec)
    linux = spec.get("linux") or {}
    if linux.get("intelRdt"):
        _refuse_resctrl()
    if spec.get("hooks"):
        from casemate.runtime.compile.hooks import check as check_hooks

        check_hooks(spec)
    if linux.get("netDevices"):
        from casemate.runtime.net_devices import refuse as refuse_net_devices

        refuse_net_devices(linux["netDevices"])
    if linux.get("memoryPolicy") or linux.get("personality"):
        from casemate.runtime.compile.scheduling import refuse_linux

        refuse_linux(linux)
    refuse_process(spec.get("process") or {}, linux)


def refuse_process(process: dict[str, Any], linux: dict[str, Any]) -> None:
    """The same for the program of a container, the first one or a later one."""
    if any(process.get(name) for name in PRIORITIES):
        from casemate.runtime.compile.scheduling import refuse_priorities

        refuse_priorities(process, linux.get("resources") or {})
    if linux.get("mountLabel") or any(process.get(name) for name in _LABELS):
        from casemate.runtime.compile.labels import refuse as refuse_labels

        refuse_labels(process, linux)


def _refuse_resctrl() -> None:
    """The specification: without a mounted resctrl, intelRdt is an error; with one we still do not manage it, and say so."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounted = any(" - resctrl " in line for line in file)
    why = "resctrl is not managed" if mounted else "no resctrl file system is mounted"
    raise Unsupported("prepare container", "linux.intelRdt", why)


def _refuse_strangers(spec: dict[str, Any]) -> None:
    """Raise Unsupported for another major version of the specification, or another system's container."""
    version = spec.get("ociVersion")
    if isinstance(version, str) and version[:1].isdigit() and not version.startswith("1."):
        raise Unsupported("read config.json", f"ociVersion {version}", "only 1.x is known")
    for name in _OTHER_SYSTEMS:
        if spec.get(name):
            raise Unsupported("read config.json", name, "this is a runtime for Linux containers")
