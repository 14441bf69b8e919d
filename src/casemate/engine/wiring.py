"""The one place that knows concrete classes: a name.

And the "module:factory" behind it, imported when it is first used.
"""

from __future__ import annotations

from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.core.network import Network

NETWORKS = {
    "none": "casemate.network.none:NoNetwork",
    "host": "casemate.network.host:HostNetwork",
}


def open_network(name: str) -> Network:
    """The network called ``name``. Raises: Invalid."""
    if name not in NETWORKS:
        raise Invalid(
            "use network",
            repr(name),
            "no such network",
            hint=f"this version knows: {', '.join(sorted(NETWORKS))}",
        )
    network: Network = load(NETWORKS[name])()
    return network


def load(row: str) -> Any:
    """The object that a row names."""
    module, _, attribute = row.partition(":")
    __import__(module)
    import sys

    return getattr(sys.modules[module], attribute)
