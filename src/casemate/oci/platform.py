"""Platforms: ``os/architecture[/variant]`` with the synonyms that people and kernels use.

Source: OCI image-spec, "Image Index" (platform); github.com/containerd/platforms (normalisation and ranking).
"""

from __future__ import annotations

import os

from casemate.errors import Invalid
from casemate.oci.quoting import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "x86": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "ppc64el": ("ppc64le", ""),
}
_SYSTEMS = {"macos": "darwin"}
_RUNS_OLDER = {"amd64": ("v4", "v3", "v2", ""), "arm": ("v8", "v7", "v6", "v5")}
_PART = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
_MAX_PART = 32
_MAX_PARTS = 3


class Platform:
    """A platform in normal form: ``amd64`` not ``x86_64``, ``arm64`` without a variant, ``arm`` with one."""

    __slots__ = ("architecture", "os", "variant")

    def __init__(self, system: str, architecture: str, variant: str = "") -> None:
        system, architecture, variant = system.lower(), architecture.lower(), variant.lower()
        known = _ARCHITECTURES.get(architecture)
        if known is not None:
            architecture, variant = known[0], variant or known[1]
        if variant and variant[0].isdigit():
            variant = "v" + variant
        if (architecture, variant) in {("arm64", "v8"), ("amd64", "v1")}:
            variant = ""
        elif architecture == "arm" and not variant:
            variant = "v7"
        self.os = _SYSTEMS.get(system, system)
        self.architecture = architecture
        self.variant = variant

    def rank_of(self, offered: Platform) -> int | None:
        """Return how well ``offered`` suits a request for this: 0 is exact, more is worse, None not at all.

        A 32-bit ARM of version 7 runs v6 and v5; amd64/v3 runs v2 and v1. A newer variant than asked for
        never matches.
        """
        if (self.os, self.architecture) != (offered.os, offered.architecture):
            return None
        if self.variant == offered.variant:
            return 0
        order = _RUNS_OLDER.get(self.architecture)
        if order is None:
            # Whoever names no variant takes any of them, an unnamed one is taken for every variant.
            return 1 if not self.variant or not offered.variant else None
        if self.variant not in order or offered.variant not in order:
            return None
        steps = order.index(offered.variant) - order.index(self.variant)
        return steps if steps > 0 else None

    def to_json(self) -> dict[str, str]:
        """Return the ``platform`` object of a descriptor."""
        found = {"architecture": self.architecture, "os": self.os}
        if self.variant:
            found["variant"] = self.variant
        return found

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Platform) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __repr__(self) -> str:
        return f"Platform({str(self)!r})"


def host_platform() -> Platform:
    """Return the platform of the running kernel.

    amd64 is asked for without a variant, so that images for plain amd64 are taken and no CPU flag is guessed.
    """
    return Platform("linux", os.uname().machine)


def parse_platform(text: str) -> Platform:
    """Return the platform that a user wrote: ``linux/arm64``, ``arm64/v8``, ``amd64`` or ``linux``.

    Raises: Invalid.
    """
    parts = text.split("/")
    if len(parts) > _MAX_PARTS or not all(_is_part(part.lower()) for part in parts):
        raise Invalid("read platform", quoted(text), "not of the form os/architecture[/variant]")
    host = host_platform()
    if parts[0].lower() not in {"linux", "darwin", "macos", "windows", "freebsd", "wasi", "wasip1"}:
        parts.insert(0, "linux")
    if len(parts) == 1:
        parts.append(host.architecture)
    if len(parts) > _MAX_PARTS:
        raise Invalid("read platform", quoted(text), "unknown operating system")
    return Platform(*parts)


def platform_of(found: Mapping[str, object]) -> Platform | None:
    """Return the platform that a descriptor or an image config names; None when it names none."""
    system, architecture, variant = (found.get(key, "") for key in ("os", "architecture", "variant"))
    if not (isinstance(system, str) and isinstance(architecture, str) and isinstance(variant, str)):
        return None
    if not system or not architecture:
        return None
    return Platform(system, architecture, variant)


def _is_part(text: str) -> bool:
    return 0 < len(text) <= _MAX_PART and _PART.issuperset(text)
