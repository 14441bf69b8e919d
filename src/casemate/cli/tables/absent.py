"""docker's options of run and create that this version does not have, each with its reason and its remedy."""

from __future__ import annotations

from casemate.cli.table import Option

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


def absent_options() -> Sequence[Option]:
    """Return the options that are recognised and refused."""
    return [*_families(), *_single()]


def _families() -> Sequence[Option]:
    """Return the options of features that are absent as a whole."""
    network = ("expose", "ip", "ip6", "link", "link-local-ip", "mac-address", "network-alias")
    blkio = (
        "blkio-weight",
        "blkio-weight-device",
        "device-read-bps",
        "device-read-iops",
        "device-write-bps",
        "device-write-iops",
    )
    health = (
        "health-cmd",
        "health-interval",
        "health-retries",
        "health-start-interval",
        "health-start-period",
        "health-timeout",
    )
    return [
        _refused(
            "publish",
            "Publish a port to the host",
            f"ports cannot be published yet: {NO_BRIDGE}",
            USE_HOST,
            short="p",
        ),
        _refused(
            "publish-all",
            "Publish all exposed ports",
            f"ports cannot be published yet: {NO_BRIDGE}",
            USE_HOST,
            kind="bool",
            short="P",
        ),
        *(_refused(name, "Network setting", NO_BRIDGE, USE_HOST) for name in network),
        *(_refused(name, "Limit of a block device", NO_DEVICE_LIMITS, LEAVE) for name in blkio),
        *(_refused(name, "Health check", NO_HEALTH, PROBE) for name in health),
        *(
            _refused(name, "Windows setting", WINDOWS, LEAVE)
            for name in ("cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops", "isolation")
        ),
        *(
            _refused(name, "Namespace to share", OWN_NAMESPACE, LEAVE)
            for name in ("ipc", "pid", "uts", "cgroupns")
        ),
    ]


def _single() -> Sequence[Option]:
    """Return the other options that are refused, and those that are accepted without effect."""
    return [*_refused_limits(), *_refused_rest()]


def _refused_limits() -> Sequence[Option]:
    """Return the refused options of limits."""
    return [
        _refused(
            "cgroup-parent", "Parent control group", "the control group's place is casemate's own", LEAVE
        ),
        _refused(
            "cpu-period", "Length of a scheduler period", "the quota is computed from --cpus", "use --cpus"
        ),
        _refused(
            "cpu-quota", "Processor time in a period", "the period is computed from --cpus", "use --cpus"
        ),
        _refused(
            "cpu-rt-period", "Real-time period", "real-time scheduling is not offered to containers", LEAVE
        ),
        _refused(
            "cpu-rt-runtime", "Real-time run time", "real-time scheduling is not offered to containers", LEAVE
        ),
        _refused("cpuset-mems", "Memory nodes", "this version does not bind memory to NUMA nodes", LEAVE),
        _refused(
            "device-cgroup-rule", "Rule of allowed devices", "devices are allowed one by one", "use --device"
        ),
        _refused("kernel-memory", "Kernel memory limit", "Linux dropped this limit in 5.4", "use --memory"),
        _refused("memory-swappiness", "Swappiness", "this version sets no swappiness", "use --memory-swap"),
        _refused(
            "oom-kill-disable",
            "Never kill",
            "a container that cannot be killed takes the host with it",
            "use --oom-score-adj",
            kind="bool",
        ),
        _refused(
            "storage-opt", "Storage option", "the size of the root cannot be limited in this version", LEAVE
        ),
    ]


def _refused_rest() -> Sequence[Option]:
    """Return the refused options of everything else."""
    return [
        _refused("gpus", "Graphics processors", "this version has no CDI devices", "use --device /dev/dri"),
        _refused(
            "runtime",
            "OCI runtime",
            "this version runs containers itself only",
            "run bundles with casemate-oci",
        ),
        _refused(
            "use-api-socket",
            "Give docker's socket",
            "casemate has no daemon and no socket",
            LEAVE,
            kind="bool",
        ),
        _refused("volume-driver", "Volume driver", "volumes are local directories", LEAVE),
        _refused(
            "volumes-from",
            "Mounts of another container",
            "mounts are named one by one",
            "repeat its -v options",
        ),
        Option("no-healthcheck", "Run no health check", hidden=True),
        Option("disable-content-trust", "Accepted; content is verified by digest always", hidden=True),
    ]
