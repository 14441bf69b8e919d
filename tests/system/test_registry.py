"""Debian's docker-registry, skopeo and podman: what one side writes the other reads, digests equal."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from casemate.errors import NotFound, Unauthorized
from casemate.oci.platform import Platform
from casemate.registry.credentials import CredentialFiles
from casemate.registry.fetch import fetch_image
from casemate.registry.open import Archive, open_sink, open_source
from casemate.registry.push import push_image
from casemate.registry.settings import Settings
from casemate.store.content import FileContentStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.system

SKOPEO = ["skopeo", "--insecure-policy"]
OCI = "application/vnd.oci.image."


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


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


def skopeo(*arguments: str) -> bytes:
    done = subprocess.run([*SKOPEO, *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def fetch(
    text: str, content: FileContentStore, settings: Settings | None = None, platform: str = "amd64"
) -> Any:
    source = open_source(text, settings or Settings())
    try:
        return fetch_image(source, content=content, platform=Platform("linux", platform))
    finally:
        source.close()


def push(
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


def test_what_skopeo_pushed_is_pulled_with_equal_digests(layout: Layout, registry: Any, content: Any) -> None:
    skopeo("copy", "--dest-tls-verify=false", f"oci:{layout.path}:v1", f"docker://{registry.host}/a/b:v1")
    fetched = fetch(f"docker://{registry.host}/a/b:v1", content)
    assert fetched.manifest_digest == layout.digest
    for blob in content.iter_blobs():
        assert content.read(blob.digest, limit_bytes=1 << 20)


def test_docker_schema_2_is_pulled(layout: Layout, registry: Any, content: Any) -> None:
    target = f"docker://{registry.host}/a:v2s2"
    skopeo("copy", "--dest-tls-verify=false", "--format", "v2s2", f"oci:{layout.path}:v1", target)
    fetched = fetch(target, content)
    assert fetched.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert len(fetched.layers) == 3


def test_multi_platform_index_gives_the_asked_platform(layout: Layout, registry: Any, content: Any) -> None:
    target = f"docker://{registry.host}/multi:v1"
    skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{layout.path}:multi", target)
    fetched = fetch(target, content, platform="s390x")
    assert fetched.index_digest == layout.index_digest
    assert fetched.image_config.architecture == "s390x"
    with pytest.raises(NotFound, match="linux/s390x"):
        fetch(target, content, platform="riscv64")


def test_what_we_push_skopeo_reads_with_equal_digests(layout: Layout, registry: Any, content: Any) -> None:
    fetch(f"oci:{layout.path}:v1", content)
    push(f"docker://{registry.host}/pushed:v1", content, layout.digest)
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/pushed:v1")
    assert digest(raw) == layout.digest
    fetched = fetch(f"docker://{registry.host}/pushed@{layout.digest}", content)
    assert fetched.manifest_digest == layout.digest


def test_index_is_pushed_with_all_its_platforms(layout: Layout, registry: Any, content: Any) -> None:
    for platform in ("amd64", "s390x"):
        fetch(f"oci:{layout.path}:multi", content, platform=platform)
    target = f"docker://{registry.host}/multi:v1"
    push(target, content, layout.index_digest)
    assert digest(skopeo("inspect", "--raw", "--tls-verify=false", target)) == layout.index_digest
    skopeo("copy", "--all", "--src-tls-verify=false", target, f"dir:{layout.path.parent}/multi-dir")


def test_missing_image_is_not_found(registry: Any, content: Any) -> None:
    with pytest.raises(NotFound):
        fetch(f"docker://{registry.host}/nothing:v1", content)


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive", "dir"])
def test_every_file_transport_goes_through_skopeo_and_back(
    layout: Layout, content: Any, tmp_path: Path, transport: str
) -> None:
    fetch(f"oci:{layout.path}:v1", content)
    ours, theirs = f"{transport}:{tmp_path}/ours", f"{transport}:{tmp_path}/theirs"
    name = "docker.io/library/demo:v1"
    push(ours, content, layout.digest, names=[name])
    skopeo("copy", ours, f"dir:{tmp_path}/dir")
    skopeo("copy", f"oci:{layout.path}:v1", theirs + (f":{name}" if transport.endswith("r-archive") else ""))
    fetched = fetch(theirs, content)
    config = json.loads((tmp_path / "dir/manifest.json").read_bytes())["config"]["digest"]
    assert config == fetched.config_digest  # the image id, whatever happened to the manifest
    if transport != "docker-archive":  # that format keeps no manifest
        assert fetched.manifest_digest == layout.digest


def test_docker_archive_of_skopeo_gives_the_same_image_id_and_layers(
    layout: Layout, content: Any, tmp_path: Path
) -> None:
    archive = f"docker-archive:{tmp_path}/image.tar"
    skopeo("copy", f"oci:{layout.path}:v1", f"{archive}:demo:v1")
    skopeo("copy", archive, f"dir:{tmp_path}/dir")
    fetched = fetch(archive, content)
    theirs = json.loads((tmp_path / "dir/manifest.json").read_bytes())
    assert fetched.config_digest == theirs["config"]["digest"]
    assert [layer.digest for layer in fetched.layers] == [layer["digest"] for layer in theirs["layers"]]
    assert [layer.digest for layer in fetched.layers] == fetched.image_config.diff_ids


def test_archive_is_reproducible_and_compressed_ones_load(
    layout: Layout, content: Any, tmp_path: Path
) -> None:
    fetch(f"oci:{layout.path}:v1", content)
    for name in ("one", "two"):
        push(f"docker-archive:{tmp_path}/{name}", content, layout.digest, names=["demo:v1", "other/x:2"])
    one = (tmp_path / "one").read_bytes()
    assert one == (tmp_path / "two").read_bytes()
    (tmp_path / "packed").write_bytes(gzip.compress(one, 1))
    archive = Archive(str(tmp_path / "packed"))
    names = ["docker.io/library/demo:v1", "docker.io/other/x:2"]
    assert [found for found, _ in archive.images] == [names]
    assert fetch_image(archive.images[0][1], content=content).manifest_digest == layout.digest
    archive.close()


def _podman(root_dir: str, *arguments: str) -> str:
    root = [f"--root={root_dir}/root", f"--runroot={root_dir}/run", "--storage-driver=vfs"]
    done = subprocess.run(["podman", *root, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="podman's storage needs root here")
@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_podman_loads_what_we_save_under_its_name(
    layout: Layout, content: Any, tmp_path: Path, transport: str
) -> None:
    fetched = fetch(f"oci:{layout.path}:v1", content)
    push(f"{transport}:{tmp_path}/image.tar", content, layout.digest, names=["docker.io/library/demo:v1"])
    with tempfile.TemporaryDirectory(prefix="cm-", dir="/tmp") as short:
        _podman(short, "load", "-i", f"{tmp_path}/image.tar")
        form = "{{.Id}} {{.Repository}}:{{.Tag}}"
        image_id, name = _podman(short, "images", "--no-trunc", "--format", form).split()
    assert image_id.removeprefix("sha256:") == fetched.config_digest.removeprefix("sha256:")
    assert name == "docker.io/library/demo:v1"


DOCKER_LOADS = """
cd "$1"
umount /sys/fs/cgroup/unified 2>/dev/null
ip link set lo up
dockerd --data-root "$1/root" --exec-root "$1/exec" -H "unix://$1/sock" --pidfile "$1/pid" --iptables=false \\
    --bridge=none --storage-driver=vfs >"$1/log" 2>&1 &
daemon=$!
docker="docker -H unix://$1/sock"
tries=0
until $docker version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { cat "$1/log"; exit 1; }
    sleep 0.1
done
$docker load -q -i "$2" >&2 || exit 1
$docker images --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}}'
$docker save -o "$1/saved.tar" demo:v1
kill $daemon
wait
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root")
def test_docker_loads_what_we_save_and_we_load_what_docker_saves(
    layout: Layout, content: Any, tmp_path: Path
) -> None:
    fetched = fetch(f"oci:{layout.path}:v1", content)
    push(f"docker-archive:{tmp_path}/image.tar", content, layout.digest, names=["docker.io/library/demo:v1"])
    with tempfile.TemporaryDirectory(prefix="cm-", dir="/tmp") as short:
        done = subprocess.run(
            [
                "unshare",
                "-mnpf",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                DOCKER_LOADS,
                "sh",
                short,
                f"{tmp_path}/image.tar",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        archive = Archive(f"{short}/saved.tar")
        names, source = archive.images[0]
        loaded = fetch_image(source, content=content)
        archive.close()
    assert done.stdout.split() == [fetched.config_digest, "demo:v1"]
    assert (names, loaded.config_digest) == (["docker.io/library/demo:v1"], fetched.config_digest)


@pytest.fixture
def login(tmp_path: Path) -> Settings:
    settings = Settings(credentials=CredentialFiles([str(tmp_path / "auth.json")]))
    (tmp_path / "auth.json").write_text("{}")
    return settings


def _log_in(tmp_path: Path, host: str, text: str) -> None:
    entry = {"auth": base64.b64encode(text.encode()).decode()}
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {host: entry}}))


def test_htpasswd_registry_wants_and_takes_a_login(
    layout: Layout, content: Any, tmp_path: Path, login: Path
) -> None:
    # bcrypt of "s3cret", made once: htpasswd is not installed everywhere
    (tmp_path / "htpasswd").write_text("ann:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n")
    registry = Registry(tmp_path, {"htpasswd": {"realm": "toy", "path": str(tmp_path / "htpasswd")}})
    try:
        fetch(f"oci:{layout.path}:v1", content)
        with pytest.raises(Unauthorized):
            push(f"docker://{registry.host}/x:v1", content, layout.digest, settings=login)
        _log_in(tmp_path, registry.host, "ann:wrong")
        with pytest.raises(Unauthorized):
            push(f"docker://{registry.host}/x:v1", content, layout.digest, settings=login)
        _log_in(tmp_path, registry.host, "ann:s3cret")
        push(f"docker://{registry.host}/x:v1", content, layout.digest, settings=login)
        assert fetch(f"docker://{registry.host}/x:v1", content, login).manifest_digest == layout.digest
    finally:
        registry.close()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    """Issues RS256 tokens that docker-registry trusts, to whoever sends ann's password."""

    def __init__(self, path: Path) -> None:
        self.key, self.cert = path / "token.key", path / "token.crt"
        request = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=toy",
        ]
        subprocess.run(
            [*request, "-keyout", str(self.key), "-out", str(self.cert)], check=True, capture_output=True
        )
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                good = "Basic " + base64.b64encode(b"ann:s3cret").decode()
                query = parse_qs(urlsplit(self.path).query)
                server.asked += query["scope"]
                status = 200 if self.headers.get("Authorization") == good else 401
                self.send_response(status)
                self.end_headers()
                if status == 200:
                    self.wfile.write(json.dumps({"token": server.sign(query["scope"][0])}).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.realm = f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def sign(self, scope: str) -> str:
        """A token for one scope."""
        kind, name, actions = scope.split(":")
        der = "".join(self.cert.read_text().splitlines()[1:-1])
        now = int(time.time())
        claims = {
            "iss": "toy",
            "sub": "ann",
            "aud": "registry",
            "exp": now + 300,
            "nbf": now - 5,
            "iat": now - 5,
        }
        claims |= {"jti": "1", "access": [{"type": kind, "name": name, "actions": actions.split(",")}]}
        head = json.dumps({"typ": "JWT", "alg": "RS256", "x5c": [der]}).encode()
        signed = f"{_b64(head)}.{_b64(json.dumps(claims).encode())}"
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self.key)],
            input=signed.encode(),
            capture_output=True,
            check=True,
        ).stdout
        return f"{signed}.{_b64(signature)}"

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_token_registry_gives_a_token_for_each_scope(
    layout: Layout, content: Any, tmp_path: Path, login: Path
) -> None:
    tokens = TokenServer(tmp_path)
    auth = {"realm": tokens.realm, "service": "registry", "issuer": "toy", "rootcertbundle": str(tokens.cert)}
    registry = Registry(tmp_path, {"token": auth})
    try:
        fetch(f"oci:{layout.path}:v1", content)
        with pytest.raises(Unauthorized):
            push(f"docker://{registry.host}/x:v1", content, layout.digest, settings=login)
        _log_in(tmp_path, registry.host, "ann:s3cret")
        tokens.asked.clear()
        push(f"docker://{registry.host}/x:v1", content, layout.digest, settings=login)
        assert fetch(f"docker://{registry.host}/x:v1", content, login).manifest_digest == layout.digest
        assert tokens.asked == ["repository:x:pull,push", "repository:x:pull"]
    finally:
        registry.close()
        tokens.close()


def test_tls_registry_is_trusted_by_certs_d_alone(layout: Layout, content: Any, tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-days", "1", "-subj", "/CN=toy", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*request, *names, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True
    )
    registry = Registry(tmp_path, tls={"certificate": str(cert), "key": str(key)})
    try:
        target = f"docker://{registry.host}/x:v1"
        skopeo("copy", "--dest-tls-verify=false", f"oci:{layout.path}:v1", target)
        with pytest.raises(Exception, match="certificate verify failed"):
            fetch(target, content)
        folder = tmp_path / "certs.d" / registry.host
        folder.mkdir(parents=True)
        shutil.copy(cert, folder / "ca.crt")
        trusting = Settings(cert_dirs=[str(tmp_path / "certs.d")])
        assert fetch(target, content, trusting).manifest_digest == layout.digest
    finally:
        registry.close()


PULL_AND_MEASURE = """
import resource, sys
from casemate.registry.fetch import fetch_image
from casemate.registry.open import open_sink, open_source
from casemate.registry.push import push_image
from casemate.registry.settings import Settings
from casemate.store.content import FileContentStore
content = FileContentStore(sys.argv[2]); content.ensure()
image = fetch_image(open_source(sys.argv[1], Settings()), content=content)
push_image(open_sink(sys.argv[1] + "-pushed", Settings()), image.manifest_digest, content=content, names=[])
archive = open_sink("oci-archive:" + sys.argv[2] + "/a.tar")
push_image(archive, image.manifest_digest, content=content, names=[])
# ru_maxrss survives exec and would show the parent's peak: VmHWM belongs to this program alone.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_200_mb_layer_is_pulled_and_pushed_in_flat_memory(registry: Any, tmp_path: Path) -> None:
    big = Layout(tmp_path / "big", layers=1, size=200 << 20)
    target = f"docker://{registry.host}/big:v1"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{big.path}:v1", target)
    shutil.rmtree(big.path)
    done = subprocess.run(
        [sys.executable, "-c", PULL_AND_MEASURE, target, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 80 << 10, f"{int(done.stdout) >> 10} MiB"
    shutil.rmtree(tmp_path / "store")


def test_registry_over_plain_http_is_only_spoken_to_on_loopback() -> None:
    source = open_source("docker://registry.example.invalid:5000/x:v1", Settings())
    urls = source._clients[0].endpoint.base_urls()
    assert urls == ["https://registry.example.invalid:5000"]
    source.close()
