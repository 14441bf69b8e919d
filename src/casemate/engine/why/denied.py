"""An error that the kernel gave to a call which the filter had let pass: by which rule of the container.

The call, its arguments and the answer are facts. Where the kernel has one answer for several rules, what is said here is the
likeliest, and marked as not certain.
"""

from __future__ import annotations

import errno
import os

from casemate.engine.spec.limits import DEFAULT_NOFILE, DEFAULT_PIDS
from casemate.engine.why import prices
from casemate.engine.why.calls import MOUNTING, capability_for
from casemate.engine.why.filtered import with_company
from casemate.engine.why.finding import Finding
from casemate.engine.why.scene import below, holds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from casemate.engine.why.scene import Scene

_SHM = "/dev/shm"  # noqa: S108 - the container's own
_NAMESPACE_CALLS = ("unshare", "clone", "clone3")


def because_of_rule(entry: dict[str, Any], scene: Scene, said: str) -> Finding | None:
    """The finding for a failed call; None when no rule of the container can be behind it."""
    judge = _JUDGES.get(entry["errno"])
    return judge(entry, scene, said) if judge is not None else None


def _not_permitted(entry: dict[str, Any], scene: Scene, said: str) -> Finding:
    """EPERM."""
    call = entry["call"]
    capability = capability_for(call, entry["args"], entry["shown"])
    path = entry["paths"][0] if entry["paths"] else ""
    if call in MOUNTING and holds(entry, "CAP_SYS_ADMIN") and scene.wall.landlock:
        return Finding(
            "landlock",
            f"{said}: a program in a Landlock domain changes no mounts",
            [prices.relaxed("landlock")],
        )
    if call in ("mknod", "mknodat") and holds(entry, "CAP_MKNOD") and not scene.wall.own_user_namespace:
        return _device(path, said)
    if capability:
        return _lacks(entry, scene, said, capability)
    if call.startswith("open") and below(path, "/dev"):
        return _device(path, said)
    if call == "execve":
        return Finding(
            "no-new-privileges",
            f"{said}: the file carries capabilities that this container cannot have",
            [("--cap-add NAME", "the capabilities that the file asks for: getcap FILE shows them")],
            certain=False,
        )
    return Finding("capability", f"{said}: EPERM, a right is missing", certain=False)


def _lacks(entry: dict[str, Any], scene: Scene, said: str, capability: str) -> Finding:
    """The program lacks the capability; or it has it, but not where the kernel looks."""
    own = scene.wall.own_user_namespace
    host = ("--userns host", prices.USERNS_HOST)
    if capability in prices.HOST_ONLY and own:
        what = f"{said}: the kernel asks for {capability} of the host's own root"
        way = with_company(scene, entry["call"], capability)
        if way is None:
            return Finding("user-namespace", f"{what}, which an ordinary user's container never has")
        return Finding("user-namespace", what, [host if capability in scene.wall.capabilities else way])
    if not holds(entry, capability):
        way = with_company(scene, entry["call"], capability)
        certain = capability not in ("CAP_FOWNER", "CAP_SYS_ADMIN", "CAP_CHOWN")
        what = f"{said}: the program does not have {capability}"
        return Finding("capability", what, [way] if way else [], certain=certain)
    return Finding(
        "user-namespace",
        f"{said}: the program has {capability}, but only over what belongs to its own user namespace",
        [host] if own and not scene.is_rootless else [],
        certain=False,
    )


def _device(path: str, said: str) -> Finding:
    return Finding(
        "device", f"{said}: the container was not given this device", [(f"--device {path}", prices.DEVICE)]
    )


def _no_access(entry: dict[str, Any], scene: Scene, said: str) -> Finding:
    """EACCES."""
    call = entry["call"]
    path = entry["paths"][0] if entry["paths"] else ""
    if call in ("mknod", "mknodat") and scene.wall.landlock:
        return Finding(
            "landlock",
            f"{said}: the Landlock domain makes no device nodes",
            [prices.relaxed("landlock")],
        )
    if call in ("bind", "socket"):
        capability = capability_for(call, entry["args"], entry["shown"])
        if capability:
            return _lacks(entry, scene, said, capability)
    if call.startswith("exec"):
        mount = scene.mount_of(path)
        if mount is not None and "noexec" in mount["options"]:
            return Finding(
                "noexec",
                f"{said}: nothing is executed from {mount['destination']}",
                [(f"--tmpfs {mount['destination']}:exec", "what is written there can be run")]
                if scene.is_users(mount["destination"])
                else [],
            )
        return Finding("permissions", f"{said}: the file is not executable for this user", certain=False)
    if call.startswith("open") and below(path, "/dev"):
        return _device(path, said)
    return _file_mode(entry, scene, said, path)


def _file_mode(entry: dict[str, Any], scene: Scene, said: str, path: str) -> Finding:
    if not path:
        return Finding("permissions", f"{said}: EACCES", certain=False)
    masked = scene.listed(path, "masked")
    if masked:
        return Finding("masked", f"{said}: {masked} is masked", [prices.relaxed("systempaths")])
    what = f"{said}: the owner and mode of the file do not let this user"
    mount = scene.mount_of(path)
    if mount is not None and scene.is_users(mount["destination"]):
        what += f"; {mount['destination']} comes from outside, where its owner may be somebody whom the container does not know"
    if holds(entry, "CAP_DAC_OVERRIDE"):
        return Finding("permissions", what, certain=False)
    allow = [("--user root", "the program runs as root of the container")]
    if "CAP_DAC_OVERRIDE" not in scene.wall.capabilities or entry.get("caps"):
        allow = [("--cap-add DAC_OVERRIDE", prices.price_of("CAP_DAC_OVERRIDE"))]
    return Finding("permissions", what, allow, certain=False)


def _read_only(entry: dict[str, Any], scene: Scene, said: str) -> Finding:
    """EROFS."""
    for path in entry["paths"]:
        for key, why in (("readonly", "read-only"), ("masked", "masked")):
            listed = scene.listed(path, key)
            if listed:
                rule = "masked" if key == "masked" else "read-only"
                return Finding(
                    rule, f"{said}: {listed} is {why} in the container", [prices.relaxed("systempaths")]
                )
        mount = scene.mount_of(path)
        if mount is not None and "ro" in mount["options"]:
            return _read_only_mount(mount["destination"], scene, said)
        if mount is None and scene.head.get("root_readonly"):
            return Finding(
                "read-only",
                f"{said}: the container was started with --read-only",
                [
                    (
                        f"--tmpfs {os.path.dirname(path) or '/'}",
                        "only what is written there is kept out of the image",
                    ),
                    ("leave --read-only away", prices.WRITABLE_ROOT),
                ],
            )
    return Finding("read-only", f"{said}: the file system is read-only", certain=False)


def _read_only_mount(destination: str, scene: Scene, said: str) -> Finding:
    if scene.is_users(destination):
        return Finding(
            "read-only",
            f"{said}: {destination} was mounted read-only by -v or --mount",
            [(f"-v SOURCE:{destination} without :ro", prices.WRITABLE_MOUNT)],
        )
    allow = (
        [] if os.geteuid() else [("--privileged", "every capability and device: no wall against the image")]
    )
    return Finding("read-only", f"{said}: {destination} is mounted read-only in every container", allow)


def _no_system_call(_entry: dict[str, Any], _scene: Scene, said: str) -> Finding:
    return Finding("kernel", f"{said}: this kernel does not have it; the filter let it pass", usual=True)


def _too_many(_entry: dict[str, Any], scene: Scene, said: str) -> Finding | None:
    """EAGAIN of a birth."""
    limit = scene.options.pids_limit if scene.options.pids_limit is not None else DEFAULT_PIDS
    if "nproc" in scene.options.ulimits:
        soft = scene.options.ulimits["nproc"][0]
        return Finding(
            "ulimit",
            f"{said}: no more than {limit} processes (--pids-limit), {soft} for this user (--ulimit nproc)",
            [("--ulimit nproc=N", prices.MORE_PROCESSES), ("--pids-limit N", prices.MORE_PROCESSES)],
            certain=False,
        )
    return Finding(
        "pids",
        f"{said}: the container has its {limit} processes and threads",
        [("--pids-limit N", prices.MORE_PROCESSES)],
    )


def _too_many_files(entry: dict[str, Any], scene: Scene, said: str) -> Finding:
    """EMFILE."""
    given = scene.options.ulimits.get("nofile", DEFAULT_NOFILE)
    now = entry.get("open_files", given[0])
    return Finding(
        "ulimit",
        f"{said}: the process has its {now} open files (RLIMIT_NOFILE; it may raise that to {given[1]} itself)",
        [(f"--ulimit nofile=N:{max(given)}", prices.MORE_FILES)],
    )


def _host_files(_entry: dict[str, Any], _scene: Scene, said: str) -> Finding:
    return Finding("kernel", f"{said}: the host itself can open no more files (/proc/sys/fs/file-max)")


def _no_space(entry: dict[str, Any], scene: Scene, said: str) -> Finding:
    """ENOSPC and EDQUOT."""
    if entry["call"] in _NAMESPACE_CALLS:
        return Finding(
            "capability",
            f"{said}: the container may make no namespaces (user.max_user_namespaces=0)",
            [prices.relaxed("nested")],
        )
    path = entry["paths"][0] if entry["paths"] else (entry["shown"] or [""])[0]
    if below(path, _SHM):
        return Finding("space", f"{said}: {_SHM} is full", [("--shm-size SIZE", prices.MORE_SPACE)])
    mount = scene.mount_of(path)
    if mount is not None and scene.is_users(mount["destination"]):
        where = mount["destination"]
        return Finding(
            "space", f"{said}: {where} is full", [(f"--tmpfs {where}:size=SIZE", prices.MORE_SPACE)]
        )
    if entry["call"].startswith("inotify"):
        return Finding(
            "kernel", f"{said}: the host's limit of watches (fs.inotify.max_user_watches) is reached"
        )
    return Finding("space", f"{said}: the file system is full", certain=False)


def _no_memory(entry: dict[str, Any], scene: Scene, said: str) -> Finding | None:
    """ENOMEM."""
    if entry["call"].startswith("mlock"):
        return Finding(
            "ulimit",
            f"{said}: no more memory may be locked (RLIMIT_MEMLOCK)",
            [("--ulimit memlock=BYTES", "memory that can not be swapped out")],
        )
    if "as" in scene.options.ulimits:
        return Finding(
            "ulimit",
            f"{said}: the address space is full (--ulimit as)",
            [("--ulimit as=BYTES", prices.MORE_MEMORY)],
        )
    return Finding(
        "memory", f"{said}: the kernel gave no memory", certain=False, usual=entry["call"] == "mmap"
    )


def _too_large(_entry: dict[str, Any], _scene: Scene, said: str) -> Finding:
    return Finding(
        "ulimit",
        f"{said}: the file would be larger than RLIMIT_FSIZE",
        [("--ulimit fsize=BYTES", "larger files on the host's disk")],
        certain=False,
    )


def _no_network(entry: dict[str, Any], scene: Scene, said: str) -> Finding | None:
    """ENETUNREACH."""
    if scene.options.network != "none" or entry["call"] not in ("connect", "sendto", "sendmsg"):
        return None
    return Finding(
        "network",
        f"{said}: the container has no network but its own loopback (--network none)",
        [("--network host", prices.HOST_NETWORK)],
    )


_JUDGES: dict[int, Callable[[dict[str, Any], Scene, str], Finding | None]] = {
    errno.EPERM: _not_permitted,
    errno.EACCES: _no_access,
    errno.EROFS: _read_only,
    errno.ENOSYS: _no_system_call,
    errno.EAGAIN: _too_many,
    errno.EMFILE: _too_many_files,
    errno.ENFILE: _host_files,
    errno.ENOSPC: _no_space,
    errno.EDQUOT: _no_space,
    errno.ENOMEM: _no_memory,
    errno.EFBIG: _too_large,
    errno.ENETUNREACH: _no_network,
}
