"""The guest's disk, kernel and initial file system: built from Debian's packages once per recipe, then kept."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

from tools.dev import package_groups
from tools.lab import initramfs, recipe

CACHE = os.path.join(recipe.ROOT, ".cache", "lab")
# Services of packages that the tests start by themselves, and timers that would disturb them.
MASKED = """
    apt-daily.timer apt-daily-upgrade.timer containerd.service docker-registry.service docker.service docker.socket
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer man-db.timer podman-auto-update.timer
    podman-restart.service podman.service podman.socket systemd-networkd.service systemd-resolved.service
    systemd-timesyncd.service
""".split()  # noqa: SIM905 - a list of words

# Runs as root, or as the root of a user namespace with the caller's subordinate ids.
ASSEMBLE = r"""
set -eu
cd "$1"; bytes=$2
mkdir tree
tar -x -f root.tar -C tree --exclude=./dev/*
tar -x -f extra.tar -C tree
chroot tree python3 -m compileall -q "$3"
cp tree/boot/vmlinuz-* kernel
cp -r tree/lib/modules/* modules
cp tree/bin/busybox busybox
truncate -s "$bytes" disk.ext4
mkfs.ext4 -q -F -O ^has_journal -d tree disk.ext4
rm -rf tree root.tar extra.tar
"""


class BuildFailed(Exception):
    """A step of the build failed; ``log`` has what it wrote."""

    def __init__(self, step: str, log: str) -> None:
        super().__init__(f"building the lab's image failed at: {step} (see {log})")


class Image:
    """Paths of a built image; ``disk`` is never written to again."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.disk = os.path.join(directory, "disk.ext4")
        self.kernel = os.path.join(directory, "kernel")
        self.initrd = os.path.join(directory, "initrd")


def ensure_image(*, rebuild: bool = False) -> Image:
    """The image of today's recipe, built when it is not in the cache yet or ``rebuild``.

    Raises: BuildFailed.
    """
    groups = package_groups()
    where = os.path.join(CACHE, "image-" + recipe.fingerprint(groups))
    if rebuild or not os.path.exists(where):
        os.makedirs(CACHE, exist_ok=True)
        work = tempfile.mkdtemp(prefix="building-", dir=CACHE)
        try:
            _build(work, groups)
            shutil.rmtree(where, ignore_errors=True)
            os.rename(work, where)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        _forget_others(where)
    return Image(where)


def _forget_others(keep: str) -> None:
    """Images of former recipes are a gigabyte each."""
    for name in os.listdir(CACHE):
        path = os.path.join(CACHE, name)
        if name.startswith("image-") and path != keep:
            shutil.rmtree(path, ignore_errors=True)


def _build(work: str, groups: dict[str, list[str]]) -> None:
    os.chmod(work, 0o755)  # noqa: S103 - without root, mmdebstrap works as another user of the namespace
    steps = {
        f"Debian {recipe.SUITE} by mmdebstrap": lambda: _debian(work, recipe.packages(groups)),
        "wheels by pip": lambda: _wheels(work),
        "the file system": lambda: _assemble(work),
    }
    for what, step in steps.items():
        started = time.monotonic()
        step()
        print(f"lab: image: {what} ({time.monotonic() - started:.0f} s)", flush=True)


def _run(step: str, argv: list[str], **environment: str) -> None:
    log = os.path.join(CACHE, "build.log")
    with open(log, "ab") as file:
        argv = ["nice", *argv]
        if subprocess.call(
            argv, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=os.environ | environment
        ):
            raise BuildFailed(step, log)


def _debian(work: str, packages: list[str]) -> None:
    argv = ["mmdebstrap", "--variant=minbase", "--include=" + ",".join(packages)]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.LEFT_OUT]
    argv += ["--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"']
    user, uid = recipe.USER, recipe.UID
    argv.append(f'--customize-hook=chroot "$1" useradd --uid {uid} --create-home --shell /bin/bash {user}')
    argv.append(
        f'--customize-hook=for f in subuid subgid; do echo {user}:{recipe.SUBIDS} > "$1/etc/$f"; done'
    )
    # We bring our own initial file system, so none needs to be made at installation.
    _run("mmdebstrap", [*argv, recipe.SUITE, os.path.join(work, "root.tar")], INITRD="No")


def _wheels(work: str) -> None:
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-compile"]
    argv += [
        "--target",
        os.path.join(work, "wheels"),
        "--only-binary=:all:",
        "--python-version",
        recipe.PYTHON,
    ]
    for platform in ("manylinux_2_36", "manylinux_2_28", "manylinux_2_17", "manylinux2014"):
        argv += ["--platform", f"{platform}_{os.uname().machine}"]
    _run("pip install", [*argv, *recipe.requirements()])


def _extra_tar(work: str) -> None:
    """Our own files and links, and the wheels, as root's."""

    def as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        return info

    with tarfile.open(os.path.join(work, "extra.tar"), "w") as tar:
        for path, text in recipe.guest_files().items():
            info = tarfile.TarInfo(path)
            info.size, info.mode, info.mtime = len(text.encode()), 0o644, int(time.time())
            tar.addfile(info, io.BytesIO(text.encode()))
        links = {f"etc/systemd/system/{name}": "/dev/null" for name in MASKED}
        links["etc/systemd/system/multi-user.target.wants/casemate-lab.service"] = "../casemate-lab.service"
        for path, target in links.items():
            info = tarfile.TarInfo(path)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        tar.add(os.path.join(work, "wheels"), recipe.WHEELS.lstrip("/"), filter=as_root)
    shutil.rmtree(os.path.join(work, "wheels"))


def _assemble(work: str) -> None:
    _extra_tar(work)
    argv = ["sh", "-c", ASSEMBLE, "assemble", work, str(recipe.DISK_BYTES), recipe.WHEELS]
    if os.geteuid() != 0:
        os.chmod(work, 0o777)  # noqa: S103 - the namespace's other ids write here too
        argv = ["unshare", "--user", "--map-root-user", "--map-auto", "--mount", *argv]
    _run("assembling the file system", argv)
    data = initramfs.build(os.path.join(work, "modules"), os.path.join(work, "busybox"))
    with open(os.path.join(work, "initrd"), "wb") as file:
        file.write(data)
    shutil.rmtree(os.path.join(work, "modules"))
    os.unlink(os.path.join(work, "busybox"))
