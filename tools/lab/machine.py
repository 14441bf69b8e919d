"""One boot of the guest: QEMU without KVM, three deadlines, and the words for how it ended."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.lab import recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.lab.image import Image

MEMORY_MIB = 2048
POLL_S = 0.25
READY = b"lab: ready"
ENDED = b"lab: ended"
# Under emulation a page fault costs more than what mitigations guard against, and there is nobody to guard against.
BOOT = (
    "root=/dev/vda rw console=ttyS0 mitigations=off nokaslr panic=-1 loglevel=5 apparmor=1 security=apparmor"
)
QUIET = "systemd.show_status=auto systemd.mask=serial-getty@ttyS0.service systemd.mask=getty@tty1.service"
INTERACTIVE = "systemd.mask=getty@tty1.service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long the guest may take to its first word, to its next word, and in all; seconds."""

    boot_s: float = 240
    silence_s: float = 240
    whole_s: float = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The files of one boot: two disks, and what the guest says."""

    checkout: str
    results: str
    console: str
    output: str


def command(image: Image, paths: Paths, *, interactive: bool) -> list[str]:
    """The command line of QEMU; nothing that the guest does reaches the image (``snapshot=on``)."""
    argv = ["nice", "qemu-system-x86_64", "-accel", "tcg,tb-size=512", "-cpu", "max", "-smp", "1"]
    argv += [
        "-m",
        str(MEMORY_MIB),
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-nic",
        "none",
    ]
    argv += ["-kernel", image.kernel, "-initrd", image.initrd]
    argv += ["-append", f"{BOOT} {INTERACTIVE if interactive else QUIET}"]
    argv += ["-drive", f"file={image.disk},format=raw,if=virtio,snapshot=on,cache=unsafe"]
    argv += ["-drive", f"file={paths.checkout},format=raw,if=virtio,readonly=on"]
    argv += ["-drive", f"file={paths.results},format=raw,if=virtio,cache=unsafe"]
    argv += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
    argv += ["-chardev", f"file,id=output,path={paths.output}"]
    argv += ["-device", f"virtserialport,chardev=output,name={recipe.PORT}"]
    return [*argv, "-serial", "mon:stdio" if interactive else f"file:{paths.console}"]


def watch(
    process: subprocess.Popen[bytes], paths: Paths, limits: Deadlines, show: Callable[[bytes], None]
) -> str:
    """Wait for the guest's end, showing what its port says; "" when it ended by itself, else why it was ended.

    The guest ended by itself when its agent said so: a kernel that panics switches off, too.
    """
    started = heard = time.monotonic()
    seen = console = 0
    said = b""
    while True:
        status = process.poll()
        new = _from(paths.output, seen)
        seen += len(new)
        said = (said + new)[-65536:] if READY in said else said + new
        show(new)
        size = _size(paths.console)
        now = time.monotonic()
        if new or size != console:
            heard, console = now, size
        if status is not None:
            return (
                ""
                if ENDED in said
                else f"the guest switched off before its tests ended (QEMU's status {status})"
            )
        if READY not in said and now - started > limits.boot_s:
            return f"the guest did not come up within {limits.boot_s:.0f} s"
        if now - heard > limits.silence_s:
            return f"the guest said nothing for {limits.silence_s:.0f} s"
        if now - started > limits.whole_s:
            return f"the guest did not end within {limits.whole_s:.0f} s"
        time.sleep(POLL_S)


def boot(image: Image, paths: Paths, limits: Deadlines, show: Callable[[bytes], None]) -> str:
    """Boot, wait, and end what did not end; "" or what went wrong."""
    for path in (paths.console, paths.output):
        with open(path, "wb"):
            pass
    process = subprocess.Popen(command(image, paths, interactive=False), stdin=subprocess.DEVNULL)
    try:
        return watch(process, paths, limits, show)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def boot_interactive(image: Image, paths: Paths) -> int:
    """Boot with the serial console on this terminal, until the guest is switched off or Ctrl-A X is typed."""
    return subprocess.call(command(image, paths, interactive=True))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _from(path: str, offset: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read()
