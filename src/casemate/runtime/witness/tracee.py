"""What a stopped process was about: its strings, its descriptors, its name and rights.

Everything is read for reporting only. The process may lie, and another of its threads may change a string meanwhile; nothing is
decided by it. No path of the container is looked up: a file system of its own could keep us waiting for ever.
"""

from __future__ import annotations

import os
import posixpath

from casemate.runtime.witness.ledger import MAX_TEXT

_AT_FDCWD = -100
_INT_BITS = 32
_WORD = 0xFFFFFFFF
_PAGE = 4096
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_ADDRESS_BYTES = 28
_NAME_LENGTH = 40


def read_bytes(tid: int, address: int, length: int) -> bytes:
    """What stands at an address of the process, or less; nothing when it cannot be read."""
    if not 0 < address < 1 << 63:
        return b""
    try:
        fd = os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(fd, length, address)
    except OSError:
        return b""
    finally:
        os.close(fd)


def read_text(tid: int, address: int) -> str:
    """The string at an address, at most MAX_TEXT bytes of it; control characters are escaped."""
    data = read_bytes(tid, address, MAX_TEXT)
    return plain(data.partition(b"\0")[0].decode("utf-8", "replace"))


def plain(text: str) -> str:
    """Text without characters that a terminal would act on."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def signed(value: int) -> int:
    """An ``int`` argument: the low 32 bits with their sign."""
    low = value & _WORD
    return low - (1 << _INT_BITS) if low >> (_INT_BITS - 1) else low


def open_on(tid: int, fd: int) -> str:
    """What a descriptor of the process is open on, as the kernel names it."""
    try:
        return plain(os.readlink(f"/proc/{tid}/fd/{signed(fd)}"))[:MAX_TEXT]
    except OSError:
        return ""


def whole_path(tid: int, directory: int | None, text: str) -> str:
    """The path as the container sees it, made absolute by its working directory or a descriptor; links are not resolved."""
    if text.startswith("/"):
        return posixpath.normpath(text)
    try:
        if directory is None or signed(directory) == _AT_FDCWD:
            base = os.readlink(f"/proc/{tid}/cwd")
        else:
            base = os.readlink(f"/proc/{tid}/fd/{signed(directory)}")
    except OSError:
        return text
    return plain(posixpath.normpath(f"{base}/{text}" if text else base))


def address_text(tid: int, address: int) -> str:
    """A socket address in words: ``inet 127.0.0.1:80``, ``unix /run/x``."""
    data = read_bytes(tid, address, _ADDRESS_BYTES)
    if len(data) < 8:  # noqa: PLR2004 - family, port, IPv4 address
        return ""
    family = int.from_bytes(data[:2], "little")
    port = int.from_bytes(data[2:4], "big")
    if family == _AF_INET:
        return f"inet {'.'.join(str(byte) for byte in data[4:8])}:{port}"
    if family == _AF_INET6:
        groups = ":".join(data[i : i + 2].hex() for i in range(8, 24, 2))
        return f"inet6 [{groups}]:{port}"
    if family == _AF_UNIX:
        name = read_bytes(tid, address + 2, 108)
        return plain(f"unix {name.lstrip(bytes(1)).partition(bytes(1))[0].decode('utf-8', 'replace')}")
    return f"family {family}"


def name_of(tid: int) -> str:
    """The program's name: the end of its first argument, or what the kernel calls it."""
    for file_name, separator in (("cmdline", b"\0"), ("comm", b"\n")):
        try:
            with open(f"/proc/{tid}/{file_name}", "rb") as file:
                first = file.read(MAX_TEXT).partition(separator)[0]
        except OSError:
            continue
        name = plain(first.decode("utf-8", "replace").rpartition("/")[2])[:_NAME_LENGTH]
        if name:
            return name
    return ""


def dies_as_init(tid: int, number: int) -> bool:
    """Whether the thread belongs to the first process of a pid namespace, which has no handler for this signal."""
    found: dict[bytes, bytes] = {}
    try:
        with open(f"/proc/{tid}/status", "rb") as file:
            for line in file.read(8192).splitlines():
                key, _, found[key] = line.partition(b":")
    except OSError:
        return False
    groups = found.get(b"NStgid", b"").split()
    caught = int(found.get(b"SigCgt", b"0"), 16)
    return len(groups) > 1 and groups[-1] == b"1" and not caught >> (number - 1) & 1


def limits_of(tid: int) -> dict[str, int]:
    """The soft limit of open files."""
    try:
        with open(f"/proc/{tid}/limits", "rb") as file:
            lines = file.read(8192).splitlines()
    except OSError:
        return {}
    for line in lines:
        words = line.split()
        if words[:3] == [b"Max", b"open", b"files"] and words[3].isdigit():
            return {"open_files": int(words[3])}
    return {}


def rights_of(tid: int) -> dict[str, int]:
    """Effective user as the host counts, effective capabilities, no_new_privs."""
    found: dict[str, int] = {}
    try:
        with open(f"/proc/{tid}/status", "rb") as file:
            lines = file.read(8192).splitlines()
    except OSError:
        return found
    for line in lines:
        key, _, value = line.partition(b":")
        if key == b"Uid":
            found["uid"] = int(value.split()[1])
        elif key == b"CapEff":
            found["caps"] = int(value, 16)
        elif key == b"NoNewPrivs":
            found["no_new_privs"] = int(value)
    return found
