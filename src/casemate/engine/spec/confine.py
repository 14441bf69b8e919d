"""The wall of a container: the sealed profile, and every change to it by name.

``confinement`` is pure. Whatever widens the default is listed in ``Confinement.relaxed``, which is stored
with the container and shown
by ``inspect``; nothing widens it silently, and an image cannot widen it at all.
"""

from __future__ import annotations

from casemate.errors import Invalid
from casemate.runtime.default_profile import ROOT_CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from casemate.engine.options import ContainerOptions

MAX_PROFILE_BYTES = 4 << 20


class Confinement:
    """Capabilities, seccomp and the switches of one container's wall."""

    __slots__ = (
        "capabilities",
        "landlock",
        "mask_paths",
        "no_new_privileges",
        "notes",
        "own_user_namespace",
        "privileged",
        "relax",
        "relaxed",
        "seccomp_file",
        "seccomp_unconfined",
    )
    capabilities: tuple[str, ...]
    """What root inside may hold; a non-root user holds what was added by name only."""
    notes: tuple[str, ...]
    """What was asked for and has no effect, in words for the user."""
    relax: tuple[str, ...]
    """Relaxations for the seccomp profile."""
    relaxed: tuple[str, ...]
    """Every widening of the default wall, as the user asked for it."""

    def __init__(self) -> None:
        self.capabilities = ROOT_CAPABILITIES
        self.landlock = True
        self.mask_paths = True
        self.no_new_privileges = True
        self.notes = ()
        self.own_user_namespace = True
        self.privileged = False
        self.relax = ()
        self.relaxed = ()
        self.seccomp_file = ""
        self.seccomp_unconfined = False


def confinement(options: ContainerOptions, *, all_capabilities: Sequence[str]) -> Confinement:
    """The wall that ``options`` ask for.

    ``all_capabilities``: the kernel's names. Raises: Invalid for an unknown word.
    """
    wall = Confinement()
    if options.privileged:
        _open_everything(wall, all_capabilities)
    _apply_relaxations(wall, options.relax)
    _apply_security_options(wall, options.security_opt)
    _apply_capabilities(wall, options.cap_add, options.cap_drop, all_capabilities)
    if options.userns == "host":
        wall.own_user_namespace = False
        wall.relaxed += ("userns=host",)
    elif options.userns not in {"auto", "keep-id", "private", ""}:
        raise Invalid(
            "use user namespace", repr(options.userns), "unknown mode", hint="auto, host or keep-id"
        )
    if options.network == "host":
        wall.relaxed += ("network=host",)
    wall.relaxed += tuple(f"device={device}" for device in options.devices)
    wall.relaxed = tuple(dict.fromkeys(wall.relaxed))
    return wall


def _open_everything(wall: Confinement, all_capabilities: Sequence[str]) -> None:
    wall.privileged = True
    wall.capabilities = tuple(all_capabilities)
    wall.seccomp_unconfined = True
    wall.landlock = wall.mask_paths = wall.no_new_privileges = False
    wall.relaxed += ("privileged",)


def _apply_relaxations(wall: Confinement, names: Sequence[str]) -> None:
    if not names:
        return
    from casemate.engine.spec.relaxations import FILTER, chosen

    for word, row in chosen(names):
        for switch in row.switches:
            setattr(wall, switch, False)
        if FILTER in row.changes:
            wall.relax += (word,)
        wall.relaxed += (f"relax={word}",)


def _apply_security_options(wall: Confinement, words: Sequence[str]) -> None:
    for word in words:
        key, separator, value = word.partition("=" if "=" in word else ":")
        if key == "seccomp":
            _choose_seccomp(wall, value)
        elif key == "no-new-privileges" and (not separator or value in {"true", "1", "false", "0"}):
            if value in {"false", "0"}:
                wall.no_new_privileges = False
                wall.relaxed += ("no-new-privileges=false",)
        elif key == "systempaths" and value == "unconfined":
            wall.mask_paths = wall.landlock = False
            wall.relaxed += ("systempaths=unconfined",)
        elif key == "apparmor":
            wall.notes += (f"apparmor={value}: AppArmor profiles are not applied; Landlock and seccomp are",)
        elif key == "label":
            wall.notes += (f"label={value}: SELinux labels are not applied",)
        else:
            hint = "known: seccomp, no-new-privileges, systempaths, apparmor, label"
            raise Invalid("use security option", repr(word), "unknown", hint=hint)


def _choose_seccomp(wall: Confinement, value: str) -> None:
    if value == "unconfined":
        wall.seccomp_unconfined = True
    elif value in {"", "builtin", "default"}:
        return
    else:
        wall.seccomp_file = value
    wall.relaxed += (f"seccomp={value}",)


def _apply_capabilities(
    wall: Confinement, add: Sequence[str], drop: Sequence[str], all_capabilities: Sequence[str]
) -> None:
    added, dropped = (_names(words, all_capabilities) for words in (add, drop))
    if "ALL" in map(str.upper, drop):
        kept = [*added] if "ALL" not in map(str.upper, add) else list(all_capabilities)
    else:
        kept = [name for name in wall.capabilities if name not in dropped]
        kept += [name for name in added if name not in kept]
        if "ALL" in map(str.upper, add):
            kept = [name for name in kept if name not in dropped]
    wall.capabilities = tuple(kept)
    wall.relaxed += tuple(
        f"cap-add={name}" for name in added if name not in ROOT_CAPABILITIES and name in kept
    )


def _names(words: Sequence[str], all_capabilities: Sequence[str]) -> list[str]:
    found: list[str] = []
    for word in words:
        upper = word.upper()
        if upper == "ALL":
            found.extend(all_capabilities)
            continue
        name = upper if upper.startswith("CAP_") else f"CAP_{upper}"
        if name not in all_capabilities:
            raise Invalid("change capabilities", repr(word), "this kernel has no such capability")
        found.append(name)
    return list(dict.fromkeys(found))


def process_capabilities(wall: Confinement, uid: int, *, asked: Sequence[str]) -> dict[str, list[str]]:
    """OCI ``process.capabilities``. Root: the wall's. Anybody else.

    Nothing but what ``asked`` (--cap-add) names, as ambient too.

    With the relaxation ``suid`` a non-root user keeps the wall's set in the bounding set, so that sudo and su
    work.
    """
    if uid == 0:
        kept = list(wall.capabilities)
        return {"bounding": kept, "effective": kept, "permitted": kept, "inheritable": [], "ambient": []}
    given = [name for name in asked if name in wall.capabilities]
    bounding = list(wall.capabilities) if not wall.no_new_privileges else given
    return {
        "bounding": bounding,
        "effective": given,
        "permitted": given,
        "inheritable": given,
        "ambient": given,
    }


def asked_capabilities(options: ContainerOptions, all_capabilities: Sequence[str]) -> list[str]:
    """Canonical names of what --cap-add lists."""
    return _names(options.cap_add, all_capabilities)


def seccomp_profile(wall: Confinement, text: str | None = None) -> dict[str, Any] | None:
    """OCI ``linux.seccomp``: the default with the relaxations, the user's profile, or None (unconfined).

    ``text``: what the user's file held when the container was created. Raises: Invalid.
    """
    if wall.seccomp_file:
        return _parse_profile(wall, read_profile(wall) if text is None else text)
    if wall.seccomp_unconfined:
        return None
    from casemate.runtime.default_profile import default_seccomp

    return default_seccomp(wall.capabilities, wall.relax)


def read_profile(wall: Confinement) -> str:
    """The text of the user's seccomp profile, after a look at what it says. Raises: Invalid."""
    path = wall.seccomp_file
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_PROFILE_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Invalid("read seccomp profile", path, why or error) from None
    _parse_profile(wall, text)
    return text


def _parse_profile(wall: Confinement, text: str) -> dict[str, Any]:
    from casemate.engine.spec.docker_seccomp import to_oci
    from casemate.oci.strict_json import loads_object

    profile: dict[str, Any] = loads_object(text.encode(), what=wall.seccomp_file)
    if "defaultAction" not in profile:
        raise Invalid("read seccomp profile", wall.seccomp_file, "defaultAction is missing")
    return to_oci(profile, wall.capabilities)
