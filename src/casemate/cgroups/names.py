"""Names of control groups: the three forms of ``linux.cgroupsPath``, validated down to plain path components.

Names come from users, image tools and other engines. What leaves this module is a tuple of components that
are safe to join below a hierarchy: no ``..``, no separator, no control character, nothing that the kernel
itself uses.
Source: runtime-spec config-linux.md "Cgroups Path"; systemd.slice(5) for the nesting of slices.
"""

from __future__ import annotations

from casemate.errors import Invalid

MAX_COMPONENT_BYTES = 255
MAX_DEPTH = 32

#: Parent of everything the engine itself makes; removed again with its last child.
OWN_PARENT = "casemate"


class CgroupPath:
    """A validated path below what the caller may use; ``absolute`` says that it was written with a slash."""

    __slots__ = ("absolute", "parts")

    def __init__(self, parts: tuple[str, ...], *, absolute: bool) -> None:
        self.parts = parts
        self.absolute = absolute

    @property
    def is_own(self) -> bool:
        """Whether it lies below the engine's own parent."""
        return len(self.parts) > 1 and self.parts[0] == OWN_PARENT

    def __str__(self) -> str:
        return ("/" if self.absolute else "") + "/".join(self.parts)


def parse_path(path: str, *, default_slice: str = "system.slice") -> CgroupPath:
    """``/a/b``, ``a/b`` or systemd's ``slice:prefix:name``, as components.

    Raises: Invalid for anything that could name another place than it seems to.
    """
    if path.count(":") == 2 and "/" not in path:  # noqa: PLR2004 - slice:prefix:name
        return CgroupPath(_systemd_parts(path, default_slice), absolute=True)
    parts = tuple(part for part in path.split("/") if part)
    if not parts:
        raise Invalid("use cgroup path", repr(path), "it names no group")
    if len(parts) > MAX_DEPTH:
        raise Invalid("use cgroup path", repr(path), f"it is more than {MAX_DEPTH} groups deep")
    for part in parts:
        check_component(part, path)
    return CgroupPath(parts, absolute=path.startswith("/"))


def check_component(name: str, whole: str) -> None:
    """Nothing, when ``name`` can be a directory of a cgroup hierarchy.

    Raises: Invalid.
    """
    why = ""
    if name in ("", ".", ".."):
        why = f"{name!r} is not a name"
    elif "/" in name:
        why = "a name cannot hold a slash"
    elif not name.isprintable():  # newline: /proc/PID/cgroup could not be parsed any more
        why = "it holds a control character"
    elif name.startswith("cgroup."):
        why = "names that start with 'cgroup.' belong to the kernel"
    elif len(_bytes(name, whole)) > MAX_COMPONENT_BYTES:
        why = f"a name is longer than {MAX_COMPONENT_BYTES} bytes"
    if why:
        raise Invalid("use cgroup path", repr(whole), why)


def _bytes(name: str, whole: str) -> bytes:
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise Invalid("use cgroup path", repr(whole), "it is not UTF-8") from None


def _systemd_parts(path: str, default_slice: str) -> tuple[str, ...]:
    slice_name, prefix, name = path.split(":")
    for part in (slice_name, prefix, name):
        if part:
            check_component(part, path)
    if not name:
        raise Invalid("use cgroup path", repr(path), "the unit has no name")
    unit = name
    if not name.endswith(".slice"):
        unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    check_component(unit, path)
    return (*expand_slice(slice_name or default_slice, path), unit)


def expand_slice(slice_name: str, whole: str) -> tuple[str, ...]:
    """The nested directories of a slice: ``a-b.slice`` lies in ``a.slice``; ``-.slice`` is the root itself.

    Raises: Invalid for a name that systemd would not accept.
    Source: systemd.slice(5).
    """
    if slice_name == "-.slice":
        return ()
    stem = slice_name.removesuffix(".slice")
    steps = stem.split("-")
    if stem == slice_name or not all(steps):
        raise Invalid("use cgroup path", repr(whole), f"{slice_name!r} is not the name of a slice")
    return tuple("-".join(steps[: i + 1]) + ".slice" for i in range(len(steps)))
