"""Network interfaces and their addresses through rtnetlink: as much as moving an interface to another namespace takes.

Numbers and structures: linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, net/if.h.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from casemate.kernel.const.sched import CLONE_NEWNET
from casemate.kernel.libc import KernelError
from casemate.kernel.namespaces import open_namespace, setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from casemate.kernel.fd import Fd

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type

_NETLINK_ROUTE = 0
_ERROR, _DONE = 2, 3
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22
_REQUEST, _ACK, _DUMP, _CREATE, _EXCLUSIVE = 0x1, 0x4, 0x300, 0x400, 0x200
_ROOM = 1 << 18
_TYPE_MASK = 0x3FFF

_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_IFA_LABEL, _IFA_CACHEINFO, _IFA_FLAGS = 3, 6, 8
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
_PERMANENT = 0x80
_KEPT_FLAGS = 0x02 | 0x10 | 0x100 | 0x200 | 0x400  # NODAD HOMEADDRESS MANAGETEMPADDR NOPREFIXROUTE MCAUTOJOIN
_SCOPE_UNIVERSE = 0
_LONGEST_NAME = 15


class Link:
    """One interface as the kernel tells it: its number, name and flags (IFF_*)."""

    __slots__ = ("flags", "index", "name")

    def __init__(self, index: int, name: str, flags: int) -> None:
        self.index = index
        self.name = name
        self.flags = flags


class Address:
    """One address of an interface. ``attributes`` are rtnetlink's own, by number."""

    __slots__ = ("attributes", "family", "flags", "prefix", "scope")

    def __init__(
        self, family: int, prefix: int, *, scope: int, flags: int, attributes: dict[int, bytes]
    ) -> None:
        self.family = family
        self.prefix = prefix
        self.scope = scope
        self.flags = flags
        self.attributes = attributes

    @property
    def stays(self) -> bool:
        """Whether it is meant to last and to be reached from elsewhere: permanent, of global scope."""
        return bool(self.flags & _PERMANENT) and self.scope == _SCOPE_UNIVERSE


class Rtnetlink:
    """A netlink socket that belongs to the network namespace in which it was opened, whoever uses it.

    ``namespace_fd`` (borrowed): None is the caller's own. Needs CAP_SYS_ADMIN over another one, CAP_NET_ADMIN for changes.
    Raises: KernelError.
    """

    __slots__ = ("_sequence", "_socket")

    def __init__(self, namespace_fd: int | None = None) -> None:
        self._sequence = 0
        if namespace_fd is None:
            self._socket = _open()
            return
        with open_namespace("network") as ours:
            setns(namespace_fd, CLONE_NEWNET)
            try:
                self._socket = _open()
            finally:
                setns(ours.fileno(), CLONE_NEWNET)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def links(self) -> list[Link]:
        """Return all interfaces of the namespace. Raises: KernelError."""
        answers = self._ask(_GETLINK, _DUMP, _LINK.pack(0, 0, 0, 0, 0), "")
        return [_link(body) for kind, body in answers if kind == _NEWLINK]

    def find(self, name: str) -> Link | None:
        """Return the interface of that name, None when there is none."""
        return next((link for link in self.links() if link.name == name), None)

    def addresses(self, index: int) -> list[Address]:
        """Return the addresses of an interface, of all families. Raises: KernelError."""
        found = []
        for kind, body in self._ask(_GETADDR, _DUMP, _ADDRESS.pack(0, 0, 0, 0, 0), ""):
            family, prefix, flags, scope, owner = _ADDRESS.unpack_from(body)
            if kind != _NEWADDR or owner != index:
                continue
            attributes = _attributes(body[_ADDRESS.size :])
            if _IFA_FLAGS in attributes:
                flags = int.from_bytes(attributes[_IFA_FLAGS], "little")
            found.append(Address(family, prefix, scope=scope, flags=flags, attributes=attributes))
        return found

    def send_away(self, index: int, namespace_fd: int, name: str) -> None:
        """Move an interface to another namespace under a name, in which one %d becomes a number.

        It is down there, without addresses.
        Raises: KernelError; EEXIST for a name that is taken there, EINVAL for an interface that cannot leave.
        """
        body = _LINK.pack(0, 0, index, 0, 0)
        body += _attribute(_IFLA_NET_NS_FD, namespace_fd.to_bytes(4, "little"))
        body += _attribute(_IFLA_IFNAME, name.encode() + b"\0")
        self._ask(_NEWLINK, _ACK, body, f"move to namespace as {name}")

    def set_up(self, index: int) -> None:
        """Bring an interface up. Raises: KernelError."""
        self._ask(_NEWLINK, _ACK, _LINK.pack(0, 0, index, IFF_UP, IFF_UP), "set up")

    def add_address(self, index: int, address: Address, *, old_name: str, name: str) -> None:
        """Give an interface an address that it had elsewhere under another name. Raises: KernelError."""
        flags = address.flags & _KEPT_FLAGS
        body = _ADDRESS.pack(address.family, address.prefix, flags & 0xFF, address.scope, index)
        for number, data in address.attributes.items():
            if number not in (_IFA_LABEL, _IFA_CACHEINFO, _IFA_FLAGS):
                body += _attribute(number, data)
        body += _attribute(_IFA_FLAGS, flags.to_bytes(4, "little"))
        label = address.attributes.get(_IFA_LABEL, b"").rstrip(b"\0").decode()
        if label.startswith(f"{old_name}:") and len(name) + len(label) - len(old_name) <= _LONGEST_NAME:
            body += _attribute(_IFA_LABEL, f"{name}{label[len(old_name) :]}".encode() + b"\0")
        self._ask(_NEWADDR, _ACK | _CREATE | _EXCLUSIVE, body, "add address")

    def _ask(self, kind: int, flags: int, body: bytes, subject: str) -> list[tuple[int, bytes]]:
        """Send a request; return the messages of the answer. Raises: KernelError with the kernel's error."""
        self._sequence += 1
        head = _HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, self._sequence, 0)
        found: list[tuple[int, bytes]] = []
        try:
            self._socket.send(head + body)
            while not self._receive(found, subject):
                pass
        except KernelError:
            raise
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, "rtnetlink", subject) from None
        return found

    def _receive(self, found: list[tuple[int, bytes]], subject: str) -> bool:
        """Read one datagram; return whether the answer is complete."""
        data = self._socket.recv(_ROOM)
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
            if not _HEADER.size <= length <= len(data) - at:
                raise KernelError(errno.EBADMSG, "rtnetlink", subject)
            body = data[at + _HEADER.size : at + length]
            at += length + 3 & ~3
            if sequence != self._sequence:
                continue
            if kind in (_ERROR, _DONE):
                number = -int.from_bytes(body[:4], "little", signed=True)
                if number:
                    raise KernelError(number, "rtnetlink", subject)
                return True
            found.append((kind & _TYPE_MASK, body))
        return False


def _open() -> _socket.socket:
    try:
        found = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        found.settimeout(10)
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, "socket", "rtnetlink") from None
    return found


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    name = _attributes(body[_LINK.size :]).get(_IFLA_IFNAME, b"").rstrip(b"\0")
    return Link(index, os.fsdecode(name), flags)


def _attribute(number: int, data: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(length, number) + data + bytes(-length % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, number = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            break
        found[number & _TYPE_MASK] = data[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3
    return found


def network_of(pid: int) -> Fd:
    """Return the network namespace of a process that cannot end meanwhile. Raises: OSError."""
    return open_namespace("network", pid)
