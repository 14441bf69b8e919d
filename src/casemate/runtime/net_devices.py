"""`linux.netDevices`: interfaces of the host that the container shall have. Imported only when a spec names some.

They are moved while the child waits, before the hooks, so that these find them. The kernel takes the addresses away when an
interface leaves; those that are permanent and global come back, and the interface is up. When the container's network namespace
ends, the kernel returns physical interfaces to the host and destroys virtual ones; the specification wants us to stay out of it.
Source: config-linux.md, "Network Devices".
"""

from __future__ import annotations

import errno
import os

from casemate.errors import AlreadyExists, Denied, Invalid, NotFound, Unsupported
from casemate.kernel.libc import KernelError
from casemate.kernel.namespaces import open_namespace
from casemate.kernel.rtnetlink import IFF_LOOPBACK, IFF_UP, Rtnetlink, network_of
from casemate.runtime.compile.namespaces import has_capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.errors import CasemateError
    from casemate.kernel.rtnetlink import Address

_CAP_NET_ADMIN = 12
_DOING = "move network device"


def refuse(wanted: dict[str, dict[str, Any]]) -> None:
    """Raise for a device that does not exist or cannot be moved, before anything is made."""
    if not has_capability(_CAP_NET_ADMIN):
        raise Unsupported(
            _DOING,
            ", ".join(wanted),
            "it needs CAP_NET_ADMIN over the host's network",
            hint="run as root, or let a hook of the host move it",
        )
    with Rtnetlink() as host:
        links = {link.name: link for link in host.links()}
    for name in wanted:
        link = links.get(name)
        if link is None:
            raise NotFound(_DOING, name, "the host has no such interface")
        if link.flags & IFF_LOOPBACK:
            raise Unsupported(_DOING, name, "a loopback interface cannot leave its namespace")


class _Moved:
    """What has left the host: its name there and here, its addresses, whether it was up."""

    __slots__ = ("addresses", "name", "new", "was_up")

    def __init__(self, name: str, new: str, addresses: list[Address], *, was_up: bool) -> None:
        self.name = name
        self.new = new
        self.addresses = addresses
        self.was_up = was_up


def move_all(pid: int, wanted: dict[str, dict[str, Any]]) -> None:
    """Move the devices to the network namespace of the waiting child; on failure those that were moved come back.

    Raises: AlreadyExists (the name is taken there), NotFound, Denied, Invalid.
    """
    moved: list[_Moved] = []
    with (
        network_of(pid) as theirs,
        open_namespace("network") as ours,
        Rtnetlink() as host,
        Rtnetlink(theirs.fileno()) as inside,
    ):
        try:
            for name, about in wanted.items():
                _move(host, inside, theirs.fileno(), name=name, new=about.get("name") or name, moved=moved)
        except Exception as error:
            for item in reversed(moved):
                try:
                    _take_back(inside, host, ours.fileno(), item)
                except (KernelError, StopIteration) as second:
                    error.add_note(f"{item.name} could not be taken back: {second}")
            raise


def _move(
    host: Rtnetlink, inside: Rtnetlink, inside_fd: int, *, name: str, new: str, moved: list[_Moved]
) -> None:
    """Move one interface with its lasting addresses."""
    link = host.find(name)
    if link is None:
        raise NotFound(_DOING, name, "it is gone")
    addresses = [address for address in host.addresses(link.index) if address.stays]
    before = {other.index: other.name for other in inside.links()}
    if new in before.values():
        raise AlreadyExists(_DOING, name, f"the container has an interface {new} already")
    try:
        host.send_away(link.index, inside_fd, new)
        arrived = next(other for other in inside.links() if other.index not in before)
        moved.append(_Moved(name, arrived.name, addresses, was_up=bool(link.flags & IFF_UP)))
        inside.set_up(arrived.index)
        for address in addresses:
            inside.add_address(arrived.index, address, old_name=name, name=arrived.name)
    except KernelError as error:
        raise _explained(name, error) from error


def _take_back(inside: Rtnetlink, host: Rtnetlink, host_fd: int, item: _Moved) -> None:
    """Give the host an interface back as it was. Raises: KernelError, StopIteration when it is gone."""
    index = next(link.index for link in inside.links() if link.name == item.new)
    inside.send_away(index, host_fd, item.name)
    back = next(link for link in host.links() if link.name == item.name)
    if item.was_up:
        host.set_up(back.index)
    for address in item.addresses:
        host.add_address(back.index, address, old_name=item.name, name=item.name)


def _explained(name: str, error: KernelError) -> CasemateError:
    number = error.errno or 0
    kind: type[CasemateError] = Invalid
    if number in (errno.EPERM, errno.EACCES):
        kind = Denied
    elif number == errno.EEXIST:
        kind = AlreadyExists
    elif number == errno.EOPNOTSUPP:
        kind = Unsupported
    return kind(_DOING, name, f"{os.strerror(number)} ({error.call} {error.subject})")
