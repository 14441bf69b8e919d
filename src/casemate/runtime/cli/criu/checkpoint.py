"""`checkpoint`: write the processes of a container to files from which `restore` makes them again."""

from __future__ import annotations

import os

from casemate.errors import Conflict, Unsupported
from casemate.oci.quick_json import dumps
from casemate.runtime.cli.args import FLAG, VALUE, parse
from casemate.runtime.cli.criu.program import (
    DESCRIPTORS,
    SHARED_OPTIONS,
    external_mounts,
    image_directory,
    require_criu,
    run_criu,
    shared_arguments,
)
from casemate.runtime.cli.record import load_record, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.cli.args import Arguments
    from casemate.runtime.cli.main import Settings
    from casemate.runtime.cli.record import Record

OPTIONS = {
    **SHARED_OPTIONS,
    "parent-path": VALUE,
    "leave-running": FLAG,
    "status-fd": VALUE,
    "page-server": VALUE,
    "pre-dump": FLAG,
}
SHORT: dict[str, str] = {}
_DOING = "checkpoint container"
_LOG = "dump.log"


def checkpoint(settings: Settings, words: list[str]) -> int:
    """Write the images; the container is gone afterwards, unless --leave-running or --pre-dump."""
    arguments = parse(words, OPTIONS, SHORT)
    container_id = arguments.expect(1, 1)[0]
    record = load_record(settings.root, container_id)
    status = record.status()
    if status not in ("running", "paused"):
        raise Conflict(_DOING, container_id, f"it is {status}, not running")
    spec = record.spec()
    if (spec.get("process") or {}).get("terminal"):
        raise Unsupported(_DOING, container_id, "its terminal belongs to another process, which stays here")
    program = require_criu(settings, _DOING, container_id)
    images = image_directory(arguments)
    os.makedirs(images, mode=0o700, exist_ok=True)
    _write_descriptors(images, record.pid)
    argv = dump_arguments(
        arguments, spec, pid=record.pid, rootfs=str(record.data.get("rootfs", "")), images=images
    )
    log = os.path.join(arguments.value("work-path") or images, _LOG)
    run_criu(program, argv, _DOING, container_id, log=log)
    if not arguments.flag("leave-running") and not arguments.flag("pre-dump"):
        _forget(settings, record)
    return 0


def dump_arguments(
    arguments: Arguments, spec: dict[str, Any], *, pid: int, rootfs: str, images: str
) -> list[str]:
    """Return the words after `criu`."""
    words = ["pre-dump" if arguments.flag("pre-dump") else "dump", "--tree", str(pid), "--root", rootfs]
    words += shared_arguments(arguments, images=images, log=_LOG)
    for place in external_mounts(spec):
        words += ["--external", f"mnt[{place}]:{place}"]
    if arguments.value("parent-path"):
        words += ["--track-mem", "--prev-images-dir", arguments.value("parent-path")]
    elif arguments.flag("pre-dump"):
        words.append("--track-mem")
    if arguments.flag("leave-running"):
        words.append("--leave-running")
    if arguments.value("status-fd"):
        words += ["--status-fd", str(arguments.number("status-fd"))]
    address, colon, port = arguments.value("page-server").rpartition(":")
    return [*words, "--page-server", "--address", address, "--port", port] if colon else words


def _write_descriptors(images: str, pid: int) -> None:
    """Remember what the standard streams are: `restore` puts its own in the place of pipes."""
    links = [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]
    write_file(f"{images}/{DESCRIPTORS}", dumps(links).encode())


def _forget(settings: Settings, record: Record) -> None:
    from casemate.runtime.cli.delete import delete_record

    delete_record(settings, record)
