"""A registry on loopback that can be told to misbehave, and an image to put into it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from casemate.oci.digest import digest_of as digest
from casemate.oci.reference import parse_reference
from casemate.registry.fetch import fetch_image
from casemate.registry.limits import Limits
from casemate.registry.settings import Settings
from casemate.registry.transport.docker import DockerSource
from casemate.store.content import FileContentStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from casemate.registry.fetch import FetchedImage

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Toy:
    """A server whose paths are answered by functions.

    ``seen`` keeps (method, path, headers) of each request.
    """

    def __init__(self) -> None:
        self.routes: dict[str, Callable[[Any], None]] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        toy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                toy.seen.append((self.command, self.path, dict(self.headers)))
                if self.path == "/v2/":
                    toy.reply(self, 200, b"{}")
                    return
                route = toy.routes.get(self.path.partition("?")[0])
                if route is None:
                    toy.reply(
                        self, 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such thing"}]}'
                    )
                else:
                    route(self)

            do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815 - names of http.server

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Stay silent: clients that hang up are what is tested."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def reply(self, handler: Any, status: int, body: bytes, **headers: str) -> None:
        """Answer with ``body``; underscores in header names mean dashes."""
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    def serve(self, path: str, body: bytes, *, status: int = 200, **headers: str) -> None:
        """Answer every method on ``path`` with ``body``."""
        self.routes[path] = lambda handler: self.reply(handler, status, body, **headers)

    def serve_manifest(self, tag: str, body: bytes, media_type: str = OCI_MANIFEST) -> None:
        """Serve a manifest under a tag and under its digest."""
        for selector in (tag, digest(body)):
            self.serve(f"/v2/app/manifests/{selector}", body, Content_Type=media_type)

    def serve_blob(self, body: bytes) -> None:
        """Serve a blob under its digest."""
        self.serve(f"/v2/app/blobs/{digest(body)}", body)

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Image:
    """A one-layer image whose parts tests bend before they are served."""

    def __init__(self, layer: bytes = b"layer" * 100_000) -> None:
        self.layer = layer
        self.config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
            }
        ).encode()
        self.document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(self.config),
                "size": len(self.config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": digest(layer),
                    "size": len(layer),
                }
            ],
        }

    @property
    def manifest(self) -> bytes:
        """The bytes of the manifest as it is bent now."""
        return json.dumps(self.document).encode()

    @property
    def layer_path(self) -> str:
        """Where the registry serves the layer."""
        return f"/v2/app/blobs/{digest(self.layer)}"

    def put_into(self, toy: Toy) -> None:
        """Serve all parts."""
        toy.serve_manifest("v1", self.manifest)
        toy.serve_blob(self.config)
        toy.serve_blob(self.layer)


def _toys() -> Iterator[Toy]:
    toy = Toy()
    yield toy
    toy.close()


@pytest.fixture
def toy() -> Iterator[Toy]:
    yield from _toys()


@pytest.fixture
def other_toy() -> Iterator[Toy]:
    yield from _toys()


@pytest.fixture
def image() -> Image:
    return Image()


@pytest.fixture
def make_image() -> type[Image]:
    return Image


@pytest.fixture
def settings() -> Settings:
    """Impatient settings, so that the tests of patience are quick."""
    limits = Limits(connect_s=10, read_s=10, attempts=3, first_pause_s=0.01, longest_pause_s=0.05)
    return Settings(limits=limits)


@pytest.fixture
def content(tmp_path: Path) -> FileContentStore:
    store = FileContentStore(str(tmp_path / "store"))
    store.ensure()
    return store


@pytest.fixture
def pull(toy: Toy, settings: Settings, content: FileContentStore) -> Callable[..., FetchedImage]:
    """Pull app:v1 (or another reference) from the toy registry into the store."""

    def run(reference: str = "app:v1") -> FetchedImage:
        source = DockerSource(parse_reference(f"{toy.host}/{reference}"), settings)
        try:
            return fetch_image(source, content=content)
        finally:
            source.close()

    return run
