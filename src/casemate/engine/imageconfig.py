"""What the engine must know of an image's configuration: parsed strictly once, kept in a small file of ours.

The strict parser reads bytes of strangers and is thorough; a container's start reads what the parser made of
them. The file is a cache: it may vanish at any time, and it is only ever written from a configuration whose
digest was verified.
"""

from __future__ import annotations

import os

from casemate.oci.quick_json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.store.store import Store

_VERSION = 1
MAX_CONFIG_BYTES = 4 << 20


def load_config(store: Store, config_digest: str) -> dict[str, Any]:
    """Entrypoint, cmd, env, user, workdir, volumes, labels, stop signal, ports and healthcheck of one image.

    Raises: NotFound, Corrupt, Invalid.
    """
    path = _cache_path(store, config_digest)
    try:
        with open(path, "rb") as file:
            cached: dict[str, Any] = loads(file.read(), what="cached image configuration")
        if cached.get("version") == _VERSION:
            return cached
    except FileNotFoundError:
        pass
    return _parse_and_keep(store, config_digest, path)


def forget_config(store: Store, config_digest: str) -> None:
    """Remove the cached file; absent is success."""
    try:
        os.unlink(_cache_path(store, config_digest))
    except FileNotFoundError:
        return


def _parse_and_keep(store: Store, config_digest: str, path: str) -> dict[str, Any]:
    from casemate.image.config import ImageConfig

    data = store.content.read(config_digest, limit_bytes=MAX_CONFIG_BYTES)
    parsed = ImageConfig.parse(data, what=f"configuration {config_digest[7:19]}")
    found = {
        "version": _VERSION,
        "entrypoint": parsed.entrypoint,
        "cmd": parsed.cmd,
        "env": parsed.env,
        "user": parsed.user,
        "workdir": parsed.working_dir,
        "volumes": parsed.volumes,
        "labels": parsed.labels,
        "stop_signal": parsed.stop_signal,
        "ports": parsed.exposed_ports,
        "healthcheck": parsed.healthcheck,
        "architecture": parsed.architecture,
        "os": parsed.os,
    }
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(dumps(found))
    os.rename(temporary, path)
    return found


def _cache_path(store: Store, config_digest: str) -> str:
    return f"{store.paths.cache}/image-config/{config_digest[7:]}.json"
