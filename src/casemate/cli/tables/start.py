"""Verbs that start a program: run, create, exec."""

from __future__ import annotations

from casemate.cli.table import ENGINE_ERROR, Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NO_BRIDGE = "this version has no bridge networks, so a container has no address of its own"
USE_HOST = "--network host shares the host's network; without it the container sees loopback only"
NO_HEALTH = "this version runs no health checks"
PROBE = "probe from outside: casemate exec CONTAINER COMMAND"
NO_DEVICE_LIMITS = "this version sets no limits of single block devices"
WINDOWS = "it exists only for Windows containers"
LEAVE = "leave it away"
OWN_NAMESPACE = "every container has its own namespaces; sharing them is not offered in this version"


def _refused(name: str, text: str, why: str, fix: str, *, kind: str = "string", short: str = "") -> Option:
    return Option(name, text, short=short, kind=kind, meta="VALUE", refused=(why, fix), hidden=True)


def _container_options() -> list[Option]:
    """Return the options that run and create share and that work."""
    return [
        Option("add-host", "Add a host name to /etc/hosts (name:address)", kind="extra-host", meta="HOST", many=True),
        Option("annotation", "Add an annotation (key=value)", kind="key-value", meta="PAIR", many=True),
        Option("attach", "Attach to stdin, stdout or stderr", short="a", kind="stream", meta="STREAM", many=True),
        Option("cap-add", "Add a Linux capability", kind="string", meta="CAP", many=True),
        Option("cap-drop", "Drop a Linux capability (ALL: every one)", kind="string", meta="CAP", many=True),
        Option("cidfile", "Write the container's id to this file", kind="string", meta="FILE", completes="file"),
        Option("cpu-shares", "Processor weight relative to others", short="c", kind="natural", meta="N"),
        Option("cpus", "Number of processors, for example 1.5", kind="cpus", meta="N"),
        Option("cpuset-cpus", "Processors that may be used (0-3, 0,1)", kind="cpu-list", meta="LIST"),
        Option("device", "Give a device of the host (host[:container[:rwm]])", kind="device", meta="DEVICE", many=True, completes="file"),
        Option("dns", "Set a DNS server", kind="ip", meta="ADDRESS", many=True),
        Option("dns-option", "Set a DNS option", kind="string", meta="OPTION", many=True),
        Option("dns-search", "Set a DNS search domain", kind="string", meta="DOMAIN", many=True),
        Option("domainname", "NIS domain name", kind="string", meta="NAME"),
        Option("entrypoint", "Replace the image's ENTRYPOINT (empty: none)", kind="string", meta="PROGRAM"),
        Option("env", "Set a variable (NAME=value, or NAME to pass your own)", short="e", kind="env", meta="VAR", many=True),
        Option("env-file", "Read variables from a file", kind="string", meta="FILE", many=True, completes="file"),
        Option("group-add", "Add a supplementary group", kind="string", meta="GROUP", many=True),
        Option("hostname", "Host name inside", short="h", kind="string", meta="NAME"),
        Option("init", "Run an init that forwards signals and reaps children"),
        Option("interactive", "Keep stdin open", short="i"),
        Option("label", "Set a label (key=value)", short="l", kind="key-value", meta="PAIR", many=True),
        Option("label-file", "Read labels from a file", kind="string", meta="FILE", many=True, completes="file"),
        Option("log-driver", "Where output is kept (json-file and local mean casemate's own log)", kind="log-driver", meta="NAME"),
        Option("log-opt", "Options of the log: max-size=10m, max-file=3", kind="key-value", meta="PAIR", many=True),
        Option("memory", "Memory limit, for example 512m", short="m", kind="bytes", meta="SIZE"),
        Option("memory-reservation", "Memory kept under pressure", kind="bytes", meta="SIZE"),
        Option("memory-swap", "Limit of memory plus swap (-1: no limit)", kind="memory-swap", meta="SIZE"),
        Option("mount", "Mount into the container (type=bind,source=...,target=...)", kind="mount", meta="MOUNT", many=True),
        Option("name", "Name of the container", kind="string", meta="NAME"),
        Option("network", "Network: none (default) or host", kind="network", meta="NAME", completes=("none", "host")),
        Option("net", "The old name of --network", kind="network", meta="NAME", hidden=True),
        Option("oom-score-adj", "Preference of the out-of-memory killer (-1000 to 1000)", kind="integer", meta="N"),
        Option("pids-limit", "Most processes and threads (-1: no limit)", kind="integer", meta="N"),
        Option("platform", "Platform of the image, for example linux/arm64", kind="string", meta="PLATFORM"),
        Option("privileged", "Give every capability and device: no wall against the image"),
        Option("pull", "When to pull the image: missing, always or never", kind="pull", meta="WHEN", completes=("missing", "always", "never")),
        Option("quiet", "Show no progress of a pull", short="q"),
        Option("read-only", "Make the root file system read-only"),
        Option("relax", "Grant a named relaxation of the default wall", kind="string", meta="NAME", many=True),
        Option("restart", "Restart policy: no", kind="restart", meta="POLICY", completes=("no",)),
        Option("rm", "Remove the container when it has ended"),
        Option("rootfs", "IMAGE is a directory to run", kind="bool"),
        Option("security-opt", "Security option (no-new-privileges, seccomp=FILE)", kind="security-opt", meta="OPTION", many=True),
        Option("shm-size", "Size of /dev/shm", kind="bytes", meta="SIZE"),
        Option("stop-signal", "Signal that stops the container", kind="signal", meta="SIGNAL", completes="signal"),
        Option("stop-timeout", "Seconds to wait before killing", kind="seconds", meta="SECONDS"),
        Option("sysctl", "Set a kernel parameter of the container's namespaces", kind="sysctl", meta="PAIR", many=True),
        Option("tmpfs", "Mount an empty file system in memory (target[:options])", kind="tmpfs", meta="TARGET", many=True),
        Option("tty", "Give a terminal", short="t"),
        Option("ulimit", "Resource limit (nofile=1024:4096)", kind="ulimit", meta="LIMIT", many=True),
        Option("user", "User inside (name|uid)[:(group|gid)]", short="u", kind="string", meta="USER"),
        Option("userns", "User namespace: auto (default), host or keep-id", kind="userns", meta="MODE", completes=("auto", "host", "keep-id")),
        Option("volume", "Mount a directory or volume ([source:]target[:options])", short="v", kind="volume", meta="VOLUME", many=True, completes="file"),
        Option("workdir", "Working directory inside", short="w", kind="string", meta="DIR"),
    ]  # fmt: skip


def _absent_options() -> list[Option]:
    """Return docker's options that this version refuses, each with its reason and remedy."""
    network = ("expose", "ip", "ip6", "link", "link-local-ip", "mac-address", "network-alias")
    blkio = ("blkio-weight", "blkio-weight-device", "device-read-bps", "device-read-iops", "device-write-bps", "device-write-iops")
    health = ("health-cmd", "health-interval", "health-retries", "health-start-interval", "health-start-period", "health-timeout")
    return [
        _refused("publish", "Publish a port to the host", f"ports cannot be published yet: {NO_BRIDGE}", USE_HOST, short="p"),
        _refused("publish-all", "Publish all exposed ports", f"ports cannot be published yet: {NO_BRIDGE}", USE_HOST, kind="bool", short="P"),
        *(_refused(name, "Network setting", NO_BRIDGE, USE_HOST) for name in network),
        *(_refused(name, "Limit of a block device", NO_DEVICE_LIMITS, LEAVE) for name in blkio),
        *(_refused(name, "Health check", NO_HEALTH, PROBE) for name in health),
        *(_refused(name, "Windows setting", WINDOWS, LEAVE) for name in ("cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops", "isolation")),
        *(_refused(name, "Namespace to share", OWN_NAMESPACE, LEAVE) for name in ("ipc", "pid", "uts", "cgroupns")),
        _refused("cgroup-parent", "Parent control group", "the control group's place is casemate's own", LEAVE),
        _refused("cpu-period", "Length of a scheduler period", "the quota is computed from --cpus", "use --cpus"),
        _refused("cpu-quota", "Processor time in a period", "the period is computed from --cpus", "use --cpus"),
        _refused("cpu-rt-period", "Real-time period", "real-time scheduling is not offered to containers", LEAVE),
        _refused("cpu-rt-runtime", "Real-time run time", "real-time scheduling is not offered to containers", LEAVE),
        _refused("cpuset-mems", "Memory nodes", "this version does not bind memory to NUMA nodes", LEAVE),
        _refused("device-cgroup-rule", "Rule of allowed devices", "devices are allowed one by one", "use --device"),
        _refused("gpus", "Graphics processors", "this version has no CDI devices", "use --device /dev/dri"),
        _refused("kernel-memory", "Kernel memory limit", "Linux dropped this limit in 5.4", "use --memory"),
        _refused("memory-swappiness", "Swappiness", "this version sets no swappiness", "use --memory-swap"),
        _refused("oom-kill-disable", "Never kill", "a container that cannot be killed takes the host with it", "use --oom-score-adj", kind="bool"),
        _refused("runtime", "OCI runtime", "this version runs containers itself only", "run bundles with casemate-oci"),
        _refused("storage-opt", "Storage option", "the size of the root cannot be limited in this version", LEAVE),
        _refused("use-api-socket", "Give docker's socket", "casemate has no daemon and no socket", LEAVE, kind="bool"),
        _refused("volume-driver", "Volume driver", "volumes are local directories", LEAVE),
        _refused("volumes-from", "Mounts of another container", "mounts are named one by one", "repeat its -v options"),
        Option("no-healthcheck", "Run no health check", hidden=True),
        Option("disable-content-trust", "Accepted; content is verified by digest always", hidden=True),
    ]  # fmt: skip


def create_options() -> Sequence[Option]:
    """Return the options of create."""
    return [*_container_options(), *_absent_options()]


def run_options() -> Sequence[Option]:
    """Return the options of run."""
    return [
        *_container_options(),
        Option("detach", "Run in the background and print the container's id", short="d"),
        Option("detach-keys", "Keys that detach (default ctrl-p,ctrl-q)", kind="detach-keys", meta="KEYS"),
        Option("sig-proxy", "Pass signals on to the program (default true)"),
        *_absent_options(),
    ]


def exec_options() -> Sequence[Option]:
    """Return the options of exec."""
    return [
        Option("detach", "Run in the background", short="d"),
        Option("detach-keys", "Keys that detach (default ctrl-p,ctrl-q)", kind="detach-keys", meta="KEYS"),
        Option("env", "Set a variable", short="e", kind="env", meta="VAR", many=True),
        Option("env-file", "Read variables from a file", kind="string", meta="FILE", many=True, completes="file"),
        Option("interactive", "Keep stdin open", short="i"),
        Option("privileged", "Give the program every capability"),
        Option("tty", "Give a terminal", short="t"),
        Option("user", "User inside (name|uid)[:(group|gid)]", short="u", kind="string", meta="USER"),
        Option("workdir", "Working directory inside", short="w", kind="string", meta="DIR"),
    ]


VERBS = {
    "run": Verb(
        "run",
        "Create and run a new container from an image",
        module="run",
        operands=("IMAGE [COMMAND] [ARG...]", 1, None),
        options=run_options,
        stop_at_operand=True,
        failure_code=ENGINE_ERROR,
        completes="image",
        describe=(
            "The exit code is the program's. 125: casemate could not start it; 126: the program cannot be executed; "
            "127: it was not found; 128+n: signal n killed it. The network is none (loopback only) unless --network host is given."
        ),
        examples=(
            ("casemate run -it --rm debian:bookworm bash", "a shell that leaves nothing behind"),
            ('casemate run --rm -v "$PWD:/work" -w /work -u "$(id -u)" debian:bookworm make', "build the present directory"),
            ("casemate run -d --name web --memory 256m --cpus 0.5 --network host nginx", "a server in the background, limited"),
            ("echo hello | casemate run --rm -i busybox tr a-z A-Z", "a filter in a pipeline"),
        ),
    ),
    "create": Verb(
        "create",
        "Create a new container without starting it",
        module="create",
        operands=("IMAGE [COMMAND] [ARG...]", 1, None),
        options=create_options,
        stop_at_operand=True,
        failure_code=ENGINE_ERROR,
        completes="image",
        examples=(("casemate start -a $(casemate create --name job debian:bookworm date)", "create now, run when wanted"),),
    ),
    "exec": Verb(
        "exec",
        "Execute a command in a running container",
        module="exec",
        operands=("CONTAINER COMMAND [ARG...]", 2, None),
        options=exec_options,
        stop_at_operand=True,
        failure_code=ENGINE_ERROR,
        completes="running",
        describe="The command runs behind the same wall as the container's program. Exit codes are those of casemate run.",
        examples=(
            ("casemate exec -it web sh", "a shell inside"),
            ("casemate exec -u root web cat /etc/shadow", "as another user"),
        ),
    ),
}
