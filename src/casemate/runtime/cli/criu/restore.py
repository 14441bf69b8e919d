"""`restore`: make the processes of a container again from the files of `checkpoint`."""

from __future__ import annotations

import os

from casemate.errors import Corrupt, NotFound, Unsupported
from casemate.oci.quick_json import loads
from casemate.runtime.cli import bundle as bundles
from casemate.runtime.cli.args import FLAG, VALUE, parse
from casemate.runtime.cli.bundle import open_bundle, prepare, undo
from casemate.runtime.cli.criu.program import (
    DESCRIPTORS,
    SHARED_OPTIONS,
    external_mounts,
    image_directory,
    require_criu,
    run_criu,
    shared_arguments,
)
from casemate.runtime.cli.main import warn
from casemate.runtime.cli.program.stdio import announce
from casemate.runtime.cli.record import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.cli.args import Arguments
    from casemate.runtime.cli.bundle import Bundle
    from casemate.runtime.cli.main import Settings

OPTIONS = {
    **SHARED_OPTIONS,
    "bundle": VALUE,
    "console-socket": VALUE,
    "pid-file": VALUE,
    "detach": FLAG,
    "no-subreaper": FLAG,
    "no-pivot": FLAG,
    "lsm-profile": VALUE,
    "lsm-mount-context": VALUE,
}
SHORT = {**bundles.SHORT, "d": "detach"}
_DOING = "restore container"
_LOG = "restore.log"
_MS_BIND_REC, _MS_PRIVATE_REC = 0x1000 | 0x4000, 0x40000 | 0x4000  # linux/mount.h
_CLONE_NEWNS = 0x00020000


def restore(settings: Settings, words: list[str]) -> int:
    """Restore a container; wait for its end, unless --detach."""
    arguments = parse(words, OPTIONS, SHORT)
    bundle = open_bundle(settings, arguments)
    if bundle.spec["process"].get("terminal") or arguments.value("console-socket"):
        raise Unsupported(_DOING, bundle.id, "a terminal cannot be made again")
    images = image_directory(arguments)
    links = _read_descriptors(images)
    program = require_criu(settings, _DOING, bundle.id)
    done = False
    try:
        prepare(bundle)
        warn(settings, bundle.notes)
        pid = _start(bundle, program, images, links)
        bundle.record.set_child(pid)
        announce(arguments, pid)
        done = True
    finally:
        if not done and hasattr(bundle, "record"):
            undo(bundle)
    if arguments.flag("detach"):
        return 0
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    from casemate.runtime.cli.delete import delete_record

    delete_record(settings, bundle.record)
    return code if code >= 0 else 128 - code


def _read_descriptors(images: str) -> list[str]:
    try:
        links = loads(read_file(f"{images}/{DESCRIPTORS}"), what=DESCRIPTORS)
    except FileNotFoundError:
        raise NotFound(
            _DOING, images, "there is no checkpoint", hint="name its directory with --image-path"
        ) from None
    if not isinstance(links, list) or not all(isinstance(link, str) for link in links):
        raise Corrupt(_DOING, f"{images}/{DESCRIPTORS}", "it is not a list of links")
    return links


def _start(bundle: Bundle, program: str, images: str, links: list[str]) -> int:
    """Return the first process. criu wants the root to be a mount: it is one in a mount namespace that only we and criu see."""
    from casemate.kernel.mount_api import mount
    from casemate.kernel.namespaces import unshare

    root = f"{bundle.record.directory}/root"
    pid_file = f"{bundle.record.directory}/restored.pid"
    os.mkdir(root, 0o700)
    unshare(_CLONE_NEWNS)
    mount(None, "/", None, flags=_MS_PRIVATE_REC)
    mount(bundle.rootfs, root, None, flags=_MS_BIND_REC)
    group = "" if bundle.cgroup is None else bundle.cgroup.path
    argv = restore_arguments(bundle.arguments, bundle.spec, images=images, links=links)
    argv += ["--root", root, "--pidfile", pid_file]
    if group:
        argv += ["--cgroup-root", f"/{group.lstrip('/')}"]
    log = os.path.join(bundle.arguments.value("work-path") or images, _LOG)
    run_criu(program, argv, _DOING, bundle.id, log=log)
    return int(read_file(pid_file))


def restore_arguments(
    arguments: Arguments, spec: dict[str, Any], *, images: str, links: list[str]
) -> list[str]:
    """Return the words after `criu`, without those that name what is made for this restore."""
    words = ["restore", "--restore-detached", "--restore-sibling", "--evasive-devices"]
    words += shared_arguments(arguments, images=images, log=_LOG)
    sources = {str(mount.get("destination")): str(mount.get("source")) for mount in spec.get("mounts") or ()}
    for place in external_mounts(spec):
        words += ["--external", f"mnt[{place}]:{sources[place]}"]
    for number, link in enumerate(links):
        if link.startswith(("pipe:", "socket:")):
            words += ["--inherit-fd", f"fd[{number}]:{link}"]
    for name in ("lsm-profile", "lsm-mount-context"):
        if arguments.value(name):
            words += [f"--{name}", arguments.value(name)]
    return words
