"""Host devices given to a container: nodes and access rules."""

from __future__ import annotations

import os
import stat

from casemate.errors import Invalid
from casemate.runtime.default_profile import DEVICE_RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any


def _parse(text: str) -> tuple[str, str, str]:
    """(host path, container path, access) of ``/dev/x[:/dev/y][:rwm]``. Raises: Invalid."""
    parts = text.split(":")
    source, target, access = parts[0], parts[0], "rwm"
    if len(parts) > 1 and set(parts[-1]) <= set("rwm") and parts[-1]:
        access = parts.pop()
    if len(parts) == 2:  # noqa: PLR2004 - source and target
        target = parts[1]
    if len(parts) > 2 or not source.startswith("/dev/") or not target.startswith("/dev/"):  # noqa: PLR2004
        raise Invalid("add device", repr(text), "expected /dev/name[:/dev/name][:rwm]")
    return os.path.normpath(source), os.path.normpath(target), access


def _found(devices: Sequence[str]) -> Iterator[tuple[str, str, os.stat_result]]:
    for text in devices:
        source, target, access = _parse(text)
        try:
            status = os.stat(source)
        except OSError as error:
            raise Invalid("add device", source, error.strerror or error) from None
        if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            raise Invalid("add device", source, "not a device node")
        yield target, access, status


def device_nodes(devices: Sequence[str]) -> list[dict[str, Any]]:
    """OCI ``linux.devices``. Raises: Invalid for what is not a device of the host."""
    return [
        {
            "path": target,
            "type": "b" if stat.S_ISBLK(status.st_mode) else "c",
            "major": os.major(status.st_rdev),
            "minor": os.minor(status.st_rdev),
            "fileMode": stat.S_IMODE(status.st_mode),
        }
        for target, _, status in _found(devices)
    ]


def device_rules(devices: Sequence[str], *, privileged: bool) -> list[dict[str, Any]]:
    """OCI ``linux.resources.devices``: the profile's list and the devices asked for; privileged.

    Everything.
    """
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    return [
        *DEVICE_RULES,
        *(
            {
                "allow": True,
                "type": "b" if stat.S_ISBLK(status.st_mode) else "c",
                "major": os.major(status.st_rdev),
                "minor": os.minor(status.st_rdev),
                "access": access,
            }
            for _, access, status in _found(devices)
        ),
    ]
