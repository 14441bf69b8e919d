"""The network ``host``: no namespace of its own; the container sees and uses the host's interfaces."""

from __future__ import annotations

from casemate.core.network import Attachment


class HostNetwork:
    """Shares the host's network namespace. Recorded as a relaxation of the wall."""

    name = "host"
    new_namespace = False

    def attach(self, container_id: str, netns_fd: int) -> Attachment:  # noqa: ARG002 - the Protocol's signature
        """No addresses of its own."""
        return Attachment()

    def detach(self, container_id: str, state: dict[str, object]) -> None:
        """Nothing to undo."""
