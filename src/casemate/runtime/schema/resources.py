"""`linux.resources`: config-linux.md, "Control groups" to "Unified"."""

from __future__ import annotations

from casemate.runtime.schema import rules
from casemate.runtime.schema.kinds import (
    ANY_TEXT,
    BOOLEAN,
    CHOICE,
    INT64,
    LIST,
    MAP,
    OBJECT,
    TESTED,
    UINT16,
    UINT32,
    UINT64,
)

DEVICE_RULE = (
    OBJECT,
    {
        "allow": BOOLEAN,
        "type": (CHOICE, ("a", "b", "c", "")),
        "major": INT64,
        "minor": INT64,
        "access": (TESTED, rules.access),
    },
    ("allow",),
    None,
)
_MEMORY = (
    OBJECT,
    {
        "limit": INT64,
        "reservation": INT64,
        "swap": INT64,
        "kernel": INT64,
        "kernelTCP": INT64,
        "swappiness": UINT64,
        "disableOOMKiller": BOOLEAN,
        "useHierarchy": BOOLEAN,
        "checkBeforeUpdate": BOOLEAN,
    },
    (),
    None,
)
_CPU = (
    OBJECT,
    {
        "shares": UINT64,
        "quota": INT64,
        "burst": UINT64,
        "period": UINT64,
        "realtimeRuntime": INT64,
        "realtimePeriod": UINT64,
        "cpus": (TESTED, rules.numbers),
        "mems": (TESTED, rules.numbers),
        "idle": INT64,
    },
    (),
    None,
)
_WEIGHTS = (
    LIST,
    (
        OBJECT,
        {"major": INT64, "minor": INT64, "weight": UINT16, "leafWeight": UINT16},
        ("major", "minor"),
        None,
    ),
    0,
    None,
)
_THROTTLES = (
    LIST,
    (OBJECT, {"major": INT64, "minor": INT64, "rate": UINT64}, ("major", "minor"), None),
    0,
    None,
)
_BLOCK_IO = (
    OBJECT,
    {
        "weight": UINT16,
        "leafWeight": UINT16,
        "weightDevice": _WEIGHTS,
        "throttleReadBpsDevice": _THROTTLES,
        "throttleWriteBpsDevice": _THROTTLES,
        "throttleReadIOPSDevice": _THROTTLES,
        "throttleWriteIOPSDevice": _THROTTLES,
    },
    (),
    None,
)
_PRIORITY = (OBJECT, {"name": ANY_TEXT, "priority": UINT32}, ("name", "priority"), None)
_HUGE_PAGES = (
    OBJECT,
    {"pageSize": (TESTED, rules.page_size), "limit": UINT64},
    ("pageSize", "limit"),
    None,
)
RESOURCES = (
    OBJECT,
    {
        "devices": (LIST, DEVICE_RULE, 0, None),
        "memory": _MEMORY,
        "cpu": _CPU,
        "blockIO": _BLOCK_IO,
        "hugepageLimits": (LIST, _HUGE_PAGES, 0, None),
        "network": (OBJECT, {"classID": UINT32, "priorities": (LIST, _PRIORITY, 0, None)}, (), None),
        "pids": (OBJECT, {"limit": INT64}, (), None),
        "rdma": (
            MAP,
            (OBJECT, {"hcaHandles": UINT32, "hcaObjects": UINT32}, (), rules.one_limit),
            rules.not_empty,
            None,
        ),
        "unified": (MAP, ANY_TEXT, rules.not_empty, None),
    },
    (),
    None,
)
