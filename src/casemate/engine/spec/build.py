"""From the record of a container to the OCI runtime specification that the runtime compiles.

Pure: reads nothing, asks nobody.
"""

from __future__ import annotations

from casemate.engine.spec.confine import process_capabilities, seccomp_profile
from casemate.engine.spec.devices import device_nodes, device_rules
from casemate.engine.spec.limits import build_resources, build_rlimits, clamp_rlimits
from casemate.engine.spec.mounts import oci_mount
from casemate.engine.spec.process import build_env
from casemate.errors import Invalid
from casemate.runtime import default_profile as sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from casemate.engine.options import ContainerOptions
    from casemate.engine.spec.confine import Confinement
    from casemate.engine.spec.users import User
    from casemate.kernel.userns import IdMap

OCI_VERSION = "1.2.0"
_PLAIN_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-/")
_PLAIN_VALUE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.,/ \t-")
_IPC_SYSCTLS = (
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
)


class Surroundings:
    """What the host lets us do, gathered by ``start``.

    The inputs of ``build_spec`` that are not the container's own.
    """

    __slots__ = ("all_capabilities", "hard_limits", "id_map", "is_rootless", "namespaces", "stored_base")

    def __init__(
        self,
        *,
        id_map: IdMap | None,
        is_rootless: bool,
        all_capabilities: Sequence[str],
        hard_limits: Mapping[str, int],
        stored_base: int | None,
        namespaces: Sequence[str] = sealed.NAMESPACES,
    ) -> None:
        self.id_map = id_map
        self.is_rootless = is_rootless
        self.all_capabilities = all_capabilities
        self.hard_limits = hard_limits
        self.stored_base = stored_base
        self.namespaces = namespaces


def build_spec(
    record: Mapping[str, Any],
    options: ContainerOptions,
    *,
    wall: Confinement,
    user: User,
    around: Surroundings,
    etc_mounts: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """OCI config.json of one container.

    Raises: Invalid for a user outside the id range, a sysctl that is not namespaced, a limit that cannot be
    given.
    """
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "hostname": record["hostname"],
        "process": {
            "terminal": options.tty,
            "args": record["argv"],
            **_process_identity(record, wall, user, around),
            "rlimits": _rlimits(options, around),
            "oomScoreAdj": _oom_score(options),
        },
        "root": {"path": "rootfs", "readonly": options.read_only},
        "mounts": [*_system_mounts(options, wall), *etc_mounts, *_user_mounts(record, around)],
        "linux": _linux(options, wall, around, seccomp=record.get("seccomp")),
        "annotations": dict(options.annotations),
    }
    if options.domainname:
        spec["domainname"] = options.domainname
    return spec


def _process_identity(
    record: Mapping[str, Any], wall: Confinement, user: User, around: Surroundings
) -> dict[str, Any]:
    """The part of a process that start and exec share: user, environment, capabilities, no_new_privs."""
    check_user(user, around.id_map)
    asked = [name for name in record.get("cap_add", ()) if name in around.all_capabilities]
    return {
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "env": build_env(
            record["image"]["env"],
            given=record["env"],
            hostname=record["hostname"],
            tty=record["tty"],
            home=user.home,
        ),
        "cwd": record["cwd"],
        "capabilities": process_capabilities(wall, user.uid, asked=asked),
        "noNewPrivileges": wall.no_new_privileges,
    }


def check_user(user: User, id_map: IdMap | None) -> None:
    """Raise Invalid when an id of ``user`` does not exist inside the container's range."""
    if id_map is None:
        return
    for what, number, outside in (
        ("uid", user.uid, id_map.host_uid(user.uid)),
        ("gid", user.gid, id_map.host_gid(user.gid)),
        *(("gid", gid, id_map.host_gid(gid)) for gid in user.groups),
    ):
        if outside is None:
            raise Invalid(
                "use user",
                f"{what} {number}",
                "it is outside the container's range of ids",
                hint="give the user more subordinate ids in /etc/subuid and /etc/subgid, or use a smaller id",
            )


def _rlimits(options: ContainerOptions, around: Surroundings) -> list[dict[str, Any]]:
    rules = build_rlimits(options.ulimits, sealed.RLIMITS)
    asked = [f"RLIMIT_{name.upper().removeprefix('RLIMIT_')}" for name in options.ulimits]
    return clamp_rlimits(rules, around.hard_limits, asked)


def _oom_score(options: ContainerOptions) -> int:
    if options.oom_score_adj is None:
        return sealed.OOM_SCORE_ADJ
    if not -1000 <= options.oom_score_adj <= 1000:  # noqa: PLR2004 - the kernel's range
        raise Invalid("set oom_score_adj", options.oom_score_adj, "the range is -1000 to 1000")
    return options.oom_score_adj


def _system_mounts(options: ContainerOptions, wall: Confinement) -> list[dict[str, Any]]:
    """The profile's mounts, with the shm size asked for, and without those that the user's own mounts replace."""
    replaced = {mount.target for mount in options.mounts} | {entry.target for entry in options.tmpfs}
    mounts = []
    for mount in sealed.MOUNTS:
        if mount["destination"] in replaced:
            continue
        changed = dict(mount)
        if mount["destination"] == "/dev/shm" and options.shm_size_bytes:  # noqa: S108 - the container's own
            words = [word for word in mount["options"] if not word.startswith("size=")]
            changed["options"] = [*words, f"size={options.shm_size_bytes}"]
        if mount["destination"] == "/sys" and options.network == "host" and wall.own_user_namespace:
            # sysfs can only be mounted by the owner of the network namespace.
            changed = {"destination": "/sys", "type": "bind", "source": "/sys"}
            changed["options"] = ["rbind", "nosuid", "noexec", "nodev", "ro", "rprivate"]
        if wall.privileged and mount["destination"] in {"/sys", "/sys/fs/cgroup"}:
            changed["options"] = [word for word in changed["options"] if word != "ro"]
        mounts.append(changed)
    return mounts


def _user_mounts(record: Mapping[str, Any], around: Surroundings) -> list[dict[str, Any]]:
    base = around.id_map.host_uid(0) if around.id_map and not around.is_rootless else None
    return [oci_mount(mount, base=base, stored_base=around.stored_base) for mount in record["mounts"]]


def _linux(
    options: ContainerOptions, wall: Confinement, around: Surroundings, *, seccomp: str | None
) -> dict[str, Any]:
    kinds = [kind for kind in sealed.NAMESPACES if kind in around.namespaces]
    if around.id_map is None:
        kinds.remove("user")
    if options.network == "host":
        kinds.remove("network")
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in kinds],
        "resources": build_resources(
            options, device_rules=device_rules(options.devices, privileged=wall.privileged)
        ),
        "maskedPaths": sealed.masked_paths() if wall.mask_paths else [],
        "readonlyPaths": list(sealed.READONLY_PATHS) if wall.mask_paths else [],
        "sysctl": _sysctls(options, wall, around),
        "devices": device_nodes(options.devices),
    }
    if around.id_map is not None:
        for key, ranges in (("uidMappings", around.id_map.uids), ("gidMappings", around.id_map.gids)):
            linux[key] = [
                {"containerID": entry.inside, "hostID": entry.outside, "size": entry.count}
                for entry in ranges
            ]
    profile = seccomp_profile(wall, seccomp)
    if profile is not None:
        linux["seccomp"] = profile
    return linux


def _sysctls(options: ContainerOptions, wall: Confinement, around: Surroundings) -> dict[str, str]:
    """The profile's and the user's.

    Only names of the container's own namespaces, values without tricks (CVE-2022-0811).
    """
    found = {}
    if "nested" not in wall.relax and not wall.privileged and around.id_map is not None:
        found = dict(sealed.SYSCTLS)
        if "CAP_SYS_ADMIN" in wall.capabilities:  # it was asked for, and is of little use without the others
            found = {name: found[name] for name in ("user.max_user_namespaces",)}
    if options.network != "host":
        found.update(sealed.NETWORK_SYSCTLS)
        if around.id_map is not None:
            found["net.ipv4.ping_group_range"] = _groups(around.id_map)
    for name, value in options.sysctls.items():
        plain = name.replace("/", ".")
        own = (
            plain in _IPC_SYSCTLS
            or plain.startswith("fs.mqueue.")
            or (plain.startswith("net.") and options.network != "host")
        )
        if not own or not _PLAIN_NAME.issuperset(plain) or ".." in plain:
            raise Invalid("set sysctl", repr(name), "it does not belong to the container's own namespaces")
        if not value or not _PLAIN_VALUE.issuperset(value):
            raise Invalid("set sysctl", name, "the value may hold letters, digits and ., / - only")
        found[plain] = value
    return found


def _groups(id_map: IdMap) -> str:
    """The first and last of the groups that are mapped without a gap: the kernel takes no others for ping."""
    ordered = sorted(id_map.gids, key=lambda entry: entry.inside)
    first, end = ordered[0].inside, ordered[0].inside
    for entry in ordered:
        if entry.inside != end:
            break
        end = entry.inside + entry.count
    return f"{first} {max(first, min(end - 1, 65535))}"


def exec_process(
    record: Mapping[str, Any], *, wall: Confinement, user: User, around: Surroundings, tty: bool
) -> dict[str, Any]:
    """OCI process of a program that is run in a container later: the same identity rules, the same wall.

    ``record`` is the container's, with ``argv``, ``env`` and ``cwd`` replaced by what was asked for.
    """
    return {"terminal": tty, "args": record["argv"], **_process_identity(record, wall, user, around)}
