"""The options that run and create share."""

from __future__ import annotations

from casemate.cli.table import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def _limit_options() -> Sequence[Option]:
    """Return the options of limits."""
    return [
        Option("cpu-shares", "Processor weight relative to others", short="c", kind="natural", meta="N"),
        Option("cpus", "Number of processors, for example 1.5", kind="cpus", meta="N"),
        Option("cpuset-cpus", "Processors that may be used (0-3, 0,1)", kind="cpu-list", meta="LIST"),
        Option("memory", "Memory limit, for example 512m", short="m", kind="bytes", meta="SIZE"),
        Option("memory-reservation", "Memory kept under pressure", kind="bytes", meta="SIZE"),
        Option("memory-swap", "Limit of memory plus swap (-1: no limit)", kind="memory-swap", meta="SIZE"),
        Option(
            "oom-score-adj",
            "Preference of the out-of-memory killer (-1000 to 1000)",
            kind="integer",
            meta="N",
        ),
        Option("pids-limit", "Most processes and threads (-1: no limit)", kind="integer", meta="N"),
        Option("shm-size", "Size of /dev/shm", kind="bytes", meta="SIZE"),
        Option("ulimit", "Resource limit (nofile=1024:4096)", kind="ulimit", meta="LIMIT", many=True),
    ]


def _wall_options() -> Sequence[Option]:
    """Return the options of the wall around the program."""
    return [
        Option("cap-add", "Add a Linux capability", kind="string", meta="CAP", many=True),
        Option("cap-drop", "Drop a Linux capability (ALL: every one)", kind="string", meta="CAP", many=True),
        Option(
            "device",
            "Give a device of the host (host[:container[:rwm]])",
            kind="device",
            meta="DEVICE",
            many=True,
            completes="file",
        ),
        Option("explain", "Watch every run, so that casemate why can name what was refused (slower)"),
        Option("group-add", "Add a supplementary group", kind="string", meta="GROUP", many=True),
        Option("privileged", "Give every capability and device: no wall against the image"),
        Option("read-only", "Make the root file system read-only"),
        Option(
            "relax",
            "Grant named relaxations of the default wall (casemate relax lists them)",
            kind="relax",
            meta="NAMES",
            many=True,
            completes="relaxation",
        ),
        Option(
            "security-opt",
            "Security option (no-new-privileges, seccomp=FILE)",
            kind="security-opt",
            meta="OPTION",
            many=True,
        ),
        Option(
            "sysctl",
            "Set a kernel parameter of the container's namespaces",
            kind="sysctl",
            meta="PAIR",
            many=True,
        ),
        Option("user", "User inside (name|uid)[:(group|gid)]", short="u", kind="string", meta="USER"),
        Option(
            "userns",
            "User namespace: auto (default), host or keep-id",
            kind="userns",
            meta="MODE",
            completes=("auto", "host", "keep-id"),
        ),
    ]


def _network_options() -> Sequence[Option]:
    """Return the options of names and the network."""
    return [
        Option(
            "add-host",
            "Add a host name to /etc/hosts (name:address)",
            kind="extra-host",
            meta="HOST",
            many=True,
        ),
        Option("dns", "Set a DNS server", kind="ip", meta="ADDRESS", many=True),
        Option("dns-option", "Set a DNS option", kind="string", meta="OPTION", many=True),
        Option("dns-search", "Set a DNS search domain", kind="string", meta="DOMAIN", many=True),
        Option("domainname", "NIS domain name", kind="string", meta="NAME"),
        Option("hostname", "Host name inside", short="h", kind="string", meta="NAME"),
        Option("net", "The old name of --network", kind="network", meta="NAME", hidden=True),
        Option(
            "network",
            "Network: none (default) or host",
            kind="network",
            meta="NAME",
            completes=("none", "host"),
        ),
    ]


def _file_options() -> Sequence[Option]:
    """Return the options of files and the environment."""
    return [
        Option(
            "env",
            "Set a variable (NAME=value, or NAME to pass your own)",
            short="e",
            kind="env",
            meta="VAR",
            many=True,
        ),
        Option(
            "env-file", "Read variables from a file", kind="string", meta="FILE", many=True, completes="file"
        ),
        Option(
            "mount",
            "Mount into the container (type=bind,source=...,target=...)",
            kind="mount",
            meta="MOUNT",
            many=True,
        ),
        Option(
            "tmpfs",
            "Mount an empty file system in memory (target[:options])",
            kind="tmpfs",
            meta="TARGET",
            many=True,
        ),
        Option(
            "volume",
            "Mount a directory or volume ([source:]target[:options])",
            short="v",
            kind="volume",
            meta="VOLUME",
            many=True,
            completes="file",
        ),
        Option("workdir", "Working directory inside", short="w", kind="string", meta="DIR"),
        Option("rootfs", "IMAGE is a directory to run", kind="bool"),
    ]


def _record_options() -> Sequence[Option]:
    """Return the options of what is kept about the container."""
    return [
        Option("annotation", "Add an annotation (key=value)", kind="key-value", meta="PAIR", many=True),
        Option(
            "cidfile", "Write the container's id to this file", kind="string", meta="FILE", completes="file"
        ),
        Option("label", "Set a label (key=value)", short="l", kind="key-value", meta="PAIR", many=True),
        Option(
            "label-file", "Read labels from a file", kind="string", meta="FILE", many=True, completes="file"
        ),
        Option(
            "log-driver",
            "Where output is kept (json-file and local mean casemate's own log)",
            kind="log-driver",
            meta="NAME",
        ),
        Option(
            "log-opt",
            "Options of the log: max-size=10m, max-file=3",
            kind="key-value",
            meta="PAIR",
            many=True,
        ),
        Option("name", "Name of the container", kind="string", meta="NAME"),
    ]


def _life_options() -> Sequence[Option]:
    """Return the options of how the program begins and ends."""
    return [
        Option(
            "attach", "Attach to stdin, stdout or stderr", short="a", kind="stream", meta="STREAM", many=True
        ),
        Option("entrypoint", "Replace the image's ENTRYPOINT (empty: none)", kind="string", meta="PROGRAM"),
        Option("init", "Run an init that forwards signals and reaps children"),
        Option("interactive", "Keep stdin open", short="i"),
        Option("platform", "Platform of the image, for example linux/arm64", kind="string", meta="PLATFORM"),
        Option(
            "pull",
            "When to pull the image: missing, always or never",
            kind="pull",
            meta="WHEN",
            completes=("missing", "always", "never"),
        ),
        Option("quiet", "Show no progress of a pull", short="q"),
        Option("restart", "Restart policy: no", kind="restart", meta="POLICY", completes=("no",)),
        Option("rm", "Remove the container when it has ended"),
        Option(
            "stop-signal", "Signal that stops the container", kind="signal", meta="SIGNAL", completes="signal"
        ),
        Option("stop-timeout", "Seconds to wait before killing", kind="seconds", meta="SECONDS"),
        Option("tty", "Give a terminal", short="t"),
    ]


def container_options() -> Sequence[Option]:
    """Return the options that run and create share and that work."""
    return [
        *_limit_options(),
        *_wall_options(),
        *_network_options(),
        *_file_options(),
        *_record_options(),
        *_life_options(),
    ]
