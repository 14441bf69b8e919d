"""What the specification offers and this runtime does not do is refused by name, before anything is made."""

from __future__ import annotations

from casemate.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OTHER_SYSTEMS = ("windows", "solaris", "vm", "zos", "freebsd")
_NOT_DONE = (
    ("intelRdt", "resctrl is not managed"),
    ("personality", "execution domains are not changed"),
)


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
    for name, why in _NOT_DONE:
        if linux.get(name):
            raise Unsupported("prepare container", f"linux.{name}", why)
    if spec.get("hooks"):
        from casemate.runtime.compile.hooks import check as check_hooks

        check_hooks(spec)
    process = spec.get("process") or {}
    for name in ("scheduler", "ioPriority", "execCPUAffinity"):
        if process.get(name):
            raise Unsupported("prepare container", f"process.{name}", "it is not applied")


def _refuse_strangers(spec: dict[str, Any]) -> None:
    """Raise Unsupported for another major version of the specification, or another system's container."""
    version = spec.get("ociVersion")
    if isinstance(version, str) and version[:1].isdigit() and not version.startswith("1."):
        raise Unsupported("read config.json", f"ociVersion {version}", "only 1.x is known")
    for name in _OTHER_SYSTEMS:
        if spec.get(name):
            raise Unsupported("read config.json", name, "this is a runtime for Linux containers")
