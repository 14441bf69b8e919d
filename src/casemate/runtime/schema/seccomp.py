"""`linux.seccomp`: config-linux.md, "Seccomp"; the names are those of libseccomp 2.6."""

from __future__ import annotations

from casemate.runtime.schema import rules
from casemate.runtime.schema.kinds import ANY_TEXT, CHOICE, LIST, OBJECT, UINT32, UINT64

ARCHITECTURES = (
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
)
ACTIONS = (
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
)
FLAGS = (
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
)
OPERATORS = (
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)

_ACTION = (CHOICE, ACTIONS)
_ARGUMENT = (
    OBJECT,
    {"index": UINT32, "value": UINT64, "valueTwo": UINT64, "op": (CHOICE, OPERATORS)},
    ("index", "value", "op"),
    None,
)
_SYSCALL = (
    OBJECT,
    {
        "names": (LIST, ANY_TEXT, 1, None),
        "action": _ACTION,
        "errnoRet": UINT32,
        "args": (LIST, _ARGUMENT, 0, None),
    },
    ("names", "action"),
    None,
)
SECCOMP = (
    OBJECT,
    {
        "defaultAction": _ACTION,
        "defaultErrnoRet": UINT32,
        "architectures": (LIST, (CHOICE, ARCHITECTURES), 0, None),
        "flags": (LIST, (CHOICE, FLAGS), 0, None),
        "listenerPath": ANY_TEXT,
        "listenerMetadata": ANY_TEXT,
        "syscalls": (LIST, _SYSCALL, 0, None),
    },
    ("defaultAction",),
    rules.listener,
)
