"""Networks: how a container's network namespace is furnished.

Kept ready for bridges and pasta: ``attach`` runs after the namespace exists and before the program starts.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


class Attachment:
    """What a network gave a container: addresses (CIDR), the DNS servers and the state needed to detach."""

    __slots__ = ("addresses", "dns", "state")

    def __init__(
        self,
        *,
        addresses: tuple[str, ...] = (),
        dns: tuple[str, ...] = (),
        state: dict[str, object] | None = None,
    ) -> None:
        self.addresses = addresses
        self.dns = dns
        self.state = state or {}


class Network(Protocol):
    """One way to connect a container. ``detach`` is idempotent and works after a crash, from the stored state alone."""

    name: str
    new_namespace: bool
    """Whether the container gets its own network namespace (``host`` does not)."""

    def attach(self, container_id: str, netns_fd: int) -> Attachment:
        """Furnish the namespace behind ``netns_fd`` (borrowed)."""

    def detach(self, container_id: str, state: dict[str, object]) -> None:
        """Undo ``attach``."""
