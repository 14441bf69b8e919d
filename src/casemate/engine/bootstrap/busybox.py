"""A busybox image: Debian's static busybox, a link for each program in it, and the files programs expect."""

from __future__ import annotations

import io
import os
import tarfile

from casemate.errors import NotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

PLACES = ("/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static")
MAX_LIST_BYTES = 64 * 1024

DIRECTORIES = {
    "bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "proc": 0o755, "root": 0o700, "run": 0o755,
    "sys": 0o755, "tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755, "usr/sbin": 0o755, "var": 0o755,
    "var/tmp": 0o1777,
}  # fmt: skip
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def find_busybox() -> str:
    """Path of a statically linked busybox on this host. Raises: NotFound."""
    for path in PLACES:
        if os.path.exists(path) and is_static(path):
            return os.path.realpath(path)
    raise NotFound(
        "find busybox", "", "no statically linked busybox is installed", hint="apt-get install busybox-static"
    )


def is_static(path: str) -> bool:
    """Whether an ELF file has no program interpreter (elf(5), PT_INTERP)."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02":
            return False
        offset = int.from_bytes(head[32:40], "little")
        size, count = int.from_bytes(head[54:56], "little"), int.from_bytes(head[56:58], "little")
        file.seek(offset)
        headers = file.read(size * count)
    return all(int.from_bytes(headers[i * size : i * size + 4], "little") != 3 for i in range(count))  # noqa: PLR2004 - PT_INTERP


def applets(binary: str) -> list[str]:
    """Names of the programs that this busybox holds, as it lists them itself."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    with open(read_end, "rb") as answer:
        actions = [(os.POSIX_SPAWN_DUP2, write_end, 1), (os.POSIX_SPAWN_CLOSE, write_end)]
        try:
            pid = os.posix_spawn(binary, [binary, "--list"], {"PATH": "/usr/bin:/bin"}, file_actions=actions)
        finally:
            os.close(write_end)
        names = answer.read(MAX_LIST_BYTES).decode("ascii", "replace").split()
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 or not names:
        raise Unavailable("list busybox programs", binary, "it did not answer --list")
    return sorted(name for name in names if "/" not in name and name != "busybox")


def write_rootfs(out: BinaryIO, binary: str, epoch: int) -> None:
    """Write the image's only layer as an uncompressed tar; equal inputs give equal bytes."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode in DIRECTORIES.items():
            tar.addfile(member(name, tarfile.DIRTYPE, mode, epoch))
        with open(binary, "rb") as program:
            info = member("bin/busybox", tarfile.REGTYPE, 0o755, epoch)
            info.size = os.fstat(program.fileno()).st_size
            tar.addfile(info, program)
        for applet in applets(binary):
            info = member(f"bin/{applet}", tarfile.SYMTYPE, 0o777, epoch)
            info.linkname = "busybox"
            tar.addfile(info)
        for name, text in FILES.items():
            info = member(name, tarfile.REGTYPE, 0o644, epoch)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))


def member(name: str, kind: bytes, mode: int, epoch: int) -> tarfile.TarInfo:
    """A tar header owned by root."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, epoch
    return info
