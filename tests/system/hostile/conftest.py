"""The attacker's workshop.

Images built byte by byte, the real command with a store of its own (as root and as an ordinary user), a canary file
that no container may touch, and a print of the store by which "nothing changed" is said.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Member = bytes | str | None | tarfile.TarInfo
    Members = Mapping[str, Member]

PROGRAM = os.path.join(os.path.dirname(sys.executable), "casemate")
PATIENCE_S = 60
NOBODY = 65534
ARCHITECTURE = "arm64" if os.uname().machine == "aarch64" else "amd64"
APPLETS = """
    cat chmod cp dd echo env find grep head hostname id kill ln ls mkdir mknod mount mv nc ps readlink rm sed seq sh sleep
    sort stat sync tail test touch tr true umount wc yes
""".split()  # noqa: SIM905 - a list of words
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n"
GROUP = b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"


def layer(members: Members, *, modes: Mapping[str, int] | None = None) -> bytes:
    """A layer: bytes are a file, None a directory, a string a link's target, a TarInfo is taken as it is."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.mode = (modes or {}).get(name, 0o755 if content is None or "bin/" in name else 0o644)
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return data.getvalue()


def special(kind: bytes, *, size: int = 0, device: tuple[int, int] = (0, 0)) -> tarfile.TarInfo:
    """A member that is neither file, directory nor link."""
    info = tarfile.TarInfo()
    info.type, info.size, info.mode = kind, size, 0o666
    info.devmajor, info.devminor = device
    return info


def archive(path: str, layers: list[bytes], *, config: Any, name: str, document: Any = None) -> str:
    """Write a docker-archive of these layers; ``document`` overrides members of the configuration's top level."""
    digests = [hashlib.sha256(data).hexdigest() for data in layers]
    whole = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        **(document or {}),
    }
    encoded = json.dumps(whole).encode()
    config_name = hashlib.sha256(encoded).hexdigest() + ".json"
    files = {f"{digest}.tar": data for digest, data in zip(digests, layers, strict=True)}
    manifest = [
        {"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}.tar" for digest in digests]}
    ]
    files |= {config_name: encoded, "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(path, "w") as tar:
        for member, data in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


class Answer:
    """What a command said."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.code = done.returncode
        self.out = done.stdout.decode("utf-8", "replace")
        self.err = done.stderr.decode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"code {self.code}\n--- out\n{self.out[-3000:]}\n--- err\n{self.err[-3000:]}"


class Box:
    """The command with a store of its own."""

    def __init__(self, directory: str, *, user: bool = False) -> None:
        self.directory = directory
        self.user = user
        self.root = f"{directory}/root"
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": directory,
            "LANG": "C.UTF-8",
            "CASEMATE_ROOT": self.root,
            "CASEMATE_RUN_ROOT": f"{directory}/run",
            "PYTHONDONTWRITEBYTECODE": "1",
            "NO_COLOR": "1",
        }

    def argv(self, words: tuple[str, ...]) -> list[str]:
        """The whole line, for somebody who starts it himself."""
        if not self.user:
            return [PROGRAM, *words]
        script = (
            f"mount --bind {self.directory}/subids /etc/subuid && mount --bind {self.directory}/subids /etc/subgid &&"
            f' exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups -- "$@"'
        )
        return ["unshare", "-m", "sh", "-c", script, "sh", PROGRAM, *words]

    def __call__(
        self, *words: str, stdin: bytes = b"", env: dict[str, str] | None = None, **more: Any
    ) -> Answer:
        """Run a command to its end; a traceback is never an answer."""
        done = subprocess.run(
            self.argv(words),
            input=stdin,
            capture_output=True,
            env=self.environment | (env or {}),
            cwd=self.directory,
            check=False,
            timeout=PATIENCE_S,
            **more,
        )
        answer = Answer(done)
        assert "Traceback" not in answer.err, answer
        assert "bug in casemate" not in answer.err, answer
        assert "E-INTERNAL" not in answer.err, answer
        return answer

    def fine(self, *words: str, **more: Any) -> str:
        """Run a command that must succeed; its output."""
        answer = self(*words, **more)
        assert answer.code == 0, answer
        return answer.out

    def refused(self, *words: str, code: int = 125, **more: Any) -> str:
        """Run a command that must be refused in casemate's words, with this code; those words."""
        answer = self(*words, **more)
        assert answer.code == code, answer
        assert "\ncasemate: cannot " in "\n" + answer.err, answer
        return answer.err

    def start(self, *words: str, **more: Any) -> subprocess.Popen[bytes]:
        """Begin a command and do not wait."""
        return subprocess.Popen(self.argv(words), env=self.environment, cwd=self.directory, **more)

    def print_of_store(self) -> dict[str, Any]:
        """All that a failed command must leave as it was: names, containers and every file of the store."""
        files = set()
        for base, _, names in os.walk(self.root):
            here = os.path.relpath(base, self.root)
            if here.split("/")[0] not in {"cache", "locks"} and "overlay/trash" not in here:
                files.update(f"{here}/{name}" for name in names if not name.endswith(("-wal", "-shm")))
        return {
            "images": self.fine("images", "-a", "--digests"),
            "ps": self.fine("ps", "-aq"),
            "files": files,
        }

    def load(self, name: str, layers: list[bytes], **more: Any) -> Answer:
        """Load an image made of these layers."""
        path = f"{self.directory}/{name}.tar"
        config = {"Env": ["PATH=/bin"], "Cmd": ["sh"], **more.pop("config", {})}
        archive(path, layers, config=config, name=f"{name}:latest", **more)
        try:
            return self("load", "--replace", "-i", path)
        finally:
            os.unlink(path)


@pytest.fixture(scope="session")
def busybox_layer() -> bytes:
    with open("/bin/busybox", "rb") as file:
        program = file.read()
    members: dict[str, Member] = dict.fromkeys(("bin", "etc", "home", "home/user", "root", "tmp", "var"))
    members |= {"bin/busybox": program, "etc/passwd": PASSWD, "etc/group": GROUP}
    members |= {f"bin/{applet}": "busybox" for applet in APPLETS}
    return layer(members, modes={"tmp": 0o1777})


def _box(layer_of_busybox: bytes, *, user: bool) -> Iterator[Box]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    directory = tempfile.mkdtemp(prefix="casemate-hostile-")
    if user:
        with open(f"{directory}/subids", "w", encoding="ascii") as file:
            file.write("nobody:300000:65536\n")
        os.chown(directory, NOBODY, NOBODY)
    box = Box(directory, user=user)
    answer = box.load("busybox", [layer_of_busybox])
    assert answer.code == 0, answer
    box.fine(
        "run", "--rm", "busybox", "true"
    )  # makes what stays: the control groups' parent, the seccomp cache
    yield box
    for name in box("ps", "-aq").out.split():
        box("rm", "-f", "-v", name)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def root_box(busybox_layer: bytes) -> Iterator[Box]:
    yield from _box(busybox_layer, user=False)


@pytest.fixture(scope="module")
def user_box(busybox_layer: bytes) -> Iterator[Box]:
    yield from _box(busybox_layer, user=True)


@pytest.fixture(params=["root", "user"])
def box(request: pytest.FixtureRequest) -> Box:
    """The command of root, then that of an ordinary user with subordinate ids."""
    found: Box = request.getfixturevalue(f"{request.param}_box")
    return found


@pytest.fixture
def make_layer() -> Callable[..., bytes]:
    return layer


@pytest.fixture
def make_special() -> Callable[..., tarfile.TarInfo]:
    return special


@pytest.fixture
def make_archive() -> Callable[..., str]:
    return archive


class Canary:
    """A file and a directory of the host that nothing inside may read, write, move or fill."""

    def __init__(self, directory: str) -> None:
        self.token = f"canary-{os.urandom(12).hex()}"
        self.directory = directory
        self.file = f"{directory}/file"
        self.place = f"{directory}/place"
        os.mkdir(self.place)
        with open(self.file, "w", encoding="ascii") as file:
            file.write(self.token + "\n")
        os.chmod(self.file, 0o644)
        os.chmod(directory, 0o755)
        self.before = self._look()

    def _look(self) -> tuple[object, ...]:
        with open(self.file, encoding="ascii") as file:
            content = file.read()
        found: list[object] = [content, *sorted(os.listdir(self.place)), *sorted(os.listdir(self.directory))]
        for path in (self.file, self.place, self.directory):
            about = os.stat(path)
            found += [
                about.st_mode,
                about.st_uid,
                about.st_gid,
                about.st_mtime_ns,
                about.st_nlink,
                about.st_ino,
            ]
        return tuple(found)

    def renew(self) -> None:
        """Take what is there now as what must stay."""
        self.before = self._look()

    def check(self, *answers: Answer) -> None:
        """Nothing changed, and no answer has the token."""
        assert self._look() == self.before
        for answer in answers:
            assert self.token not in answer.out + answer.err, answer


@pytest.fixture
def canary() -> Iterator[Canary]:
    directory = tempfile.mkdtemp(prefix="casemate-canary-")
    made = Canary(directory)
    yield made
    made.check()
    shutil.rmtree(directory)
