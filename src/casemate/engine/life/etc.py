"""Writing a container's /etc/hosts, /etc/hostname and /etc/resolv.conf.

And the mounts that put them in place.
"""

from __future__ import annotations

import os

from casemate.engine.spec.etcfiles import MAX_RESOLV_BYTES, hosts_text, resolv_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from casemate.engine.options import ContainerOptions
    from casemate.engine.spec.build import Surroundings

_FILES = ("hosts", "hostname", "resolv.conf")


def write_etc_files(
    directory: str, record: Mapping[str, Any], options: ContainerOptions, around: Surroundings
) -> list[dict[str, Any]]:
    """Make the three files new in ``directory``, owned by the container's root.

    OCI mounts for those nobody mounts over.
    """
    host_network = options.network == "host"
    texts = {
        "hosts": hosts_text(
            record["hostname"], domainname=options.domainname or "", addresses=(), extra=options.extra_hosts
        ),
        "hostname": record["hostname"] + "\n",
        "resolv.conf": resolv_text(
            _host_resolv() if host_network else "",
            servers=options.dns,
            search=options.dns_search,
            options=options.dns_options,
            offline=not host_network,
        ),
    }
    owner = around.id_map.host_uid(0) if around.id_map is not None and not around.is_rootless else None
    for name, text in texts.items():
        _write(f"{directory}/{name}", text, owner)
    taken = {mount["target"] for mount in record["mounts"]}
    return [
        {
            "destination": f"/etc/{name}",
            "type": "bind",
            "source": f"{directory}/{name}",
            "options": ["bind", "rprivate", "nosuid", "nodev", "noexec"],
        }
        for name in _FILES
        if f"/etc/{name}" not in taken and "/etc" not in taken
    ]


def _write(path: str, text: str, owner: int | None) -> None:
    """A new file each time: the container could write to the old one."""
    try:  # noqa: SIM105 - contextlib costs 1.5 ms
        os.unlink(path)
    except FileNotFoundError:
        pass
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, text.encode())
        os.fchmod(fd, 0o644)
        if owner is not None:
            os.fchown(fd, owner, owner)
    finally:
        os.close(fd)


def _host_resolv() -> str:
    try:
        with open("/etc/resolv.conf", "rb") as file:
            return file.read(MAX_RESOLV_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
