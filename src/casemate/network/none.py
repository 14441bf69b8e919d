"""The network ``none``: a namespace of the container's own in which only loopback is up."""

from __future__ import annotations

from casemate.core.network import Attachment


class NoNetwork:
    """Nothing to furnish: ``enter`` brings loopback up inside the new namespace before the program starts."""

    name = "none"
    new_namespace = True

    def attach(self, container_id: str, netns_fd: int) -> Attachment:  # noqa: ARG002 - the Protocol's signature
        """No addresses, no name servers, no state."""
        return Attachment()

    def detach(self, container_id: str, state: dict[str, object]) -> None:
        """Nothing to undo: the namespace goes with its last process."""
