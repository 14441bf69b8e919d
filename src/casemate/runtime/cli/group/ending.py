"""The end of a container's control group."""

from __future__ import annotations

from casemate.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.cgroups.manager import Cgroup


def remove_group(group: Cgroup, timeout_s: float = 10.0) -> None:
    """Remove the group at once when it is empty, as after every container with a pid namespace; else end who is inside.

    Raises: TimedOut.
    """
    try:
        group.remove(0)
    except Conflict:
        group.kill(timeout_s)
        group.remove()
