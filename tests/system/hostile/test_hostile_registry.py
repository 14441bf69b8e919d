"""``casemate pull`` from registries that lie, refuse, redirect, stall or die, and a pull that is killed."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root]  # the user's half becomes that user itself

OCI = "application/vnd.oci.image."


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Server:
    """Paths answered by (status, body, headers), or by a function of the handler; keeps what it saw."""

    def __init__(self) -> None:
        self.routes: dict[str, Any] = {"/v2/": (200, b"{}", {})}
        self.seen: list[tuple[str, dict[str, str]]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.seen.append((self.path, dict(self.headers)))
                found = server.routes.get(self.path, (404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', {}))
                if callable(found):
                    found(self)
                    return
                status, body, headers = found
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 - a name of http.server

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Clients that hang up are what is tested."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def image(
        self, layers: list[bytes], *, bend: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Serve an image as app:latest; ``bend`` changes its manifest first. Returns the honest manifest."""
        config = {
            "architecture": "arm64" if os.uname().machine == "aarch64" else "amd64",
            "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}manifest.v1+json",
            "config": self.blob(json.dumps(config).encode(), f"{OCI}config.v1+json"),
            "layers": [
                self.blob(gzip.compress(layer, 1, mtime=0), f"{OCI}layer.v1.tar+gzip") for layer in layers
            ],
        }
        bent = json.loads(json.dumps(manifest))
        if bend is not None:
            bend(bent)
        self.manifest(json.dumps(bent).encode())
        return manifest

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Serve a blob; its descriptor."""
        self.routes[f"/v2/app/blobs/{digest(data)}"] = (200, data, {})
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def manifest(self, data: bytes, media_type: str = f"{OCI}manifest.v1+json") -> None:
        """Serve a manifest as app:latest."""
        self.routes["/v2/app/manifests/latest"] = (200, data, {"Content-Type": media_type})
        self.routes[f"/v2/app/manifests/{digest(data)}"] = (200, data, {"Content-Type": media_type})


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def refused(box: Any, server: Server, *codes: str) -> str:
    """Pull; it is refused with one of these codes, and the store is what it was."""
    before = box.print_of_store()
    said: str = box.refused("pull", f"{server.host}/app", code=1)
    assert any(f"code: {code}" in said for code in codes), said
    after = box.print_of_store()
    assert (after["images"], after["ps"]) == (before["images"], before["ps"])
    assert not [path for path in after["files"] - before["files"] if not path.startswith("content/")]
    return said


def at_layer(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["layers"][0].update(changes)


BENT: dict[str, tuple[Callable[[dict[str, Any]], None], tuple[str, ...]]] = {
    "digest-path": (at_layer(digest="sha256:../../../etc/passwd"), ("E-INVALID",)),
    "digest-short": (at_layer(digest="sha256:abc"), ("E-INVALID",)),
    "digest-upper": (at_layer(digest="sha256:" + "A" * 64), ("E-INVALID",)),
    "digest-of-nothing": (at_layer(digest="sha256:" + "0" * 64), ("E-NOT-FOUND", "E-CORRUPT")),
    "size-small": (at_layer(size=10), ("E-CORRUPT", "E-INVALID")),
    "size-large": (at_layer(size=10**9), ("E-CORRUPT", "E-UNAVAILABLE")),
    "size-negative": (at_layer(size=-1), ("E-INVALID",)),
    "size-text": (at_layer(size="10"), ("E-INVALID",)),
    "unknown-type": (at_layer(mediaType="application/x-sh"), ("E-UNSUPPORTED", "E-INVALID")),
    "also-index": (lambda manifest: manifest.update(manifests=[]), ("E-INVALID",)),
    "no-layers": (lambda manifest: manifest.pop("layers"), ("E-INVALID",)),
    "layer-count": (
        lambda manifest: manifest["layers"].append(manifest["layers"][0]),
        ("E-INVALID", "E-CORRUPT"),
    ),
    "schema-1": (lambda manifest: manifest.update(schemaVersion=1), ("E-UNSUPPORTED", "E-INVALID")),
    "config-is-layer": (
        lambda manifest: manifest["config"].update(manifest["layers"][0]),
        ("E-INVALID", "E-UNSUPPORTED"),
    ),
}


@pytest.mark.parametrize("kind", BENT)
def test_a_bent_manifest_is_refused_by_name(
    root_box: Any, server: Server, make_layer: Any, kind: str
) -> None:
    bend, codes = BENT[kind]
    server.image([make_layer({"bent": os.urandom(5000)})], bend=bend)
    refused(root_box, server, *codes)


def test_a_manifest_that_is_no_plain_json_is_refused(root_box: Any, server: Server) -> None:
    for text in (
        b'{"schemaVersion":2,"schemaVersion":2}',
        b"[" * 100_000,
        b"\xff\xfe",
        b"{",
        b"1" * 5000,
        b"NaN",
    ):
        server.manifest(text)
        refused(root_box, server, "E-INVALID", "E-UNSUPPORTED")


def _corrupt(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


@pytest.mark.parametrize(
    "change",
    [_corrupt, lambda data: data[:-1], lambda data: data + b"x", lambda _: b""],
    ids=["flip", "cut", "more", "empty"],
)
def test_a_blob_that_is_not_its_digest_is_refused(
    root_box: Any, server: Server, make_layer: Any, change: Callable[[bytes], bytes]
) -> None:
    manifest = server.image([make_layer({"file": os.urandom(9000)})])
    path = f"/v2/app/blobs/{manifest['layers'][0]['digest']}"
    status, body, headers = server.routes[path]
    server.routes[path] = (status, change(body), headers)
    refused(root_box, server, "E-CORRUPT", "E-UNAVAILABLE")


def _member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info, data


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _escapes(target: str) -> dict[str, bytes]:
    above = "../" * 12 + target[1:]
    return {
        "dotdot": _tar(_member(f"{above}/out", data=b"x")),
        "absolute": _tar(_member(f"{target}/out", data=b"x")),
        "link-then-file": _tar(_member("l", tarfile.SYMTYPE, target), _member("l/out", data=b"x")),
        "link-up-then-file": _tar(_member("l", tarfile.SYMTYPE, above), _member("l/out", data=b"x")),
        "file-on-link": _tar(_member("l", tarfile.SYMTYPE, f"{target}/out"), _member("l", data=b"x")),
        "hard-link": _tar(_member("l", tarfile.LNKTYPE, f"{target[:-6]}/file"), _member("l", data=b"x")),
        "hard-link-to-link": _tar(
            _member("s", tarfile.SYMTYPE, f"{target[:-6]}/file"),
            _member("l", tarfile.LNKTYPE, "s"),
            _member("l", data=b"x"),
        ),
        "whiteout-through-link": _tar(_member("l", tarfile.SYMTYPE, target[:-6]), _member("l/.wh.file")),
    }


@pytest.mark.parametrize("kind", _escapes("/tmp/place"))
def test_a_layer_cannot_write_outside(root_box: Any, server: Server, canary: Any, kind: str) -> None:
    os.chmod(canary.place, 0o777)
    os.chmod(canary.directory, 0o777)
    canary.renew()
    server.image([_escapes(canary.place)[kind]])
    answer = root_box("pull", f"{server.host}/app")
    assert answer.code in {0, 1}
    canary.check(answer)
    if answer.code == 0:
        root_box.fine("rmi", "-f", f"{server.host}/app")


def _deep() -> bytes:
    return _tar(_member("d/" * 3000 + "file", data=b"x"))


def _cut() -> bytes:
    return _tar(_member("file", data=bytes(5000)))[:2000]


def _contradictory() -> bytes:
    """PAX says one size, the header another: two readers would see two archives (C14)."""
    info, data = _member("file", data=b"x" * 600)
    info.pax_headers = {"size": "1"}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(data))
        tar.addfile(_member("directory", tarfile.DIRTYPE)[0])
    return out.getvalue()


@pytest.mark.parametrize("make", [_deep, _cut, _contradictory])
def test_an_archive_that_is_too_deep_cut_or_ambiguous_is_refused(
    root_box: Any, server: Server, make: Callable[[], bytes]
) -> None:
    server.image([make()])
    refused(root_box, server, "E-EXHAUSTED", "E-INVALID", "E-CORRUPT")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "E-UNAUTHORIZED"),
        (403, "E-DENIED"),
        (404, "E-NOT-FOUND"),
        (429, "E-UNAVAILABLE"),
        (500, "E-UNAVAILABLE"),
    ],
)
def test_a_registry_that_says_no_is_quoted(box: Any, server: Server, status: int, code: str) -> None:
    body = json.dumps({"errors": [{"code": "X", "message": "go \x1b[31maway"}]}).encode()
    server.routes["/v2/app/manifests/latest"] = (status, body, {"Retry-After": "0"})
    said = refused(box, server, code)
    assert "\x1b" not in said


def test_a_redirect_elsewhere_carries_no_credentials_and_foreign_urls_are_not_followed(
    root_box: Any, server: Server, other: Server, make_layer: Any
) -> None:
    manifest = server.image([make_layer({"moved": os.urandom(2000)})])
    name = manifest["layers"][0]["digest"]
    path = f"/v2/app/blobs/{name}"
    other.routes["/moved"] = server.routes[path]
    server.routes[path] = (307, b"", {"Location": f"http://{other.host}/moved"})
    login = {"auths": {server.host: {"auth": "dXNlcjpwYXNz"}}}
    with open(f"{root_box.directory}/auth.json", "w", encoding="ascii") as file:
        json.dump(login, file)
    answer = root_box(
        "pull", f"{server.host}/app", env={"REGISTRY_AUTH_FILE": f"{root_box.directory}/auth.json"}
    )
    assert answer.code in {0, 1}, answer
    assert all("Authorization" not in headers for _, headers in other.seen)
    assert "dXNlcjpwYXNz" not in answer.out + answer.err
    if answer.code == 0:
        root_box.fine("rmi", f"{server.host}/app")
    server.image(
        [make_layer({"foreign": os.urandom(2000)})], bend=at_layer(urls=[f"http://{other.host}/foreign"])
    )
    root_box("pull", f"{server.host}/app")
    assert "/foreign" not in [seen for seen, _ in other.seen]


def test_a_redirect_in_a_circle_or_to_another_scheme_ends(
    root_box: Any, server: Server, make_layer: Any
) -> None:
    manifest = server.image([make_layer({"circle": os.urandom(2000)})])
    path = f"/v2/app/blobs/{manifest['layers'][0]['digest']}"
    for location in (path, "file:///etc/shadow", "http://169.254.169.254/x", "ftp://127.0.0.1/x", "//", ""):
        server.routes[path] = (302, b"", {"Location": location})
        before = root_box.print_of_store()["images"]
        began = time.monotonic()
        root_box.refused("pull", f"{server.host}/app", code=1)
        assert time.monotonic() - began < 20, location
        assert root_box.print_of_store()["images"] == before


def test_a_login_server_elsewhere_is_not_asked(root_box: Any, server: Server) -> None:
    challenge = 'Bearer realm="http://169.254.169.254/latest/meta-data",service="x"'
    server.routes["/v2/app/manifests/latest"] = (401, b"", {"WWW-Authenticate": challenge})
    began = time.monotonic()
    refused(root_box, server, "E-DENIED", "E-UNAUTHORIZED", "E-INVALID")
    assert time.monotonic() - began < 5


def test_ctrl_c_ends_a_pull_that_stalls(root_box: Any, server: Server, make_layer: Any) -> None:
    manifest = server.image([make_layer({"stall": os.urandom(200_000)})])
    reached = threading.Event()
    done = threading.Event()

    def stall(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(manifest["layers"][0]["size"]))
        handler.end_headers()
        handler.wfile.write(b"x" * 1000)
        reached.set()
        done.wait(30)

    server.routes[f"/v2/app/blobs/{manifest['layers'][0]['digest']}"] = stall
    process = root_box.start("pull", f"{server.host}/app", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert reached.wait(20)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=10)
    finally:
        done.set()
        process.kill()
        process.wait()
    assert process.returncode == 130, said
    assert b"Traceback" not in said


@contextlib.contextmanager
def _docker_registry(directory: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": f"{directory}/data"}},
        "http": {"addr": host},
    }
    with open(f"{directory}/config.yml", "w", encoding="ascii") as file:
        json.dump(config, file)
    process = subprocess.Popen(
        ["docker-registry", "serve", f"{directory}/config.yml"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(host.split(":"), 1).close()
                break
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield host
    finally:
        process.terminate()
        process.wait(20)


KILLS = 10


def test_a_pull_that_is_killed_leaves_nothing_that_the_next_one_cannot_use(  # noqa: PLR0917 - fixtures
    root_box: Any, make_layer: Any, make_archive: Any, busybox_layer: bytes, tmp_path: Any
) -> None:
    layers = [busybox_layer, *(make_layer({f"file{number}": os.urandom(6 << 20)}) for number in range(3))]
    with _docker_registry(str(tmp_path)) as host:
        path = make_archive(
            str(tmp_path / "big.tar"), layers, config={"Env": ["PATH=/bin"]}, name="big:latest"
        )
        copy = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false"]
        subprocess.run([*copy, f"docker-archive:{path}", f"docker://{host}/big:latest"], check=True)
        root_box.fine("system", "prune", "-f")
        before = root_box.print_of_store()
        dice = random.Random(7)  # noqa: S311 - moments, no secrets
        for _ in range(KILLS):
            process = root_box.start(
                "pull", f"{host}/big", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(dice.uniform(0.03, 0.45))
            process.kill()
            process.wait()
            assert root_box.fine("ps", "-aq") == before["ps"]
        root_box.fine("pull", f"{host}/big")
        assert root_box.fine("run", "--rm", f"{host}/big", "sh", "-c", "ls / | grep -c file").strip() == "3"
        root_box.fine("rmi", f"{host}/big")
        root_box.fine("system", "prune", "-f")
        assert root_box.print_of_store() == before
