"""`features`: what this runtime supports, in the runtime-spec's own form (features.md)."""

from __future__ import annotations

import os
import sys

from casemate.oci.quick_json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.runtime.cli.main import Settings


def features(settings: Settings, words: list[str]) -> int:
    """Print the features object as JSON."""
    del settings, words
    from casemate import __version__
    from casemate.kernel import capabilities
    from casemate.kernel.features import supports_seccomp_flags
    from casemate.kernel.namespaces import FLAGS
    from casemate.runtime import seccomp_compile
    from casemate.runtime.compile import mount_options
    from casemate.runtime.seccomp import FLAGS as FILTER_FLAGS

    document = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": mount_options.known_options(),
        "linux": {
            "namespaces": sorted(FLAGS),
            "capabilities": capabilities.to_names(capabilities.all_mask()),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": False},
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
            "apparmor": {"enabled": os.path.isdir("/sys/kernel/security/apparmor")},
            "selinux": {"enabled": os.path.isdir("/sys/fs/selinux")},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {"io.casemate.version": __version__},
    }
    sys.stdout.write(dumps(document) + "\n")
    return 0
