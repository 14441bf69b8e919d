"""`linux`: config-linux.md, without resources and seccomp, which have rooms of their own."""

from __future__ import annotations

from casemate.runtime.schema import rules
from casemate.runtime.schema.kinds import (
    ABSOLUTE,
    ABSOLUTES,
    AN_ID,
    ANY_TEXT,
    BOOLEAN,
    CHOICE,
    INT64,
    LIST,
    MAP,
    NUMBER,
    OBJECT,
    TESTED,
    TEXTS,
    UINT32,
)
from casemate.runtime.schema.resources import RESOURCES
from casemate.runtime.schema.seccomp import SECCOMP

NAMESPACES = ("mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time")
PROPAGATIONS = (
    "private",
    "shared",
    "slave",
    "unbindable",
    "rprivate",
    "rshared",
    "rslave",
    "runbindable",
    "",
)
DOMAINS = ("LINUX", "LINUX32")
MEMORY_MODES = (
    "MPOL_DEFAULT",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_WEIGHTED_INTERLEAVE",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_LOCAL",
)
MEMORY_FLAGS = ("MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES")

_ID_RANGE = (
    OBJECT,
    {"containerID": AN_ID, "hostID": AN_ID, "size": (NUMBER, 1, 0xFFFF_FFFF)},
    ("containerID", "hostID", "size"),
    rules.inside_id_space,
)
ID_RANGES = (LIST, _ID_RANGE, 0, None)
_DEVICE = (
    OBJECT,
    {
        "type": (CHOICE, ("c", "b", "u", "p")),
        "path": ABSOLUTE,
        "major": INT64,
        "minor": INT64,
        "fileMode": UINT32,
        "uid": AN_ID,
        "gid": AN_ID,
    },
    ("type", "path"),
    rules.device_numbers,
)
_OFFSET = (OBJECT, {"secs": INT64, "nanosecs": (NUMBER, 0, 999_999_999)}, (), None)
_INTEL_RDT = (
    OBJECT,
    {
        "closID": (TESTED, rules.one_line),
        "l3CacheSchema": (TESTED, rules.one_line),
        "memBwSchema": (TESTED, rules.bandwidth),
        "schemata": (LIST, (TESTED, rules.one_line), 0, None),
        "enableMonitoring": BOOLEAN,
    },
    (),
    None,
)
LINUX = (
    OBJECT,
    {
        "namespaces": (
            LIST,
            (
                OBJECT,
                {"type": (CHOICE, NAMESPACES), "path": (TESTED, rules.absolute_or_empty)},
                ("type",),
                None,
            ),
            0,
            rules.types_once,
        ),
        "uidMappings": ID_RANGES,
        "gidMappings": ID_RANGES,
        "timeOffsets": (MAP, _OFFSET, rules.clock, None),
        "devices": (LIST, _DEVICE, 0, None),
        "netDevices": (
            MAP,
            (OBJECT, {"name": (TESTED, rules.new_interface)}, (), None),
            rules.interface,
            rules.names_once,
        ),
        "cgroupsPath": ANY_TEXT,
        "resources": RESOURCES,
        "rootfsPropagation": (CHOICE, PROPAGATIONS),
        "seccomp": SECCOMP,
        "sysctl": (MAP, ANY_TEXT, rules.not_empty, None),
        "maskedPaths": ABSOLUTES,
        "readonlyPaths": ABSOLUTES,
        "mountLabel": ANY_TEXT,
        "intelRdt": _INTEL_RDT,
        "memoryPolicy": (
            OBJECT,
            {
                "mode": (CHOICE, MEMORY_MODES),
                "nodes": (TESTED, rules.numbers),
                "flags": (LIST, (CHOICE, MEMORY_FLAGS), 0, None),
            },
            ("mode",),
            rules.mode_nodes,
        ),
        "personality": (OBJECT, {"domain": (CHOICE, DOMAINS), "flags": TEXTS}, ("domain",), None),
    },
    (),
    rules.own_network,
)
