"""What the specification offers and this runtime does not do is refused by name, before anything is made."""

from __future__ import annotations

from casemate.errors import Invalid, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OTHER_SYSTEMS = ("windows", "solaris", "vm", "zos")
_NOT_DONE = (
    ("intelRdt", "resctrl is not managed"),
    ("personality", "execution domains are not changed"),
)


def check(spec: dict[str, Any]) -> None:
    """Raise Invalid for a spec that is not one, Unsupported for a request that cannot be met."""
    if not isinstance(spec, dict) or not isinstance(spec.get("ociVersion"), str):
        raise Invalid("read config.json", "ociVersion", "it is missing")
    if not spec["ociVersion"].startswith("1."):
        raise Unsupported("read config.json", f"ociVersion {spec['ociVersion']}", "only 1.x is known")
    for name in _OTHER_SYSTEMS:
        if spec.get(name):
            raise Unsupported("read config.json", name, "this is a runtime for Linux containers")
    _check_types(spec)
    linux = spec.get("linux") or {}
    for name, why in _NOT_DONE:
        if linux.get(name):
            raise Unsupported("prepare container", f"linux.{name}", why)
    if (spec.get("hooks") or {}).get("createContainer"):
        raise Unsupported(
            "prepare container",
            "hooks.createContainer",
            "its program would be looked up in the container's root",
            hint="createRuntime and startContainer hooks are run",
        )
    process = spec.get("process") or {}
    for name in ("scheduler", "ioPriority", "execCPUAffinity"):
        if process.get(name):
            raise Unsupported("prepare container", f"process.{name}", "it is not applied")


def _check_types(spec: dict[str, Any]) -> None:
    shapes: tuple[tuple[dict[str, Any], str, type], ...] = (
        (spec, "process", dict),
        (spec, "root", dict),
        (spec, "mounts", list),
        (spec, "hooks", dict),
        (spec, "annotations", dict),
        (spec, "linux", dict),
    )
    for holder, name, kind in shapes:
        if holder.get(name) is not None and not isinstance(holder[name], kind):
            raise Invalid("read config.json", name, f"it is not a {'list' if kind is list else 'object'}")
    linux = spec.get("linux") or {}
    for name, kind in (
        ("namespaces", list),
        ("maskedPaths", list),
        ("readonlyPaths", list),
        ("devices", list),
        ("sysctl", dict),
        ("seccomp", dict),
        ("resources", dict),
    ):
        if linux.get(name) is not None and not isinstance(linux[name], kind):
            raise Invalid(
                "read config.json", f"linux.{name}", f"it is not a {'list' if kind is list else 'object'}"
            )
