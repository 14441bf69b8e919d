"""config.json as a whole: config.md. For a container that shall run, `root` and `process` are there."""

from __future__ import annotations

from casemate.runtime.schema import rules
from casemate.runtime.schema.kinds import (
    ABSOLUTE,
    ANY_OBJECT,
    ANY_TEXT,
    BOOLEAN,
    LIST,
    MAP,
    NUMBER,
    OBJECT,
    TESTED,
    TEXTS,
)
from casemate.runtime.schema.linux import ID_RANGES, LINUX
from casemate.runtime.schema.process import PROCESS

OLDEST, NEWEST = "1.0.0", "1.3.0"
"""The versions of the specification between which a document may be."""
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
OTHER_SYSTEMS = ("windows", "solaris", "vm", "zos", "freebsd")

_HOOK = (
    OBJECT,
    {"path": ABSOLUTE, "args": TEXTS, "env": TEXTS, "timeout": (NUMBER, 1, 0x7FFF_FFFF)},
    ("path",),
    None,
)
_MOUNT = (
    OBJECT,
    {
        "destination": (TESTED, rules.not_empty),
        "source": ANY_TEXT,
        "type": ANY_TEXT,
        "options": TEXTS,
        "uidMappings": ID_RANGES,
        "gidMappings": ID_RANGES,
    },
    ("destination",),
    rules.both_mappings,
)
CONFIG = (
    OBJECT,
    {
        "ociVersion": (TESTED, rules.version),
        "root": (OBJECT, {"path": (TESTED, rules.not_empty), "readonly": BOOLEAN}, ("path",), None),
        "process": PROCESS,
        "hostname": (TESTED, rules.host_name),
        "domainname": (TESTED, rules.host_name),
        "mounts": (LIST, _MOUNT, 0, None),
        "hooks": (OBJECT, dict.fromkeys(HOOKS, (LIST, _HOOK, 0, None)), (), None),
        "annotations": (MAP, ANY_TEXT, rules.not_empty, None),
        "linux": LINUX,
        **dict.fromkeys(OTHER_SYSTEMS, ANY_OBJECT),
    },
    ("ociVersion", "root", "process"),
    None,
)
