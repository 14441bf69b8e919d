"""`process`: config.md, "Process", "POSIX process", "Linux process" and "User"."""

from __future__ import annotations

from casemate.runtime.schema import rules
from casemate.runtime.schema.kinds import (
    ABSOLUTE,
    AN_ID,
    ANY_TEXT,
    BOOLEAN,
    CHOICE,
    LIST,
    NUMBER,
    OBJECT,
    TESTED,
    TEXTS,
    UINT32,
    UINT64,
)

RLIMITS = (
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
)
IO_CLASSES = ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")
POLICIES = (
    "SCHED_OTHER",
    "SCHED_FIFO",
    "SCHED_RR",
    "SCHED_BATCH",
    "SCHED_ISO",
    "SCHED_IDLE",
    "SCHED_DEADLINE",
)
SCHEDULER_FLAGS = (
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
)

_PROCESSORS = (TESTED, rules.numbers)

USER = (
    OBJECT,
    {
        "uid": AN_ID,
        "gid": AN_ID,
        "umask": UINT32,
        "additionalGids": (LIST, AN_ID, 0, None),
        "username": ANY_TEXT,
    },
    (),
    None,
)
CAPABILITIES = (
    OBJECT,
    {
        "bounding": TEXTS,
        "effective": TEXTS,
        "permitted": TEXTS,
        "inheritable": TEXTS,
        "ambient": TEXTS,
    },
    (),
    None,
)
RLIMIT = (
    OBJECT,
    {"type": (CHOICE, RLIMITS), "soft": UINT64, "hard": UINT64},
    ("type", "soft", "hard"),
    rules.soft_below_hard,
)
SCHEDULER = (
    OBJECT,
    {
        "policy": (CHOICE, POLICIES),
        "nice": (NUMBER, -20, 19),
        "priority": (NUMBER, 0, 99),
        "flags": (LIST, (CHOICE, SCHEDULER_FLAGS), 0, None),
        "runtime": UINT64,
        "deadline": UINT64,
        "period": UINT64,
    },
    ("policy",),
    rules.policy_numbers,
)
PROCESS = (
    OBJECT,
    {
        "args": (LIST, ANY_TEXT, 1, rules.program),
        "env": (LIST, (TESTED, rules.variable), 0, None),
        "cwd": ABSOLUTE,
        "user": USER,
        "terminal": BOOLEAN,
        "consoleSize": (OBJECT, {"height": UINT64, "width": UINT64}, ("height", "width"), None),
        "capabilities": CAPABILITIES,
        "rlimits": (LIST, RLIMIT, 0, rules.types_once),
        "noNewPrivileges": BOOLEAN,
        "oomScoreAdj": (NUMBER, -1000, 1000),
        "apparmorProfile": ANY_TEXT,
        "selinuxLabel": ANY_TEXT,
        "scheduler": SCHEDULER,
        "ioPriority": (
            OBJECT,
            {"class": (CHOICE, IO_CLASSES), "priority": (NUMBER, 0, 7)},
            ("class",),
            None,
        ),
        "execCPUAffinity": (OBJECT, {"initial": _PROCESSORS, "final": _PROCESSORS}, (), None),
        "commandLine": ANY_TEXT,
    },
    ("args", "cwd"),
    None,
)
