"""OCI `linux.seccomp` -> the BPF program that the kernel loads, cached by content.

This module is what every start needs: the flags, the combinations that are refused, and the cache. What is not in the cache is
compiled by `seccomp_compile`, which loads libseccomp; afterwards a start costs one hash and one read.

A cached program is taken only from a directory and a file that belong to us and that nobody else may write to, when its checksum
is right, and when libseccomp is still the one that it was made with: a newer one may know more calls.
"""

from __future__ import annotations

import os

from casemate.errors import Invalid, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CACHE_FORMAT = b"4"
MAX_CACHED = 128

NOTIFY = "SCMP_ACT_NOTIFY"

# linux/seccomp.h: flags of SECCOMP_SET_MODE_FILTER.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0x1,
    "SECCOMP_FILTER_FLAG_LOG": 0x2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 0x4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 0x20,
}
_TSYNC, _WAIT_KILLABLE = "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
_CONTENT = ("defaultAction", "defaultErrnoRet", "architectures", "syscalls")
_MAGIC, _CHECKSUM_BYTES = b"CMSF", 16
_LENGTHS_AT, _LENGTH_BYTES, _HEADER_BYTES = 4, 4, 16
_LARGEST = 1 << 18
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


class Filter:
    """A compiled profile: the `sock_filter` array, the flags to load it with, and what was left out of it.

    ``notifies``: an agent at the profile's `listenerPath` gives verdicts.
    """

    __slots__ = ("flags", "notes", "notifies", "program")

    def __init__(self, program: bytes, flags: int, notes: list[str], *, notifies: bool = False) -> None:
        self.program = program
        self.flags = flags
        self.notes = notes
        self.notifies = notifies


def compile_profile(profile: dict[str, Any], *, cache_dir: str | None) -> Filter:
    """Return the filter for OCI `linux.seccomp`, from ``cache_dir`` when it was made before.

    Raises: Invalid (unknown action, comparison, architecture; a combination that has no meaning), Unsupported (a flag that is
    unknown or that this kernel lacks, no libseccomp).
    """
    notifies = _notifies(profile)
    flags = _flags(profile, notifies=notifies)
    if cache_dir is None:
        from casemate.runtime.seccomp_compile import compile_rules

        program, notes = compile_rules(profile)
        return Filter(program, flags, notes, notifies=notifies)
    name = f"{_key(profile)}.bpf"
    found = _read_cached(cache_dir, name)
    if found is None:
        from casemate.runtime.seccomp_compile import compile_rules

        found = compile_rules(profile)
        _write_cached(cache_dir, name, found)
    return Filter(found[0], flags, found[1], notifies=notifies)


def _flags(profile: dict[str, Any], *, notifies: bool) -> int:
    names = profile.get("flags") or ()
    flags = 0
    for name in names:
        if name not in FLAGS:
            raise Unsupported("compile seccomp profile", str(name), "the filter flag is not known")
        flags |= FLAGS[name]
    if flags & FLAGS[_WAIT_KILLABLE] and not notifies:
        raise Invalid("compile seccomp profile", _WAIT_KILLABLE, f"it needs a rule with {NOTIFY}")
    flags &= ~FLAGS[_TSYNC]  # one thread loads the filter: nothing to synchronise
    if flags:
        from casemate.kernel.features import supports_seccomp_flags

        for name in names:
            if name != _TSYNC and not supports_seccomp_flags(FLAGS[name]):
                raise Unsupported(
                    "compile seccomp profile", name, "this kernel does not have the filter flag"
                )
    return flags


def _notifies(profile: dict[str, Any]) -> bool:
    """Return whether an agent is asked. A `listenerPath` that no rule uses is ignored, as the specification says."""
    if profile.get("defaultAction") != NOTIFY and not any(
        isinstance(rule, dict) and rule.get("action") == NOTIFY for rule in profile.get("syscalls") or ()
    ):
        return False
    path = profile.get("listenerPath")
    if not path:
        raise Invalid("compile seccomp profile", NOTIFY, "linux.seccomp.listenerPath is missing")
    if not isinstance(path, str) or "\0" in path or not path.startswith("/"):
        raise Invalid("compile seccomp profile", repr(path), "listenerPath is not an absolute path")
    if not isinstance(profile.get("listenerMetadata") or "", str):
        raise Invalid("compile seccomp profile", "listenerMetadata", "it is not a string")
    return True


def _key(profile: dict[str, Any]) -> str:
    """Return the name of the cached program: its rules, the machine, and our own format."""
    from _blake2 import blake2b

    from casemate.oci.quick_json import dumps

    digest = blake2b(digest_size=20)
    digest.update(CACHE_FORMAT + os.uname().machine.encode())
    digest.update(dumps([profile.get(name) for name in _CONTENT]).encode())
    return digest.hexdigest()


def _read_cached(cache_dir: str, name: str) -> tuple[bytes, list[str]] | None:
    """Return a program and its notes, or None when it is absent, damaged, out of date, or others could have written it."""
    try:
        directory = os.open(cache_dir, _DIRECTORY)
    except OSError:
        return None
    try:
        if not _is_ours(directory):
            return None
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return None
    finally:
        os.close(directory)
    try:
        data = os.read(fd, _LARGEST) if _is_ours(fd) else b""
    finally:
        os.close(fd)
    return _unpack(data)


def _is_ours(fd: int) -> bool:
    about = os.fstat(fd)
    return about.st_uid == os.geteuid() and not about.st_mode & 0o022


def _unpack(data: bytes) -> tuple[bytes, list[str]] | None:
    body, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if body[:_LENGTHS_AT] != _MAGIC or checksum != _checksum(body):
        return None
    sizes = [
        int.from_bytes(body[at : at + _LENGTH_BYTES], "little")
        for at in range(_LENGTHS_AT, _HEADER_BYTES, _LENGTH_BYTES)
    ]
    parts, at = [], _HEADER_BYTES
    for size in sizes:
        parts.append(body[at : at + size])
        at += size
    program, notes, library = parts
    if not program or len(program) % 8 or at != len(body) or _is_replaced(library.decode()):
        return None
    return program, notes.decode().splitlines()


def _is_replaced(library: str) -> bool:
    """Return whether another libseccomp stands where the one stood that made the program. One that is gone replaces nothing."""
    path, _, known = library.partition("\n")
    try:
        about = os.stat(path)
    except OSError:
        return False
    return known != f"{about.st_size} {about.st_mtime_ns}"


def _checksum(body: bytes) -> bytes:
    from _blake2 import blake2b

    return blake2b(body, digest_size=_CHECKSUM_BYTES).digest()


def _write_cached(cache_dir: str, name: str, found: tuple[bytes, list[str]]) -> None:
    """Keep the program; a cache that cannot be written is only slower."""
    from casemate.runtime.libseccomp import library_file

    program, notes = found
    parts = [program, "\n".join(notes).encode(), library_file().encode()]
    body = _MAGIC + b"".join(len(part).to_bytes(_LENGTH_BYTES, "little") for part in parts) + b"".join(parts)
    try:
        os.makedirs(cache_dir, mode=0o700, exist_ok=True)
        directory = os.open(cache_dir, _DIRECTORY)
    except OSError:
        return
    try:
        if _is_ours(directory):
            _replace(directory, name, body + _checksum(body))
            _forget_oldest(directory)
    except OSError:
        return
    finally:
        os.close(directory)


def _replace(directory: int, name: str, data: bytes) -> None:
    """Put a whole file in place, or none."""
    temporary = f".{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        whole = os.write(fd, data) == len(data)
    finally:
        os.close(fd)
    if whole:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    else:
        os.unlink(temporary, dir_fd=directory)


def _forget_oldest(directory: int) -> None:
    """Keep at most MAX_CACHED files, the newest; what a killed writer left is among the oldest one day."""
    names = os.listdir(directory)
    if len(names) <= MAX_CACHED:
        return
    ages = sorted((os.stat(name, dir_fd=directory).st_mtime_ns, name) for name in names)
    for _, name in ages[: len(names) - MAX_CACHED]:
        os.unlink(name, dir_fd=directory)
