"""Control groups: what the rest of casemate sees, and the choice between the three kinds.

Life of a group: ``create`` (or ``open``), ``apply``, the first process joins through ``join_fds`` (or is
born inside, ``birth_fd``), ``stats``/``freeze``/``kill``, ``remove``. Every method may be called again:
applying, killing, thawing and removing what is so already is success. Nothing streams. A ``Cgroup`` holds no
descriptors: it needs no closing.

Where groups lie. A privileged caller's paths, with a slash in front or not, lie below the top of each
hierarchy as it is mounted, not below the caller's own group: a container must be found again by the next
command, which may run in another login session, and must not end with the session that started it. An
unprivileged caller's lie below what it was delegated.
"""

from __future__ import annotations

from casemate.cgroups.hierarchy import read_hierarchies
from casemate.cgroups.settings import refuse_absent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Protocol

    from casemate.cgroups.hierarchy import Hierarchy
else:
    Protocol = object


class Cgroup(Protocol):
    """One group: a directory in v2, one in each of several hierarchies in v1, nothing in ``none``."""

    path: str
    unenforced: list[str]

    def apply(self, resources: Mapping[str, Any], *, strict: bool = False) -> list[str]:
        """Set the limits of a runtime-spec ``linux.resources``; the names of those that cannot be set here.

        ``strict``: the kernel's lack of a control file is an error; what this version has no meaning for is still named.
        Raises: Invalid for a value that makes no sense or that the kernel refuses, Denied, Unsupported.
        """

    def join_fds(self, *, born: bool = False) -> list[int]:
        """Owned write descriptors: a process of one thread that writes "0" to each of them is inside.

        ``born``: without the group of ``birth_fd``, in which the process has begun its life.
        """

    def birth_fd(self) -> int | None:
        """An owned directory descriptor for CLONE_INTO_CGROUP; None where no v2 hierarchy is mounted."""

    def occupied(self) -> None:
        """Tell that the first process is inside: nothing else needs to hold the place any more."""

    def dirs(self) -> list[tuple[int, str]]:
        """(owned descriptor of the parent, name) of every directory, for whoever removes them later."""

    def collect(self) -> list[tuple[str, int]]:
        """(label, owned read descriptor) of the files whose last values belong into an exit record."""

    def pids(self) -> list[int]:
        """The processes inside, those of nested groups too."""

    def signal_all(self, signal: int) -> int:
        """Send a signal to every process; how many got it. A process that ends meanwhile is no error."""

    def kill(self, timeout_s: float = 10.0) -> None:
        """End every process, frozen ones too, and wait until none is left.

        Raises: TimedOut.
        """

    def freeze(self, timeout_s: float = 10.0) -> None:
        """Stop every process where it is.

        Raises: TimedOut (it is thawed then), Unsupported.
        """

    def thaw(self) -> None:
        """Let frozen processes go on."""

    def is_frozen(self) -> bool:
        """Whether the processes are stopped by ``freeze``."""

    def stats(self) -> dict[str, Any]:
        """What is used now; ``stats`` lists the keys."""

    def remove(self, timeout_s: float = 5.0) -> None:
        """Remove it with all groups below.

        Raises: Conflict when processes are still inside after that time.
        """


class CgroupManager(Protocol):
    """Makes and finds groups. ``kind`` is v1, v2 or none; ``unenforced``: what can never be limited here.

    ``why``: the reason for that, as the end of a sentence; empty for a privileged caller, who may have everything that the
    kernel has, and from whom nothing is taken in silence.
    """

    kind: str
    unenforced: list[str]
    why: str

    def check(self, path: str, resources: Mapping[str, Any]) -> list[str]:
        """The names of the limits for which there is no controller here: asked before anything is made.

        Raises: Invalid for a bad path or limit, Unsupported, as ``create`` and ``apply`` would.
        """

    def create(self, path: str, *, resources: Mapping[str, Any] | None = None, adopt: bool = False) -> Cgroup:
        """A group that exists and is empty; ``resources`` tells early which controllers it will need.

        ``adopt``: somebody else has made it, and processes may be inside.

        Raises: Invalid for a bad path, AlreadyExists when processes run in it, Denied.
        """

    def open(self, path: str) -> Cgroup:
        """The group that ``create`` made, by the same path.

        Raises: NotFound, Invalid.
        """


def open_manager(
    *, rootless: bool = False, hierarchies: Sequence[Hierarchy] | None = None, systemd: bool = False
) -> CgroupManager:
    """The manager that fits this machine and caller; with ``systemd`` it makes its groups by that.

    v1 when any v1 hierarchy with a controller is mounted, as on hybrid machines, whose v2 side has hardly
    any; else v2; none when nothing is mounted, or an unprivileged caller may not make groups anywhere.
    """
    found = list(read_hierarchies() if hierarchies is None else hierarchies)
    if systemd:
        from casemate.cgroups.systemd.scopes import find_manager

        return find_manager(found, rootless=rootless)
    if any(not h.is_v2 and any(not c.startswith("name=") for c in h.controllers) for h in found):
        from casemate.cgroups.v1 import V1Manager

        first = V1Manager.find(found, rootless=rootless)
        if first is not None:
            return first
    unified = [h for h in found if h.is_v2]
    if len(unified) == len(found) and unified:
        from casemate.cgroups.v2 import V2Manager

        second = V2Manager.find(unified[0], rootless=rootless)
        if second is not None:
            return second
    from casemate.cgroups.none import NoManager

    if not rootless and _owns_the_machine():
        return NoManager(why="")
    return NoManager()


def _owns_the_machine() -> bool:
    """Whether this is root outside of any user namespace: who lacks control groups then lacks them by mistake."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return file.read().split() == ["0", "0", "4294967295"]
    except OSError:
        return True


def refuse_missing(manager: CgroupManager, path: str, resources: Mapping[str, Any]) -> None:
    """Nothing, when the group can be made and there is a controller for every limit, or the caller cannot have them all.

    Raises: Unsupported, naming the limits; Invalid for values that make no sense.
    """
    names = manager.check(path, resources)
    if names and not manager.why:
        refuse_absent(names)


def limit(manager: CgroupManager, group: Cgroup, resources: Mapping[str, Any]) -> list[str]:
    """Set the limits; sentences about those that do not hold.

    A privileged caller gets all that the kernel can do or an error. An ordinary user is told, once and by name; the device
    list is not mentioned then: without privilege there is no device node that could be made or opened beyond the host's own
    permissions.
    Raises: as ``Cgroup.apply``.
    """
    names = group.apply(resources, strict=not manager.why)
    if not manager.why:
        return [f"{name} has no meaning in cgroup {manager.kind} and is ignored" for name in names]
    told = [name for name in names if name != "devices"]
    return [f"not enforced: {', '.join(told)}: {manager.why}"] if told else []
