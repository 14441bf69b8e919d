"""`spec`: a config.json to start from, with the sealed default profile in it."""

from __future__ import annotations

import os

from casemate.errors import AlreadyExists
from casemate.runtime import default_profile
from casemate.runtime.cli.args import FLAG, VALUE, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.cli.main import Settings


OPTIONS = {"bundle": VALUE, "rootless": FLAG}
SHORT = {"b": "bundle"}


def spec(settings: Settings, words: list[str]) -> int:
    """Write config.json into the bundle; --rootless for an ordinary user. Raises: AlreadyExists."""
    import json

    arguments = parse(words, OPTIONS, SHORT)
    arguments.expect(0, 0)
    path = os.path.join(arguments.value("bundle", "."), "config.json")
    document = default_spec(rootless=arguments.flag("rootless") or settings.rootless)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise AlreadyExists(
            "write", path, "it exists", hint="remove it first, or use another --bundle"
        ) from None
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
    return 0


def default_spec(*, rootless: bool) -> dict[str, Any]:
    """Return a whole config.json: `sh` in ./rootfs, sealed."""
    kinds = ["mount", "pid", "network", "ipc", "uts", "cgroup"] + (["user"] if rootless else [])
    mounts = [dict(mount) for mount in default_profile.MOUNTS]
    if rootless:
        mounts = [mount for mount in mounts if mount["type"] != "cgroup"]
        for mount in mounts:
            mount["options"] = [option for option in mount["options"] if option != "gid=5"]
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in kinds],
        "maskedPaths": default_profile.masked_paths(),
        "readonlyPaths": list(default_profile.READONLY_PATHS),
        "seccomp": default_profile.default_seccomp(default_profile.ROOT_CAPABILITIES),
        "resources": {
            "devices": list(default_profile.DEVICE_RULES),
            "pids": {"limit": default_profile.PIDS_LIMIT},
        },
    }
    if rootless:
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
        del linux["resources"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": default_profile.default_capabilities(0),
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "casemate",
        "mounts": mounts,
        "linux": linux,
    }
