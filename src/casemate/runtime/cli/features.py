"""`features`: what this runtime supports, in the runtime-spec's own form (features.md)."""

from __future__ import annotations

import sys

from casemate.oci.quick_json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.cli.main import Settings


def features(settings: Settings, words: list[str]) -> int:
    """Print the features object as JSON."""
    del settings, words
    sys.stdout.write(dumps(document()) + "\n")
    return 0


def document() -> dict[str, Any]:
    """Return the features object: what this program can do, whatever the host is (but for the seccomp flags of its kernel)."""
    from casemate import __version__
    from casemate.kernel import capabilities
    from casemate.kernel.features import supports_seccomp_flags
    from casemate.kernel.namespaces import FLAGS
    from casemate.runtime import seccomp_compile
    from casemate.runtime.compile import mount_options
    from casemate.runtime.schema.config import HOOKS, NEWEST, OLDEST
    from casemate.runtime.schema.linux import MEMORY_FLAGS, MEMORY_MODES
    from casemate.runtime.seccomp import FLAGS as FILTER_FLAGS

    return {
        "ociVersionMin": OLDEST,
        "ociVersionMax": NEWEST,
        "hooks": list(HOOKS),
        "mountOptions": mount_options.known_options(),
        "linux": {
            "namespaces": sorted(FLAGS),
            "capabilities": capabilities.to_names(capabilities.all_mask()),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted(seccomp_compile.ACTIONS),
                "operators": sorted(seccomp_compile.COMPARISONS),
                "archs": seccomp_compile.known_architectures(),
                "knownFlags": sorted(FILTER_FLAGS),
                "supportedFlags": sorted(
                    name for name, bit in FILTER_FLAGS.items() if supports_seccomp_flags(bit)
                ),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "memoryPolicy": {"modes": list(MEMORY_MODES), "flags": list(MEMORY_FLAGS)},
            "intelRdt": {"enabled": False, "schemata": False, "monitoring": False},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "potentiallyUnsafeConfigAnnotations": [],
        "annotations": {"io.casemate.version": __version__},
    }
