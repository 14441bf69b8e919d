"""One row of ``ps``, with docker's template keys."""

from __future__ import annotations

import time

from casemate.engine.life.states import present_state
from casemate.engine.show.times import ago, human_duration, local
from casemate.oci.quick_json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.engine.life.states import Present
    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store


def summarize(store: Store, row: ContainerRow) -> dict[str, str]:
    """The row of one container; Size is left to ``container_size``, which has to measure."""
    present = present_state(store.paths, row)
    record: dict[str, Any] = loads(row.config, what="container record")
    mounts = record["mounts"]
    return {
        "ID": row.id,
        "Names": row.name,
        "Image": row.image_name,
        "Command": f'"{" ".join(record["argv"])}"',
        "CreatedAt": local(row.created_ns),
        "RunningFor": ago(row.created_ns),
        "Status": status_text(row, present),
        "State": present.status,
        "Ports": ", ".join(record["image"]["ports"]) if present.status == "running" else "",
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(record["labels"].items())),
        "Mounts": ",".join(
            mount.get("name") or mount.get("source", "") for mount in mounts if mount["type"] != "tmpfs"
        ),
        "Networks": record["network"]["name"],
        "LocalVolumes": str(sum(mount["type"] == "volume" for mount in mounts)),
        "Size": "0B",
        "Platform": "",
    }


def status_text(row: ContainerRow, present: Present) -> str:
    """Docker's Status: "Up 3 minutes", "Exited (0) 2 hours ago", "Created"."""
    if present.status in {"running", "paused"}:
        up = human_duration((time.time_ns() - row.started_ns) / 1e9)
        return f"Up {up} (Paused)" if present.status == "paused" else f"Up {up}"
    if present.status == "exited":
        return f"Exited ({present.exit_code}) {ago(present.finished_ns or row.created_ns)}"
    return {"created": "Created", "removing": "Removal In Progress"}.get(present.status, "Dead")
