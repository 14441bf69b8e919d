"""A busybox image made from Debian's busybox-static, an engine of its own for each test, and a way to run and read."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest

from casemate.engine.engine import Engine
from casemate.engine.options import Attach, ContainerOptions
from casemate.store.paths import StorePaths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

APPLETS = """
    cat cut dd echo env false grep head hostname id kill ln ls mkdir mount ping ps rm seq sh sleep stat
    stty test touch true umount wc yes
""".split()  # noqa: SIM905 - a list of words
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n"
GROUP = b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"
PASSWD_NAME, GROUP_NAME = "etc/passwd", "etc/group"


def layer(members: dict[str, bytes | str | None], *, modes: dict[str, int] | None = None) -> bytes:
    """A layer: bytes are a file, None a directory, a string a link's target."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.mode = (modes or {}).get(
                name, 0o755 if content is None or name.startswith("bin/") else 0o644
            )
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return data.getvalue()


def archive(path: Path, layers: list[bytes], *, config: dict[str, Any], name: str) -> str:
    """Write a docker-archive of these layers."""
    digests = [hashlib.sha256(data).hexdigest() for data in layers]
    document = {
        "architecture": "arm64" if os.uname().machine == "aarch64" else "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    encoded = json.dumps(document).encode()
    config_name = hashlib.sha256(encoded).hexdigest() + ".json"
    files = {f"{digest}.tar": data for digest, data in zip(digests, layers, strict=True)}
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [*files]}]
    files |= {config_name: encoded, "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(path, "w") as tar:
        for member, data in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


@pytest.fixture(scope="session")
def busybox_layer() -> bytes:
    with open("/bin/busybox", "rb") as file:
        program = file.read()
    members: dict[str, bytes | str | None] = dict.fromkeys(("bin", "etc", "home", "home/user", "root", "tmp"))
    members |= {"bin/busybox": program, PASSWD_NAME: PASSWD, GROUP_NAME: GROUP}
    members |= {f"bin/{applet}": "busybox" for applet in APPLETS}
    return layer(members, modes={"tmp": 0o1777})


@pytest.fixture(scope="session")
def busybox_archive(busybox_layer: bytes, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("image") / "busybox.tar"
    config = {"Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": ["sh"], "Labels": {"made.by": "test"}}
    return archive(path, [busybox_layer], config=config, name="busybox:latest")


@pytest.fixture
def make_image(busybox_layer: bytes, tmp_path: Path, engine: Engine) -> Callable[..., str]:
    def make(name: str, extra: dict[str, bytes | str | None] | None = None, **config: Any) -> str:
        layers = [busybox_layer, layer(extra)] if extra else [busybox_layer]
        defaults = {"Env": ["PATH=/bin"], "Cmd": ["sh"]}
        path = archive(tmp_path / f"{name}.tar", layers, config={**defaults, **config}, name=f"{name}:latest")
        engine.images.load(path)
        return name

    return make


@pytest.fixture
def write_archive() -> Callable[..., str]:
    return archive


@pytest.fixture
def paths(tmp_path: Path) -> StorePaths:
    return StorePaths(str(tmp_path / "root"), str(tmp_path / "run"))


@pytest.fixture
def engine(paths: StorePaths, busybox_archive: str) -> Iterator[Engine]:
    with Engine(paths) as opened:
        opened.images.load(busybox_archive)
        yield opened
        for container in opened.containers.list(all=True):
            container.remove(force=True, volumes=True)


class Result:
    """What a program wrote and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


def _read_all(fd: int) -> str:
    with open(fd, "rb") as file:
        return file.read().decode("utf-8", "replace")


def attached(start: Callable[[Attach], Any], *, stdin: bytes | None = None) -> Result:
    """Start something with pipes for its output, feed it, and read what it wrote (less than a pipe holds)."""
    out_r, out_w = os.pipe()
    err_r, err_w = os.pipe()
    try:
        session = start(Attach(stdout_fd=out_w, stderr_fd=err_w, stdin=stdin is not None))
    except BaseException:
        os.close(out_r)
        os.close(err_r)
        raise
    finally:
        os.close(out_w)
        os.close(err_w)
    with session:
        if stdin is not None:
            os.write(session.stdin_fd, stdin)
            session.close_stdin()
        code = session.wait()
    return Result(code, _read_all(out_r), _read_all(err_r))


@pytest.fixture
def run(engine: Engine) -> Callable[..., Result]:
    """Run a program in a fresh --rm container."""

    def run_one(*argv: str, image: str = "busybox", stdin: bytes | None = None, **options: Any) -> Result:
        options.setdefault("auto_remove", True)
        given = ContainerOptions(argv=list(argv) or None, interactive=stdin is not None, **options)
        return attached(engine.containers.create(image, given).start, stdin=stdin)

    return run_one


@pytest.fixture
def execute() -> Callable[..., Result]:
    """Run a program in a running container."""
    from casemate.engine.options import ExecOptions

    def execute_one(container: Any, *argv: str, stdin: bytes | None = None, **options: Any) -> Result:
        given = ExecOptions(interactive=stdin is not None, **options)
        return attached(lambda attach: container.exec(list(argv), given, attach), stdin=stdin)

    return execute_one


@pytest.fixture
def wait_until() -> Callable[[Callable[[], Any]], Any]:
    def poll(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)
        return found

    return poll
