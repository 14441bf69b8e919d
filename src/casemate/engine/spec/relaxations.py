"""The named relaxations of the default wall, as data: what each lets work, what it changes, and what that gives away.

``casemate relax``, the completion of ``--relax``, docs/relaxations.md and the error about an unknown name are made from this
table; tests hold every row to what it says it changes, and to nothing else.
"""

from __future__ import annotations

from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FILTER = "linux.seccomp"


class Relaxation:
    """One row.

    ``allows``: what works again. ``needed_by``: programs known to need it. ``gives_away``: what an attacker inside gains.
    ``changes``: the parts of the OCI specification that become different. ``switches``: the parts of ``Confinement`` that are
    turned off. ``takes``: the placeholder of a value, or "".
    """

    __slots__ = ("allows", "changes", "gives_away", "name", "needed_by", "switches", "takes")

    def __init__(  # noqa: PLR0913 - one row of a table
        self,
        name: str,
        *,
        allows: str,
        needed_by: str,
        gives_away: str,
        changes: Sequence[str] = (FILTER,),
        switches: Sequence[str] = (),
        takes: str = "",
    ) -> None:
        self.name = name
        self.allows = allows
        self.needed_by = needed_by
        self.gives_away = gives_away
        self.changes = tuple(changes)
        self.switches = tuple(switches)
        self.takes = takes

    @property
    def label(self) -> str:
        """How it is written: ``debug``, ``family=NAME``."""
        return f"{self.name}={self.takes}" if self.takes else self.name


_ROWS = (
    Relaxation(
        "abi32",
        allows="32-bit programs run, but for sockets by the old call socketcall",
        needed_by="images of i386 or armhf, Wine, SteamCMD",
        gives_away="the kernel's second entrance, which is less used and less tested than the first",
    ),
    Relaxation(
        "debug",
        allows="ptrace, and reading and writing the memory of one's own other processes",
        needed_by="gdb, strace, LeakSanitizer, dump tools of JVM and .NET",
        gives_away="whoever takes over one process of the container has every other one of the same user; no Landlock",
        changes=(FILTER,),
        switches=("landlock",),
    ),
    Relaxation(
        "family",
        allows="sockets of one more family",
        needed_by="tcpdump and DHCP (packet), guest agents (vsock), Bluetooth, CAN, nft and ss (netlink)",
        gives_away="the kernel's code for that family; those of alg, packet and netlink have had many holes",
        takes="NAME",
    ),
    Relaxation(
        "io_uring",
        allows="io_uring",
        needed_by="databases and file servers that insist on it; most fall back by themselves",
        gives_away="a large, young part of the kernel; what goes through a ring is not seen by system-call filters",
    ),
    Relaxation(
        "landlock",
        allows="whatever the Landlock domain forbids: mounts by added capabilities, ptrace between exec and the container",
        needed_by="programs that mount with an added CAP_SYS_ADMIN",
        gives_away="the second lock on mounts and device nodes; on the host's network, the host's abstract sockets",
        changes=(),
        switches=("landlock",),
    ),
    Relaxation(
        "nested",
        allows="namespaces, mounts and chroots of one's own inside",
        needed_by="Chrome's sandbox, bubblewrap, containers in containers (add systempaths for their /proc)",
        gives_away="all capabilities in a nested user namespace: mount, netfilter and network code of the kernel come into "
        "reach; no Landlock",
        changes=(FILTER, "linux.sysctl"),
        switches=("landlock",),
    ),
    Relaxation(
        "numa",
        allows="memory policies",
        needed_by="MySQL, QEMU and other programs that bind memory to nodes",
        gives_away="a little-used part of the memory manager",
    ),
    Relaxation(
        "socketcall",
        allows="32-bit programs run, with sockets: includes abi32",
        needed_by="32-bit programs of Debian and others whose C library makes sockets by socketcall",
        gives_away="the socket families: the filter cannot see which one a 32-bit program asks for",
    ),
    Relaxation(
        "suid",
        allows="set-user-id and set-group-id programs and file capabilities of the image",
        needed_by="sudo, su, gosu from a user other than root, dbus-daemon, mount helpers",
        gives_away="a user inside can become root inside and hold its eight capabilities; ids of the host stay out of reach",
        changes=("process.noNewPrivileges", "process.capabilities.bounding"),
        switches=("no_new_privileges",),
    ),
    Relaxation(
        "systempaths",
        allows="all of /proc and /sys as the kernel shows them; /proc/sys may be written where the kernel lets the container",
        needed_by="nested containers that mount their own /proc, monitoring of the host",
        gives_away="what the kernel tells about the host and its other work, and its less tested files; no Landlock",
        changes=("linux.maskedPaths", "linux.readonlyPaths"),
        switches=("mask_paths", "landlock"),
    ),
    Relaxation(
        "tiocsti",
        allows="pushing input into one's own terminal",
        needed_by="old mail and csh programs",
        gives_away="a program can type for whoever shares its terminal inside; yours is another one",
    ),
    Relaxation(
        "userfaultfd",
        allows="userfaultfd",
        needed_by="CRIU, live migration of QEMU, some garbage collectors",
        gives_away="a reliable way to stop the kernel in the middle of reading memory, which exploits love",
    ),
)
RELAXATIONS = {row.name: row for row in _ROWS}


def families() -> list[str]:
    """The names that ``family=NAME`` takes."""
    from casemate.runtime.default_profile import OTHER_FAMILIES

    return sorted(name.lower() for name in OTHER_FAMILIES)


def words() -> list[str]:
    """Every word that ``--relax`` takes."""
    return [
        word
        for row in _ROWS
        for word in ([f"family={one}" for one in families()] if row.takes else [row.name])
    ]


def chosen(names: Sequence[str]) -> Iterator[tuple[str, Relaxation]]:
    """Yield each relaxation asked for, with its canonical spelling. Raises: Invalid for a word that is none."""
    known = words()
    for name in names:
        word = name.strip().lower()
        if word not in known:
            raise Invalid("relax", repr(name), "no such relaxation", hint=f"known: {', '.join(known)}")
        yield word, RELAXATIONS[word.partition("=")[0]]
