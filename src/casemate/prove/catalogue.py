"""The checks as data: number, what must hold, what is tried, and where the few lines are that try it."""

from __future__ import annotations

from casemate.prove.verdict import CannotTry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from casemate.prove.walls.wall import Wall

PATHS, DAEMON, ENTRY = "paths and mounts", "names, sockets, output", "the entering process"


class Check:
    """One invariant. ``runs`` is ``module:function`` below ``casemate.prove.checks``, or "" with the reason ``absent``."""

    __slots__ = ("absent", "invariant", "number", "runs", "section", "title", "tried")

    def __init__(  # noqa: PLR0913 - one row of the table
        self,
        number: str,
        title: str,
        *,
        section: str,
        invariant: str,
        tried: str,
        runs: str = "",
        absent: str = "",
    ) -> None:
        self.number = number
        self.title = title
        self.section = section
        self.invariant = invariant
        self.tried = tried
        self.runs = runs
        self.absent = absent

    def __call__(self, wall: Wall) -> str:
        """Try it; what held. Raises: Broken, CannotTry, CasemateError, OSError."""
        if not self.runs:
            raise CannotTry(self.absent)
        module, _, function = self.runs.partition(":")
        found = __import__(f"casemate.prove.checks.{module}", fromlist=(function,))
        held: str = getattr(found, function)(wall)
        return held


CHECKS: Sequence[Check] = (
    Check("C1", "mount targets stay inside", section=PATHS, runs="paths:mount_targets",
          invariant="A mount target that the image made a link is mounted inside the root or refused, never outside.",
          tried="Images whose /proc, /sys, /dev, /dev/pts, /dev/shm, /etc/hosts and volume targets are links (absolute,"
                " through parent directories, dangling) to a canary."),
    Check("C2", "masks are our own files", section=PATHS, runs="paths:masks",
          invariant="Masked kernel paths are empty and read-only ones cannot be opened for writing, whatever the image"
                    " has in /dev.",
          tried="An image whose device nodes are links to a canary; every masked path read, every read-only one opened."),
    Check("C3", "kernel settings reach the kernel", section=PATHS, runs="paths:kernel_files",
          invariant="A setting below /proc is written to the kernel or refused, never into a file of image or volume.",
          tried="Files of the image at /proc/sys and /proc/self, and a volume over /proc/sys/net, with a setting asked for."),
    Check("C4", "no descriptor of the host", section=PATHS, runs="descriptors:leaked_descriptors",
          invariant="A program finds the descriptors 0, 1 and 2 only, and its working directory is inside the root.",
          tried="A caller that leaks 20 descriptors; working directories behind them; the first process seen from outside."),
    Check("C5", "the runtime's program is out of reach", section=PATHS, runs="descriptors:runtime_program",
          invariant="No program of the image leads back to the runtime's, and /proc/PID/exe of who enters resolves for"
                    " nobody inside.",
          tried="Programs that are, or are interpreted by, /proc/self/exe; a container that watches others being started."),
    Check("C6", "mount points in shared volumes", section=PATHS, runs="paths:shared_volume",
          invariant="Missing mount points are made inside, also while somebody swaps the path for a link.",
          tried="A container swaps a directory and a link to a canary in a volume; others mount below it."),
    Check("C7", "control groups are closed", section=PATHS, runs="privilege:control_groups",
          invariant="No control group file can be written, no hierarchy mounted, no namespace made.",
          tried="Every file below /sys/fs/cgroup opened for writing; mounts and new namespaces asked for."),
    Check("C8", "capability sets", section=PATHS, runs="privilege:capability_sets",
          invariant="Root holds the profile's capabilities, everybody else none; inheritable and ambient sets are empty.",
          tried="The five sets of root and of another user, by run and by exec."),
    Check("C9", "exec is as confined as the start", section=PATHS, runs="privilege:exec_equals_start",
          invariant="A later program has the confinement of the first, and a user's name is never mistaken for another.",
          tried="Ids, capabilities, limits, namespaces, groups and environment of both compared; odd user names."),
    Check("C10", "supplementary groups", section=PATHS, runs="privilege:groups",
          invariant="A program is in the groups asked for, and in none of its caller's.",
          tried="Groups asked for, a caller in another group, a file that is closed to one group."),
    Check("C11", "settings and annotations do not reach the host", section=PATHS, runs="inputs:settings_and_annotations",
          invariant="Settings outside the container's namespaces are refused; annotations act on nothing.",
          tried="Settings of the host, asked for at the value they have; annotations that name properties, hooks, programs."),
    Check("C12", "nothing of the image runs outside", section=PATHS, runs="inputs:environment_of_the_image",
          invariant="No helper of the host takes its programs, libraries or variables from the image.",
          tried="Variables for loader, Python, shell and PATH that lead to traps of the image."),
    Check("C29", "policy decides on what is executed", section=DAEMON,
          invariant="The request that policy judges is the request that is carried out.", tried="",
          absent="this version serves no API: there is no request to judge"),
    Check("C30", "sockets", section=DAEMON, runs="host:sockets",
          invariant="Nothing of ours listens on TCP or an abstract name; sockets are for their owner; a container sees none.",
          tried="The listening sockets of all our processes while a container runs; the sockets a container sees."),
    Check("C31", "output is bounded", section=DAEMON, runs="host:output_flood",
          invariant="A program that writes without end costs no memory beside it and a bounded log, and is not stopped.",
          tried="64 MiB of output that nobody reads."),
    Check("C32", "names are names", section=DAEMON, runs="inputs:names",
          invariant="A container's name is neither a path nor an option nor a terminal sequence.",
          tried="Names with slashes, dots, line ends, escapes, options, and of 2,000 letters."),
    Check("C33", "privilege grants", section=DAEMON,
          invariant="What was agreed to is what is granted.", tried="",
          absent="this version asks for no privileges of plugins"),
    Check("C34", "network isolation", section=DAEMON, runs="host:network",
          invariant="A container without a network reaches none.",
          tried="Links, routes, and a service of the host on 127.0.0.1 (bridges are not part of this version)."),
    Check("T1", "no library is looked up inside", section=ENTRY, runs="traced:no_library_look_up",
          invariant="From the first namespace to the program no library, module or configuration file is looked up.",
          tried="A start under strace."),
    Check("T2", "a poisoned root file system", section=ENTRY, runs="inputs:poisoned_root",
          invariant="No file of the image is imported, loaded, run or waited for on the way in.",
          tried="Traps in place of Python's library, the loader, helpers, and named pipes for the files of /etc."),
    Check("T3", "a poisoned environment", section=ENTRY, runs="inputs:poisoned_caller",
          invariant="The caller's environment changes nothing.",
          tried="Variables that steer Python, the loader, the C library, Go and the shell."),
    Check("T4", "every system call may fail", section=ENTRY,
          invariant="A failed system call ends in a clean error, or in the same confinement.", tried="",
          absent="takes too long here; the project's tests fail every call of a start in turn"),
    Check("T5", "nothing is left", section=ENTRY, runs="host:cycles",
          invariant="Containers leave no process, mount, control group or record.",
          tried="30 containers with other programs started in them."),
    Check("T6", "signals during the start", section=ENTRY, runs="host:signal_storm",
          invariant="A start that is interrupted at any moment can be removed, and leaves nothing.",
          tried="15 starts hit by six kinds of signals at random moments."),
    Check("T7", "no finalizer runs inside", section=ENTRY,
          invariant="No object of the runtime is finalized in a container.", tried="",
          absent="the process that enters is a C program without one: there is nothing to try"),
    Check("T8", "the entering process cannot be read", section=ENTRY, runs="descriptors:entering_process",
          invariant="Memory map and environment of a process on its way in cannot be read from inside.",
          tried="A container that reads /proc of each new process while others are started in it."),
    Check("T9", "paths are walked as the kernel does", section=ENTRY,
          invariant="Paths inside a root resolve as openat2(2) resolves them.", tried="",
          absent="every walk is openat2(2) itself: there is nothing to compare"),
)  # fmt: skip
