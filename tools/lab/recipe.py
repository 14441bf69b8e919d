"""What the guest is made of: Debian's packages, wheels for its Python, and a handful of files."""

from __future__ import annotations

import hashlib
import os
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

SUITE = "bookworm"
PYTHON = "3.11"  # the suite's
USER, UID = "lab", 1200  # tests have a user 1000 of their own, who has no session
SUBIDS = "1342177280:65536"  # outside the pool that root's containers use
DISK_BYTES = 6 << 30  # sparse

SYSTEM = """
    systemd systemd-sysv dbus dbus-user-session libpam-systemd apparmor kmod udev linux-image-cloud-amd64
    python3 iproute2 procps util-linux mount ca-certificates
""".split()  # noqa: SIM905 - a list of words
# The groups of tools/packages.txt that the tests in the guest need.
GROUPS = ("run", "build", "images", "peers", "tests")
# Of a system tests' image nobody reads the manual.
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")

# Where things lie in the guest.
CHECKOUT = "/src"
WHEELS = "/opt/lab/wheels"
PORT = "casemate.lab"  # the virtio port that carries what the agent and the tests say

DELEGATE = "[Service]\nDelegate=cpu cpuset io memory pids\n"
AUTOLOGIN = (
    "[Service]\nExecStart=\n"
    "ExecStart=-/sbin/agetty --autologin root --noissue --keep-baud 115200,57600,38400,9600 %I linux\n"
)
PROFILE = (
    f'[ "$(id -u)" = 0 ] && [ -d {CHECKOUT} ] && cd {CHECKOUT} && PATH={CHECKOUT}/.venv/bin:$PATH\n'
    f'echo "The checkout is in {CHECKOUT}. Run tests: python -m pytest tests/system/test_x.py"\n'
    f'echo "As the ordinary user: su - {USER}. End the machine: poweroff"\n'
)


def guest_files() -> dict[str, str]:
    """Files to write into the root file system: path without the leading slash -> text."""
    with open(os.path.join(HERE, "guest", "casemate-lab.service"), encoding="utf-8") as file:
        unit = file.read()
    return {
        "etc/systemd/system/casemate-lab.service": unit.replace("@1000.", f"@{UID}."),
        "etc/systemd/system/user@.service.d/delegate.conf": DELEGATE,
        "etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf": AUTOLOGIN,
        "etc/profile.d/lab.sh": PROFILE,
        "etc/fstab": "/dev/vda / ext4 defaults 0 0\n",
        "etc/hostname": "lab\n",
        "etc/hosts": "127.0.0.1 localhost lab\n::1 localhost\n",
        f"var/lib/systemd/linger/{USER}": "",
    }


def packages(groups: dict[str, list[str]]) -> list[str]:
    """Every Debian package of the guest, given the table of tools/packages.txt."""
    return sorted({*SYSTEM, *(name for group in GROUPS for name in groups[group])})


def requirements() -> list[str]:
    """What pip brings into the guest: what casemate needs, and what runs its tests."""
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    tests = [
        line for line in project["optional-dependencies"]["dev"] if line.startswith(("pytest", "hypothesis"))
    ]
    return [*project["dependencies"], *tests]


def fingerprint(groups: dict[str, list[str]]) -> str:
    """A name for the image that changes whenever anything that goes into it, or makes it, does."""
    digest = hashlib.sha256()
    for part in (SUITE, PYTHON, *packages(groups), *requirements(), *LEFT_OUT, str(DISK_BYTES)):
        digest.update(part.encode() + b"\0")
    for path, text in guest_files().items():
        digest.update(f"{path}\0{text}\0".encode())
    for name in ("recipe.py", "image.py", "initramfs.py", "guest/initramfs.sh"):
        with open(os.path.join(HERE, name), "rb") as file:
            digest.update(file.read() + b"\0")
    return digest.hexdigest()[:16]
