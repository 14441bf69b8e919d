"""An initial file system of a shell, the disk's drivers and ten lines: it mounts the root and is gone."""

from __future__ import annotations

import os
import stat

HERE = os.path.dirname(os.path.abspath(__file__))
DRIVERS = ("virtio_pci", "virtio_blk")
APPLETS = ("sh", "mount", "umount", "insmod", "sleep", "switch_root", "poweroff")
DIRECTORIES = ("bin", "dev", "proc", "root", "modules")


def member(name: str, mode: int, data: bytes) -> bytes:
    """One member of a "newc" cpio archive; Source: initramfs buffer format in the kernel's documentation."""
    padded_name = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(padded_name), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    head = header + padded_name
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def load_order(modules_dep: str, wanted: tuple[str, ...]) -> list[str]:
    """The module files to load, each after those it needs, from the text of ``modules.dep``.

    Raises: LookupError when the kernel has no such module (it may have become built in).
    """
    table = {}
    for line in modules_dep.splitlines():
        path, _, needed = line.partition(":")
        table[path] = needed.split()
    by_name = {os.path.basename(path).partition(".ko")[0]: path for path in table}
    order: list[str] = []

    def visit(path: str) -> None:
        for needed in table[path]:
            visit(needed)
        if path not in order:
            order.append(path)

    for name in wanted:
        visit(by_name[name])
    return order


def build(modules: str, busybox: str) -> bytes:
    """The archive: ``modules`` is a kernel's /lib/modules/VERSION, ``busybox`` a static one."""
    with open(os.path.join(modules, "modules.dep"), encoding="utf-8") as file:
        order = load_order(file.read(), DRIVERS)
    parts = [member(name, stat.S_IFDIR | 0o755, b"") for name in DIRECTORIES]
    parts += [
        member("modules/" + os.path.basename(path), stat.S_IFREG | 0o644, _read(modules, path))
        for path in order
    ]
    names = "".join(os.path.basename(path) + "\n" for path in order)
    parts.append(member("modules/order", stat.S_IFREG | 0o644, names.encode()))
    parts.append(member("bin/busybox", stat.S_IFREG | 0o755, _read(busybox)))
    parts += [member(f"bin/{name}", stat.S_IFLNK | 0o777, b"busybox") for name in APPLETS]
    parts.append(member("init", stat.S_IFREG | 0o755, _read(HERE, "guest", "initramfs.sh")))
    parts.append(member("TRAILER!!!", 0, b""))
    return b"".join(parts)


def _read(*path: str) -> bytes:
    with open(os.path.join(*path), "rb") as file:
        return file.read()
