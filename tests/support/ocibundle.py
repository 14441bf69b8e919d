"""casemate-oci with a busybox bundle of its own: for the tests of the OCI runtime."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from casemate.runtime.cli.spec import default_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

SRC = Path(__file__).parents[2] / "src"
MAIN = f"import sys; sys.path.insert(0, {str(SRC)!r}); from casemate.runtime.cli.main import main; sys.exit(main())"
APPLETS = [
    "sh",
    "ls",
    "cat",
    "id",
    "true",
    "false",
    "sleep",
    "echo",
    "grep",
    "head",
    "stat",
    "hostname",
    "touch",
    "mkdir",
    "readlink",
    "dd",
    "wc",
    "env",
    "pwd",
]
USER = 1000


class Runtime:
    """casemate-oci with a state directory and a bundle of its own, as root or as an ordinary user."""

    def __init__(self, base: Path, *, rootless: bool) -> None:
        self.base = base
        self.rootless = rootless
        self.bundle = base / "bundle"
        self.rootfs = self.bundle / "rootfs"
        (self.rootfs / "bin").mkdir(parents=True)
        for name in ("etc", "tmp", "root"):
            (self.rootfs / name).mkdir()
        shutil.copy("/usr/bin/busybox", self.rootfs / "bin/busybox")
        for name in APPLETS:
            (self.rootfs / "bin" / name).symlink_to("busybox")
        (self.rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
        self.launcher = base / "launcher.py"
        self.launcher.write_text(MAIN)
        self.spec: dict[str, Any] = default_spec(rootless=rootless)
        self.spec["process"]["terminal"] = False
        self.spec["root"]["readonly"] = False
        if rootless:
            for name in ("uidMappings", "gidMappings"):
                self.spec["linux"][name] = [{"containerID": 0, "hostID": USER, "size": 1}]
            for path in [base, *base.rglob("*")]:
                os.lchown(path, USER, USER)

    def args(self, *args: str) -> None:
        self.spec["process"]["args"] = list(args)

    def command(self, *words: str) -> list[str]:
        user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if self.rootless else []
        return [
            *user,
            "/usr/bin/python3",
            "-I",
            "-S",
            str(self.launcher),
            "--root",
            str(self.base / "state"),
            *words,
        ]

    def save(self) -> None:
        (self.bundle / "config.json").write_text(json.dumps(self.spec))

    def __call__(
        self, *words: str, stdin: Any = subprocess.DEVNULL, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        self.save()
        # Files, not pipes: a detached container keeps them open, and a pipe's reader would wait for its end.
        with (self.base / "out").open("w+") as out, (self.base / "err").open("w+") as err:
            found = subprocess.run(
                self.command(*words),
                cwd=self.bundle,
                stdin=stdin,
                stdout=out,
                stderr=err,
                timeout=30,
                check=False,
                **more,
            )
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(found.args, found.returncode, out.read(), err.read())

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        self.args(*args)
        return self("run", "c")

    def state(self, name: str = "c") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("state", name).stdout)
        return found


def reap() -> None:
    """Collect ended orphans, which are ours (conftest.py): a pid namespace ends only after the programs that joined it."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end(runtime: Runtime, name: str) -> None:
    """Delete a container; programs that joined it are ours to reap before its first process can end."""
    if runtime("kill", name, "KILL").returncode == 0:
        deadline = time.monotonic() + 1
        while runtime.state(name)["status"] != "stopped" and time.monotonic() < deadline:
            reap()
    reap()
    runtime("delete", "--force", name)


@contextmanager
def made_runtime(*, rootless: bool) -> Iterator[Runtime]:
    base = Path(f"/tmp/casemate-oci-test-{os.getpid()}-{time.monotonic_ns()}")
    base.mkdir(mode=0o755)
    runtime = Runtime(base, rootless=rootless)
    yield runtime
    for name in ("c", "d"):
        end(runtime, name)
    shutil.rmtree(base)
