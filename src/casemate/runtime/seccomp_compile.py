"""The rules of OCI `linux.seccomp` -> BPF, through libseccomp: the slow way, taken once for each profile on a machine.

Two things are added to what libseccomp makes, as runc does: calls newer than every call that the profile names answer ENOSYS
when the default refuses in another way (so that C libraries fall back instead of failing), and names that this libseccomp does
not know yet are resolved by our own list of recent numbers, which are the same on every architecture.
"""

from __future__ import annotations

import os
import struct

from casemate.errors import Invalid, Unsupported
from casemate.runtime.libseccomp import Library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Condition = tuple[int, int, int, int]
    _Rule = tuple[list[str], int, list[list[Condition]]]

_DOING = "compile seccomp profile"

# seccomp.h of libseccomp.
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_REFUSING = tuple(
    ACTIONS[name] for name in ("SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO")
)
COMPARISONS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_DATA_BITS, _ACTION_BITS = 0xFFFF, 0xFFFF0000  # SECCOMP_RET_DATA, SECCOMP_RET_ACTION_FULL
_EPERM, _ENOSYS = 1, 38
_ARGUMENTS, _WORD = 6, (1 << 64) - 1


class _Abi:
    """One way to make system calls: libseccomp's name, AUDIT_ARCH_* of linux/audit.h, and `uname -m` that makes them natively."""

    __slots__ = ("audit", "machine", "token")

    def __init__(self, token: bytes, audit: int, machine: str = "") -> None:
        self.token = token
        self.audit = audit
        self.machine = machine


_ABIS = {
    "SCMP_ARCH_X86": _Abi(b"x86", 0x40000003),
    "SCMP_ARCH_X86_64": _Abi(b"x86_64", 0xC000003E, "x86_64"),
    "SCMP_ARCH_X32": _Abi(b"x32", 0xC000003E),
    "SCMP_ARCH_ARM": _Abi(b"arm", 0x40000028),
    "SCMP_ARCH_AARCH64": _Abi(b"aarch64", 0xC00000B7, "aarch64"),
}
_SPOKEN = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
# runtime-spec, config-linux.md: what a profile may list although this machine does not speak it.
_FOREIGN_NAMES = """
    MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64
    M68K SH SHEB
"""
_FOREIGN = frozenset(f"SCMP_ARCH_{name}" for name in _FOREIGN_NAMES.split())
_X32_BIT = 0x40000000

# Unified numbers (asm-generic/unistd.h, 424 and up are equal everywhere): newer than Debian 12's libseccomp.
_RECENT = {
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_getattr": 468,
    "file_setattr": 469,
    "listns": 470,
}
_RECENT_X86_64 = {"uretprobe": 335, "uprobe": 336}

# linux/bpf_common.h opcodes of the prologue.
_LD_ABS, _JEQ, _JGT, _JGE, _RET = 0x20, 0x15, 0x25, 0x35, 0x06
_OFFSET_NR, _OFFSET_ARCH = 0, 4
_RET_ENOSYS = 0x00050000 | _ENOSYS
_NAMES_SHOWN = 12


def compile_rules(profile: dict[str, Any]) -> tuple[bytes, list[str]]:
    """Return the program and notes about what was left out of it.

    Raises: Invalid (unknown word, malformed rule, program too long), Unsupported (no libseccomp, unknown machine).
    """
    default = _action(profile.get("defaultAction"), profile.get("defaultErrnoRet"), word="defaultErrnoRet")
    abis = [_ABIS[name] for name in _abi_names(profile)]
    library = Library()
    rules = [_rule(rule, place) for place, rule in enumerate(_list(profile, "syscalls"))]
    own, *others = abis
    context = library.new(default, [own.token], optimize=bool(rules))
    try:
        unknown = _add_rules(library, context, rules, default=default, recent=True)
        if others:
            # libseccomp translates a number by its name from one architecture to another, and so none that it has no name for.
            second = library.new(default, [abi.token for abi in others], optimize=bool(rules))
            try:
                _add_rules(library, second, rules, default=default, recent=False)
                library.merge(context, second)
                second = 0
            finally:
                if second:
                    library.release(second)
        program = library.export(context)
    finally:
        library.release(context)
    if default & _ACTION_BITS in _REFUSING and default != _RET_ENOSYS:
        program = _prologue(library, abis, {name for names, _, _ in rules for name in names}) + program
    return program, _notes(unknown)


def _add_rules(library: Library, context: int, rules: list[_Rule], *, default: int, recent: bool) -> set[str]:
    """Add the rules; return the names that nobody knows. ``recent``: with those that only we know."""
    unknown = set()
    for names, action, groups in rules:
        for name in names:
            number = library.number(name)
            if number is None and recent:
                number = _recent_number(name)
            if number is None:
                unknown.add(name)
            elif action != default:  # libseccomp refuses rules that change nothing
                for group in groups:
                    library.add(context, name=name, number=number, action=action, conditions=group)
    return unknown


def _list(holder: dict[str, Any], key: str) -> list[Any]:
    found = holder.get(key) or []
    if not isinstance(found, list):
        raise Invalid(_DOING, key, "it is not a list")
    return found


def _abi_names(profile: dict[str, Any]) -> list[str]:
    """Return the listed architectures that this machine can run; its own one always, first. Raises: Invalid, Unsupported."""
    machine = os.uname().machine
    if machine not in _SPOKEN:
        raise Unsupported(_DOING, machine, "this architecture is not known")
    own, *others = _SPOKEN[machine]
    listed = _list(profile, "architectures")
    for name in listed:
        if name not in _ABIS and name not in _FOREIGN:
            raise Invalid(_DOING, str(name), "unknown architecture", hint="known: " + " ".join(sorted(_ABIS)))
    return [own, *(name for name in others if name in listed)]


def _action(name: Any, errno: Any, *, word: str = "errnoRet") -> int:
    if not isinstance(name, str) or name not in ACTIONS:
        raise Invalid(_DOING, str(name), "unknown action", hint=f"known: {' '.join(sorted(ACTIONS))}")
    if name in _WITH_ERRNO:
        value = _EPERM if errno is None else errno
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _DATA_BITS:
            raise Invalid(_DOING, str(value), f"{word} is not an error number")
        return ACTIONS[name] | value
    if errno is not None:
        raise Invalid(_DOING, name, f"{word} needs SCMP_ACT_ERRNO or SCMP_ACT_TRACE")
    return ACTIONS[name]


def _rule(rule: Any, place: int) -> _Rule:
    """Return the names, action and alternative conditions of one rule. Raises: Invalid."""
    where = f"syscalls[{place}]"
    if not isinstance(rule, dict):
        raise Invalid(_DOING, where, "it is not an object")
    names = _list(rule, "names")
    if not names or not all(isinstance(name, str) and name and "\0" not in name for name in names):
        raise Invalid(_DOING, f"{where}.names", "it is not a list of system calls")
    conditions = [_condition(item) for item in _list(rule, "args")]
    return names, _action(rule.get("action"), rule.get("errnoRet")), _alternatives(conditions)


def _condition(item: Any) -> Condition:
    if not isinstance(item, dict) or not isinstance(item.get("op"), str) or item["op"] not in COMPARISONS:
        raise Invalid(_DOING, repr(item)[:80], "unknown comparison", hint=f"known: {' '.join(COMPARISONS)}")
    index = item.get("index")
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < _ARGUMENTS:
        raise Invalid(_DOING, str(index), "an argument index is 0 to 5")
    values = [item.get("value", 0), item.get("valueTwo", 0)]
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _WORD:
            raise Invalid(_DOING, repr(value)[:80], "an argument's value is a number of 64 bits")
    return index, COMPARISONS[item["op"]], values[0], values[1]


def _alternatives(conditions: list[Condition]) -> list[list[Condition]]:
    """Return the groups of conditions that are one rule each.

    Conditions on different arguments hold together; several on one argument are alternatives, as runc reads them.
    """
    indexes = [condition[0] for condition in conditions]
    if len(set(indexes)) == len(indexes):
        return [conditions]
    return [[condition] for condition in conditions]


def _recent_number(name: str) -> int | None:
    """Return the native number of a call that is newer than libseccomp, None when we do not know the name either."""
    if os.uname().machine == "x86_64" and name in _RECENT_X86_64:
        return _RECENT_X86_64[name]
    return _RECENT.get(name)


def _notes(unknown: set[str]) -> list[str]:
    if not unknown:
        return []
    shown = sorted(unknown)[:_NAMES_SHOWN]
    more = f" and {len(unknown) - len(shown)} more" if len(unknown) > len(shown) else ""
    return [f"seccomp: rules for system calls that nobody here knows are left out: {' '.join(shown)}{more}"]


def _prologue(library: Library, abis: list[_Abi], names: set[str]) -> bytes:
    """Return instructions that answer ENOSYS to calls newer than every one of ``names``, and fall through otherwise."""
    found = b""
    for place, abi in enumerate(abis):
        numbers = [library.number_in(abi.token, name) for name in names]
        if not place:
            numbers += [_recent_number(name) for name in names]
        highest = max((number for number in numbers if number is not None), default=0)
        if highest > 0:
            for instruction in _newer_than(abi, highest):
                found += struct.pack("<HBBI", *instruction)
    return found


def _newer_than(abi: _Abi, highest: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the instructions for one ABI. x32 shares its audit number with x86-64 and marks its calls by one bit."""
    split = {b"x86_64": (2, 0), b"x32": (0, 2)}.get(abi.token)
    yield _LD_ABS, 0, 0, _OFFSET_ARCH
    yield _JEQ, 0, 4 if split else 3, abi.audit
    yield _LD_ABS, 0, 0, _OFFSET_NR
    if split:
        yield _JGE, *split, _X32_BIT
    yield _JGT, 0, 1, highest
    yield _RET, 0, 0, _RET_ENOSYS


def known_architectures() -> list[str]:
    """The architectures that this runtime can run."""
    return sorted(_ABIS)
