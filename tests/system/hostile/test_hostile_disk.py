"""A full disk: a clear error, nothing half-made, a way out, and everything works again when there is space."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root]

SIZE_MIB = 20


class SmallDisk:
    """A state directory on a tmpfs that only this test's mount namespace has; a shell there runs the commands."""

    def __init__(self, box: Any) -> None:
        self.directory = tempfile.mkdtemp(prefix="casemate-disk-")
        self.program, self.environment = box.argv(())[0], dict(box.environment)
        self.environment |= {
            "CASEMATE_ROOT": f"{self.directory}/root",
            "CASEMATE_RUN_ROOT": f"{self.directory}/run",
        }
        script = f"mount -t tmpfs -o size={SIZE_MIB}m,mode=755 none {self.directory} && exec sh"
        self.shell = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
        )

    def do(self, line: str) -> tuple[int, str]:
        """Run a line of shell there; its code and all that it wrote."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(f"( {line} ) </dev/null 2>&1; code=$?; echo; echo ::end $code\n".encode())
        self.shell.stdin.flush()
        said = b""
        while True:
            got = self.shell.stdout.readline()
            assert got, said
            if got.startswith(b"::end "):
                text = said.decode("utf-8", "replace")
                assert "Traceback" not in text, text
                return int(got.split()[1]), text
            said += got

    def casemate(self, *words: str) -> tuple[int, str]:
        """Run the command there."""
        return self.do(shlex.join([self.program, *words]))

    def fine(self, *words: str) -> str:
        """Run the command there; it must succeed."""
        code, text = self.casemate(*words)
        assert code == 0, text
        return text.strip()

    def fill(self) -> None:
        """Take all the space that is left."""
        self.do(f"dd if=/dev/zero of={self.directory}/fill bs=4k")

    def free(self) -> None:
        """Give it back."""
        self.do(f"rm -f {self.directory}/fill")

    def files(self) -> set[str]:
        """What the store has, but caches."""
        found = self.do(
            f"cd {self.directory}/root && find content overlay containers volumes -type f 2>/dev/null"
        )[1].split()
        return set(found)

    def close(self) -> None:
        """End the shell, and with it the mount."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.close()
        self.shell.stdout.close()
        self.shell.wait(30)
        os.rmdir(self.directory)


@pytest.fixture
def images(
    root_box: Any, busybox_layer: bytes, make_layer: Callable[..., bytes], make_archive: Callable[..., str]
) -> Any:
    """An image that fits, and one that does not."""
    big = make_layer({"big": os.urandom(SIZE_MIB * 6 << 17)})
    config = {"Env": ["PATH=/bin"], "Cmd": ["sh"]}
    paths = {"small": [busybox_layer], "big": [busybox_layer, big]}
    for name, layers in paths.items():
        make_archive(f"{root_box.directory}/{name}-disk.tar", layers, config=config, name=f"{name}:latest")
    yield {name: f"{root_box.directory}/{name}-disk.tar" for name in paths}
    for name in paths:
        os.unlink(f"{root_box.directory}/{name}-disk.tar")


@pytest.fixture
def disk(root_box: Any, images: dict[str, str]) -> Iterator[SmallDisk]:
    made = SmallDisk(root_box)
    made.fine("load", "-i", images["small"])
    made.fine("run", "--rm", "small", "true")
    yield made
    made.free()
    ids = made.casemate("ps", "-aq")[1].split()
    if ids:
        made.casemate("rm", "-f", *ids)
    made.close()


def test_an_image_that_does_not_fit_is_refused_and_gives_its_space_back(
    disk: SmallDisk, images: dict[str, str]
) -> None:
    before = disk.files()
    for line in (("load", "-i", images["big"]), ("pull", f"docker-archive:{images['big']}")):
        code, text = disk.casemate(*line)
        assert code == 1, text
        assert "E-EXHAUSTED" in text, text
        assert disk.files() == before
    assert disk.fine("run", "--rm", "small", "echo", "works") == "works"


@pytest.mark.parametrize("line", [("run", "--rm", "small", "true"), ("run", "-d", "small", "sleep", "9"), ("create", "small"),
                                  ("load", "-i", "BIG"), ("image", "bootstrap", "busybox")], ids=" ".join)  # fmt: skip
def test_a_command_on_a_full_disk_says_so_and_leaves_nothing(
    disk: SmallDisk, images: dict[str, str], line: tuple[str, ...]
) -> None:
    disk.fill()
    before = disk.files()
    code, text = disk.casemate(*[images["big"] if word == "BIG" else word for word in line])
    assert code in {1, 125}, text
    assert "E-EXHAUSTED" in text, text
    assert "fix: free disk space" in text, text
    assert disk.fine("ps", "-aq") == ""
    assert disk.files() == before
    disk.free()
    assert disk.fine("run", "--rm", "small", "echo", "works") == "works"


FLOOD = "dd if=/dev/zero of=/flood bs=1M count=99 2>/dev/null; exit 7"


def test_a_container_that_fills_the_disk_can_be_removed(disk: SmallDisk) -> None:
    code, text = disk.casemate("run", "--name", "flood", "small", "sh", "-c", FLOOD)
    assert code == 7, text
    assert disk.fine("rm", "flood") == "flood"
    code, text = disk.casemate("run", "--rm", "small", "sh", "-c", FLOOD)
    assert code == 7, text
    disk.casemate("run", "small", "sh", "-c", FLOOD)
    assert "Deleted container" in disk.fine("system", "prune", "-f")
    assert disk.fine("run", "--rm", "small", "echo", "works") == "works"
    assert disk.fine("ps", "-aq") == ""


def test_a_log_that_meets_a_full_disk_does_not_hold_the_container(disk: SmallDisk) -> None:
    name = disk.fine("run", "-d", "small", "sh", "-c", "yes | head -c 30000000; exit 7")
    assert disk.fine("wait", name) == "7"
    disk.fine("rm", name)
    assert disk.fine("run", "--rm", "small", "echo", "works") == "works"
