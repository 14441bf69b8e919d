"""A Debian root file system, made by mmdebstrap inside one of our own containers.

The packages' maintainer scripts run as root of a user namespace behind the default wall: read-only host files, the
host's network (they are fetched with it), one writable directory, and chroot(2) as the only further capability.
"""

from __future__ import annotations

import os

from casemate.engine.options import Attach, ContainerOptions, MountOption, TmpfsOption
from casemate.errors import NotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.engine.bootstrap.recipe import Recipe
    from casemate.engine.engine import Engine

PROGRAM = "/usr/bin/mmdebstrap"
INSIDE = "/mnt"
LOG_TAIL = 1500
SLIM = (
    "path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright", "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/info/*",
)  # fmt: skip


def command(recipe: Recipe, mirror: str) -> list[str]:
    """The command line of mmdebstrap, run as root of its container."""
    words = [PROGRAM, "--mode=root", "--variant=minbase", "--format=tar"]
    if recipe.include:
        words.append("--include=" + ",".join(recipe.include))
    words += [f"--dpkgopt={option}" for option in SLIM if recipe.slim]
    words += [recipe.suite, f"{INSIDE}/rootfs.tar"]
    return [*words, mirror] if mirror else words


def build_debian(engine: Engine, recipe: Recipe, mirror: str, tar_path: str) -> None:
    """Write the root file system of ``recipe`` to ``tar_path``, uncompressed.

    Raises: NotFound (mmdebstrap is not installed), Unavailable (it failed, with its last words).
    """
    if not os.path.exists(PROGRAM):
        hint = "apt-get install mmdebstrap"
        raise NotFound("bootstrap", recipe.reference, "mmdebstrap is not installed", hint=hint)
    scratch = os.path.join(os.path.dirname(tar_path), "scratch")
    os.mkdir(scratch)
    os.chmod(scratch, 0o1777)  # noqa: S103 - the container's ids write here; the directory above is private
    if engine.progress is not None:
        status = f"Running mmdebstrap {recipe.suite} in a container (host files read-only, host network)"
        engine.progress.event(recipe.reference, status)
    log_path = os.path.join(os.path.dirname(tar_path), "mmdebstrap.log")
    with open(log_path, "wb") as log:
        code = _run(engine, command(recipe, mirror), scratch, epoch=recipe.epoch, log_fd=log.fileno())
    if code != 0:
        raise Unavailable(
            "bootstrap", recipe.reference, f"mmdebstrap exited with {code}", hint=_last_words(log_path)
        )
    os.rename(os.path.join(scratch, "rootfs.tar"), tar_path)


def _run(engine: Engine, argv: list[str], scratch: str, *, epoch: int, log_fd: int) -> int:
    """Run ``argv`` over the host's files, read-only, with ``scratch`` writable; return its exit code."""
    options = ContainerOptions(
        argv=argv,
        rootfs="/",
        read_only=True,
        network="host",
        auto_remove=True,
        user="0:0",
        workdir="/",
        cap_add=["SYS_CHROOT"],
        env=[f"SOURCE_DATE_EPOCH={epoch}", "TMPDIR=/tmp", "LC_ALL=C.UTF-8", *proxies()],
        mounts=[MountOption(kind="bind", source=scratch, target=INSIDE)],
        tmpfs=[TmpfsOption(target="/tmp", options=["exec", "mode=1777"]), TmpfsOption(target="/run")],  # noqa: S108 - the container's own
    )
    session = engine.containers.create("host", options).start(Attach(stdout_fd=log_fd, stderr_fd=log_fd))
    return session.wait() if session is not None else 125


def proxies() -> list[str]:
    """The caller's proxy settings, which apt needs to reach its mirror."""
    names = ("http_proxy", "https_proxy", "no_proxy")
    return [f"{name}={os.environ[name]}" for name in names if name in os.environ]


def _last_words(log_path: str) -> str:
    """The end of mmdebstrap's output, on one line an error each."""
    with open(log_path, encoding="utf-8", errors="replace") as log:
        lines = [line.strip() for line in log.read()[-LOG_TAIL:].splitlines()]
    return "; ".join(line for line in lines if line.startswith("E:")) or " / ".join(lines[-3:])
