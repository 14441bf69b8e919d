"""`exec --cgroup`: a group below the container's own, which exists already, for one more program."""

from __future__ import annotations

import os

from casemate.cgroups.hierarchy import read_hierarchies
from casemate.errors import Invalid, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casemate.cgroups.manager import Cgroup


class Subgroup:
    """The two methods of a `Cgroup` that a new program needs: first into the container's group, then into those below it.

    On version 1 a group below may be missing in some hierarchies: there the container's own limits must still hold.
    """

    __slots__ = ("_below", "_group")

    def __init__(self, group: Cgroup, below: list[tuple[frozenset[str], Cgroup]]) -> None:
        self._group = group
        self._below = below

    def birth_fd(self) -> int | None:
        """See ``manager.Cgroup``."""
        for wanted, found in self._below:
            fd = found.birth_fd()
            if fd is None or _is_wanted(fd, wanted):
                return fd
            os.close(fd)
        return self._group.birth_fd()

    def join_fds(self, *, born: bool = False) -> list[int]:
        """See ``manager.Cgroup``."""
        fds = self._group.join_fds(born=born)
        for wanted, found in self._below:
            for fd in found.join_fds(born=born):
                if _is_wanted(fd, wanted):
                    fds.append(fd)
                else:
                    os.close(fd)
        return fds


def _is_wanted(fd: int, controllers: frozenset[str]) -> bool:
    path = os.readlink(f"/proc/self/fd/{fd}")
    return not controllers or any(
        path.startswith(f"{found.mountpoint}/") and controllers & found.controllers
        for found in read_hierarchies()
    )


def open_subgroup(group: Cgroup, wanted: Sequence[str], opener: Callable[[str], Cgroup]) -> Subgroup:
    """Return the groups of `[CONTROLLER[,CONTROLLER]:]PATH`, PATH counting from the container's group.

    Raises: Invalid for a path that leads elsewhere, NotFound for a group that does not exist.
    """
    below = []
    for text in wanted:
        names, colon, path = text.rpartition(":")
        if not path.strip("/") or ".." in path.split("/") or (colon and not all(names.split(","))):
            raise Invalid(
                "read --cgroup", text, "it is [CONTROLLER[,CONTROLLER]:]PATH below the container's group"
            )
        known = frozenset(name for found in read_hierarchies() for name in found.controllers)
        controllers = frozenset(names.split(",")) if names else frozenset()
        if controllers - known:
            raise NotFound(
                "read --cgroup", text, f"no hierarchy has {', '.join(sorted(controllers - known))}"
            )
        below.append((controllers, opener(f"{group.path}/{path.strip('/')}")))
    return Subgroup(group, below)
