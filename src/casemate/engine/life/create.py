"""Creating a container: everything is checked first, then the row, then what the row accounts for."""

from __future__ import annotations

import os
import time

from casemate.engine.imageconfig import load_config
from casemate.engine.life import locks
from casemate.engine.life.states import container_dir
from casemate.engine.life.undo import Undo
from casemate.engine.names import check_name, generate_name, new_id
from casemate.engine.signals import signal_number
from casemate.engine.spec.confine import asked_capabilities, confinement, read_profile
from casemate.engine.spec.etcfiles import check_hostname, check_words
from casemate.engine.spec.limits import build_resources
from casemate.engine.spec.mounts import plan_mounts
from casemate.engine.spec.process import build_argv, build_cwd, expand_env
from casemate.engine.wiring import open_network
from casemate.errors import AlreadyExists, Invalid
from casemate.image.user import parse_user
from casemate.kernel.capabilities import all_mask, to_names
from casemate.oci.quick_json import dumps
from casemate.store.containers import ContainerRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.engine.options import ContainerOptions
    from casemate.kernel.fd import Fd
    from casemate.store.images import ImageRecord
    from casemate.store.store import Store

NAME_ATTEMPTS = 6
_NO_IMAGE: dict[str, Any] = {
    "entrypoint": None, "cmd": None, "env": [], "user": "", "workdir": "", "volumes": [], "labels": {},
    "stop_signal": "", "ports": [], "healthcheck": None, "architecture": "", "os": "linux",
}  # fmt: skip


def create_container(
    store: Store,
    options: ContainerOptions,
    *,
    image: ImageRecord | None,
    image_name: str,
    to_start: bool = False,
) -> tuple[ContainerRow, Fd | None]:
    """The row of a new container. Raises: Invalid, AlreadyExists, Exhausted; nothing is left then.

    Its state is "created"; with ``to_start`` still "creating", and the lock is returned: when its holder dies
    before
    the start, the next command removes the container.
    """
    record = _build_record(store, options, image, image_name)
    row = ContainerRow(
        id=new_id(),
        name="",
        image_name=image_name,
        image_digest=image.manifest_digest if image else "",
        state="creating",
        created_ns=time.time_ns(),
        auto_remove=options.auto_remove,
    )
    if not record["hostname"]:
        record["hostname"] = row.id[:12]
    if to_start and options.auto_remove:
        # What a killed start of such a container leaves is removed, whatever it reached: no second state is needed.
        row.state, row.started_ns = "starting", row.created_ns
    with Undo() as undo:
        held = locks.begin(store.paths, row.id)
        undo.push(locks.remove, store.paths, row.id)
        undo.push(held.close)
        base = _insert(store, row, record, options)
        undo.push(_forget, store, row)
        locks.publish(store.paths, row.id)
        _make_parts(store, row, record, image, base=base, undo=undo)
        columns: dict[str, object] = {}
        if record["mounts"]:
            row.config = columns["config"] = dumps(record)
        if not to_start:
            row.state = columns["state"] = "created"
        if columns:
            store.containers.update(row.id, durable=not options.auto_remove, **columns)
        undo.keep()
    if to_start:
        return row, held
    held.close()
    return row, None


def _build_record(
    store: Store, options: ContainerOptions, image: ImageRecord | None, image_name: str
) -> dict[str, Any]:
    """The engine's own record of a container; pure but for files that the options name. Raises: Invalid."""
    config = load_config(store, image.config_digest) if image else _NO_IMAGE
    capabilities = to_names(all_mask())
    wall = confinement(options, all_capabilities=capabilities)
    open_network(options.network)
    build_resources(options, device_rules=())
    user = options.user if options.user is not None else config["user"]
    parse_user(user)
    if options.restart not in {"no", ""}:
        raise Invalid(
            "use restart policy",
            repr(options.restart),
            "not supported by this version",
            hint="use --restart=no",
        )
    check_words(options)
    return {
        "version": 1,
        "options": options.changed(),
        "image": {
            "name": image_name,
            "id": image.config_digest if image else "",
            "chain": image.chain_id if image else None,
            **{
                key: config[key]
                for key in ("env", "entrypoint", "cmd", "user", "workdir", "volumes", "ports", "healthcheck")
            },
        },
        "argv": build_argv(
            config["entrypoint"], config["cmd"], entrypoint=options.entrypoint, argv=options.argv
        ),
        "env": expand_env(options.env, options.env_files, os.environ),
        "cwd": build_cwd(config["workdir"], options.workdir),
        "user": user,
        "hostname": check_hostname(options.hostname) if options.hostname else _host_name(options),
        "tty": options.tty,
        "mounts": plan_mounts(options.mounts, options.tmpfs, config["volumes"]),
        "labels": {**config["labels"], **options.labels},
        "stop_signal": signal_number(options.stop_signal or config["stop_signal"] or "TERM"),
        "cap_add": asked_capabilities(options, capabilities),
        "seccomp": read_profile(wall) if wall.seccomp_file else None,
        "relaxed": list(wall.relaxed),
        "notes": list(wall.notes),
        "network": {"name": options.network, "state": {}},
    }


def _host_name(options: ContainerOptions) -> str:
    """The host's own name on the host's network, as docker does; "" otherwise (the short id, later)."""
    return os.uname().nodename if options.network == "host" else ""


def _insert(store: Store, row: ContainerRow, record: dict[str, Any], options: ContainerOptions) -> int | None:
    """Write the row, with a range of ids if the container gets one; the first id of that."""
    row.config = dumps(record)
    with_range = needs_range(options.userns)
    avoid = store.snapshots.discarded_owners() if with_range else ()
    durable = not options.auto_remove
    if options.name:
        row.name = check_name(options.name)
        return store.containers.insert(row, durable=durable, with_range=with_range, avoid=avoid)
    for attempt in range(NAME_ATTEMPTS - 1):
        row.name = generate_name(attempt)
        try:
            return store.containers.insert(row, durable=durable, with_range=with_range, avoid=avoid)
        except AlreadyExists:
            continue
    row.name = generate_name(NAME_ATTEMPTS - 1)
    return store.containers.insert(row, durable=durable, with_range=with_range, avoid=avoid)


def _make_parts(
    store: Store,
    row: ContainerRow,
    record: dict[str, Any],
    image: ImageRecord | None,
    *,
    base: int | None,
    undo: Undo,
) -> None:
    """Writable root, directory, volumes: each is found again from the row alone."""
    options = record["options"]
    if not options.get("rootfs"):
        store.snapshots.create_root(row.id, image.chain_id if image else None, owner_base=base)
        undo.push(store.snapshots.remove_root, row.id)
    os.makedirs(container_dir(store.paths, row.id), mode=0o700)
    undo.push(_remove_directory, store, row.id)
    if record["mounts"]:
        from casemate.engine.volumes import prepare_mounts

        prepare_mounts(store, row.id, record, undo)


def needs_range(userns: str) -> bool:
    """Whether a container gets a range of host ids of its own.

    Always as root, unless it shares the host's ids.
    """
    return os.geteuid() == 0 and userns != "host"


def _remove_directory(store: Store, container_id: str) -> None:
    from casemate.engine.life.trees import remove_tree

    remove_tree(container_dir(store.paths, container_id))


def _forget(store: Store, row: ContainerRow) -> None:
    store.containers.remove(row.id, durable=False)
