"""Debian's docker-registry and skopeo, and an image in a neutral layout."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import socket
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest

from casemate.oci.digest import digest_of as digest
from casemate.oci.platform import Platform
from casemate.registry.fetch import fetch_image
from casemate.registry.open import open_sink, open_source
from casemate.registry.push import push_image
from casemate.registry.settings import Settings
from casemate.store.content import FileContentStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SKOPEO = ["skopeo", "--insecure-policy"]
OCI = "application/vnd.oci.image."


def layer(name: str, size: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = size
        tar.addfile(info, io.BytesIO(os.urandom(1 << 16) * (size // (1 << 16) + 1)))
    return out.getvalue()


class Layout:
    """An OCI layout written by the test itself, the neutral starting point."""

    def __init__(self, path: Path, *, layers: int = 3, size: int = 100_000) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        entries = [
            (f"v{number}", self.add_image(architecture, [layer(f"file{at}", size) for at in range(layers)]))
            for number, architecture in enumerate(("amd64", "s390x"), 1)
        ]
        self.digest = entries[0][1]["digest"]
        index = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}index.v1+json",
            "manifests": [
                entry | {"platform": {"os": "linux", "architecture": architecture}}
                for (_, entry), architecture in zip(entries, ("amd64", "s390x"), strict=True)
            ],
        }
        entries.append(("multi", self.put(json.dumps(index).encode(), f"{OCI}index.v1+json")))
        self.index_digest = entries[-1][1]["digest"]
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        named = [
            entry | {"annotations": {"org.opencontainers.image.ref.name": name}} for name, entry in entries
        ]
        (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": named}))

    def put(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Store a blob and return its descriptor."""
        (self.path / "blobs/sha256" / digest(data)[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def add_image(self, architecture: str, tars: list[bytes]) -> dict[str, Any]:
        """Store a one-platform image and return its descriptor."""
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}manifest.v1+json",
            "config": self.put(json.dumps(config).encode(), f"{OCI}config.v1+json"),
            "layers": [self.put(gzip.compress(tar, 1), f"{OCI}layer.v1.tar+gzip") for tar in tars],
        }
        return self.put(json.dumps(manifest).encode(), f"{OCI}manifest.v1+json")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Registry:
    """One docker-registry process with its own data."""

    def __init__(
        self, path: Path, auth: dict[str, Any] | None = None, tls: dict[str, str] | None = None
    ) -> None:
        self.host = f"127.0.0.1:{free_port()}"
        http: dict[str, Any] = {"addr": self.host}
        if tls:
            http["tls"] = tls
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(path / "data")}},
            "http": http,
        }
        if auth:
            config["auth"] = auth
        (path / "config.yml").write_text(json.dumps(config))
        self._log = (path / "log").open("wb")
        self._process = subprocess.Popen(
            ["docker-registry", "serve", str(path / "config.yml")], stdout=self._log, stderr=self._log
        )
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(self.host.split(":"), 1).close()
                break
            assert time.monotonic() < deadline, (path / "log").read_text()
            time.sleep(0.02)

    def close(self) -> None:
        """Stop the server."""
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return Layout(tmp_path_factory.mktemp("layout") / "oci")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    (tmp_path / "registry").mkdir()
    found = Registry(tmp_path / "registry")
    yield found
    found.close()


@pytest.fixture
def content(tmp_path: Path) -> FileContentStore:
    store = FileContentStore(str(tmp_path / "content"))
    store.ensure()
    return store


@pytest.fixture
def make_layout() -> type[Layout]:
    return Layout


@pytest.fixture
def start_registry() -> Iterator[Callable[..., Registry]]:
    """Start a docker-registry; all are stopped at the end of the test."""
    with contextlib.ExitStack() as running:

        def start(*arguments: Any, **options: Any) -> Registry:
            found = Registry(*arguments, **options)
            running.callback(found.close)
            return found

        yield start


def _skopeo(*arguments: str) -> bytes:
    done = subprocess.run([*SKOPEO, *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture
def skopeo() -> Callable[..., bytes]:
    return _skopeo


def _fetch(
    text: str, content: FileContentStore, settings: Settings | None = None, platform: str = "amd64"
) -> Any:
    source = open_source(text, settings or Settings())
    try:
        return fetch_image(source, content=content, platform=Platform("linux", platform))
    finally:
        source.close()


@pytest.fixture
def fetch() -> Callable[..., Any]:
    return _fetch


def _push(
    text: str,
    content: FileContentStore,
    image: str,
    *,
    names: Sequence[str] = (),
    settings: Settings | None = None,
) -> None:
    sink = open_sink(text, settings or Settings())
    try:
        push_image(sink, image, content=content, names=[*names])
        if hasattr(sink, "finish"):
            sink.finish()
    finally:
        sink.close()


@pytest.fixture
def push() -> Callable[..., None]:
    return _push
