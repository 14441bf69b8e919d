"""OCI `linux.seccomp` -> the BPF program that the kernel loads, through libseccomp, cached by content.

libseccomp is loaded only when a profile is seen for the first time on a machine: afterwards a start costs one hash and one read.
Two things are added to what libseccomp makes, as runc does: calls newer than every call that the profile names answer ENOSYS when
the default is another errno (so that C libraries fall back instead of failing), and names that this libseccomp does not know yet
are resolved by our own list of recent numbers, which are the same on every architecture.
"""

from __future__ import annotations

import os
import struct

from casemate.errors import Invalid, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CACHE_FORMAT = b"2"

# linux/seccomp.h: flags of SECCOMP_SET_MODE_FILTER.
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}

# seccomp.h of libseccomp.
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_COMPARISONS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_DATA_BITS = 0xFFFF  # SECCOMP_RET_DATA
_EPERM, _ENOSYS, _EINVAL, _EEXIST = 1, 38, 22, 17

# OCI name -> (libseccomp's name, AUDIT_ARCH_* of linux/audit.h, uname -m that speaks it natively).
_ARCHITECTURES = {
    "SCMP_ARCH_X86": (b"x86", 0x40000003, ""),
    "SCMP_ARCH_X86_64": (b"x86_64", 0xC000003E, "x86_64"),
    "SCMP_ARCH_X32": (b"x32", 0xC000003E, ""),
    "SCMP_ARCH_ARM": (b"arm", 0x40000028, ""),
    "SCMP_ARCH_AARCH64": (b"aarch64", 0xC00000B7, "aarch64"),
}
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
}

# linux/bpf_common.h opcodes of the prologue.
_LD_ABS, _JEQ, _JGT, _JGE, _RET = 0x20, 0x15, 0x25, 0x35, 0x06
_OFFSET_NR, _OFFSET_ARCH = 0, 4
_RET_ENOSYS = 0x00050000 | _ENOSYS


class Filter:
    """A compiled profile: the `sock_filter` array and the flags to load it with."""

    __slots__ = ("flags", "program")

    def __init__(self, program: bytes, flags: int) -> None:
        self.program = program
        self.flags = flags


def compile_profile(profile: dict[str, Any], *, cache_dir: str | None) -> Filter:
    """Return the filter for OCI `linux.seccomp`, from ``cache_dir`` when it was made before.

    Raises: Invalid (unknown action, comparison or flag), Unsupported (user notification, no libseccomp).
    """
    flags = _flags(profile)
    if profile.get("listenerPath") or _uses(profile, "SCMP_ACT_NOTIFY"):
        raise Unsupported(
            "compile seccomp profile", "SCMP_ACT_NOTIFY", "user notification has no listener here"
        )
    if cache_dir is None:
        return Filter(_compile(profile), flags)
    path = f"{cache_dir}/{_key(profile)}.bpf"
    program = _read_cached(path)
    if program is None:
        program = _compile(profile)
        _write_cached(cache_dir, path, program)
    return Filter(program, flags)


def _flags(profile: dict[str, Any]) -> int:
    flags = 0
    for name in profile.get("flags") or ():
        if name not in _FLAGS:
            raise Unsupported("compile seccomp profile", name, "the filter flag is not known")
        flags |= _FLAGS[name]
    return flags & ~_FLAGS["SECCOMP_FILTER_FLAG_TSYNC"]  # one thread loads the filter: nothing to synchronise


def _uses(profile: dict[str, Any], action: str) -> bool:
    if profile.get("defaultAction") == action:
        return True
    return any(rule.get("action") == action for rule in profile.get("syscalls") or ())


def _key(profile: dict[str, Any]) -> str:
    """Return the name of the cached program: profile, machine, libseccomp and our own format."""
    from _blake2 import blake2b

    from casemate.oci.quick_json import dumps

    digest = blake2b(digest_size=20)
    digest.update(CACHE_FORMAT + os.uname().machine.encode())
    digest.update(dumps(profile).encode())
    return digest.hexdigest()


def _read_cached(path: str) -> bytes | None:
    """Return the cached program, or None when it is absent, damaged, or not ours."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        about = os.fstat(fd)
        if about.st_uid != os.geteuid() or about.st_mode & 0o022:
            return None
        data = os.read(fd, 1 << 18)
    finally:
        os.close(fd)
    program, checksum = data[:-8], data[-8:]
    return program if program and len(program) % 8 == 0 and checksum == _checksum(program) else None


def _checksum(program: bytes) -> bytes:
    from _blake2 import blake2b

    return blake2b(program, digest_size=8).digest()


def _write_cached(cache_dir: str, path: str, program: bytes) -> None:
    """Keep the program; a cache that cannot be written is only slower."""
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(cache_dir, mode=0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, program + _checksum(program))
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        return


def _compile(profile: dict[str, Any]) -> bytes:
    from casemate.runtime.libseccomp import Library

    library = Library()
    default = _action(profile.get("defaultAction"), profile.get("defaultErrnoRet"))
    names = _architecture_names(profile)
    native = [name for name in names if _ARCHITECTURES[name][2] == os.uname().machine]
    context = library.new(default, [_ARCHITECTURES[name][0] for name in names])
    highest = 0
    try:
        for rule in profile.get("syscalls") or ():
            highest = max(highest, _add_rule(library, context, rule, default=default))
        program = library.export(context)
    finally:
        library.release(context)
    if native and _hides_new_calls(default) and highest:
        program = _prologue(_ARCHITECTURES[native[0]][1], highest) + program
    return program


def _architecture_names(profile: dict[str, Any]) -> list[str]:
    """Return the listed architectures that this machine can run; its own one always, first."""
    machine = os.uname().machine
    own = [name for name, row in _ARCHITECTURES.items() if row[2] == machine]
    if not own:
        raise Unsupported("compile seccomp profile", machine, "this architecture is not known")
    family = {"SCMP_ARCH_X86", "SCMP_ARCH_X32"} if machine == "x86_64" else {"SCMP_ARCH_ARM"}
    listed = profile.get("architectures") or []
    return own + [name for name in listed if name in family]


def _action(name: Any, errno: Any) -> int:
    if name not in _ACTIONS:
        raise Invalid("compile seccomp profile", str(name), "unknown action")
    if name in _WITH_ERRNO:
        value = _EPERM if errno is None else errno
        if not isinstance(value, int) or not 0 <= value <= _DATA_BITS:
            raise Invalid("compile seccomp profile", str(value), "errnoRet is not an error number")
        return _ACTIONS[name] | value
    if errno is not None:
        raise Invalid("compile seccomp profile", name, "errnoRet needs SCMP_ACT_ERRNO or SCMP_ACT_TRACE")
    return _ACTIONS[name]


def _hides_new_calls(default: int) -> bool:
    refuses = default & 0xFFFF0000 == _ACTIONS["SCMP_ACT_ERRNO"]
    return refuses and default & 0xFFFF != _ENOSYS


def _add_rule(library: Any, context: int, rule: dict[str, Any], *, default: int) -> int:
    """Add one OCI rule; return the highest native call number among its names (0: none is known here)."""
    action = _action(rule.get("action"), rule.get("errnoRet"))
    conditions = [_condition(item) for item in rule.get("args") or ()]
    highest = 0
    for name in rule.get("names") or ():
        number = library.number(name)
        if number is None:
            number = _RECENT.get(name)
            if number is None:
                continue  # not a call of this architecture
        highest = max(highest, number)
        if action == default:
            continue  # libseccomp refuses rules that change nothing
        for group in _alternatives(conditions):
            library.add(context, name=name, number=number, action=action, conditions=group)
    return highest


def _condition(item: dict[str, Any]) -> tuple[int, int, int, int]:
    operation = _COMPARISONS.get(item.get("op", ""))
    if operation is None:
        raise Invalid("compile seccomp profile", item.get("op"), "unknown comparison")
    index = item.get("index")
    if not isinstance(index, int) or not 0 <= index <= 5:  # noqa: PLR2004 - a call has six arguments
        raise Invalid("compile seccomp profile", index, "an argument index is 0 to 5")
    mask = (1 << 64) - 1
    return index, operation, item.get("value", 0) & mask, item.get("valueTwo", 0) & mask


def _alternatives(conditions: list[tuple[int, int, int, int]]) -> list[list[tuple[int, int, int, int]]]:
    """Return the groups of conditions that are one rule each.

    Conditions on different arguments hold together; several on one argument are alternatives, as runc reads them.
    """
    indexes = [condition[0] for condition in conditions]
    if len(set(indexes)) == len(indexes):
        return [conditions]
    return [[condition] for condition in conditions]


def _prologue(audit_architecture: int, highest: int) -> bytes:
    """Return instructions that answer ENOSYS to native calls newer than ``highest`` and fall through otherwise."""
    return b"".join(
        struct.pack("<HBBI", *instruction)
        for instruction in (
            (_LD_ABS, 0, 0, _OFFSET_ARCH),
            (_JEQ, 0, 4, audit_architecture),
            (_LD_ABS, 0, 0, _OFFSET_NR),
            (_JGE, 2, 0, _X32_BIT),
            (_JGT, 0, 1, highest),
            (_RET, 0, 0, _RET_ENOSYS),
        )
    )


def known_actions() -> list[str]:
    """The actions of the runtime-spec that are understood."""
    return sorted(_ACTIONS)


def known_comparisons() -> list[str]:
    """The comparisons that are understood."""
    return sorted(_COMPARISONS)


def known_architectures() -> list[str]:
    """The architectures that a profile may list."""
    return sorted(_ARCHITECTURES)


def known_flags() -> list[str]:
    """The filter flags that are understood."""
    return sorted(_FLAGS)
