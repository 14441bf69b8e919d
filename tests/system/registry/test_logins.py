"""Registries that want a login or speak TLS."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from casemate.errors import Unauthorized
from casemate.registry.credentials import CredentialFiles
from casemate.registry.open import open_source
from casemate.registry.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.system


@pytest.fixture
def login(tmp_path: Path) -> Settings:
    settings = Settings(credentials=CredentialFiles([str(tmp_path / "auth.json")]))
    (tmp_path / "auth.json").write_text("{}")
    return settings


def _log_in(tmp_path: Path, host: str, text: str) -> None:
    entry = {"auth": base64.b64encode(text.encode()).decode()}
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {host: entry}}))


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


def test_htpasswd_registry_wants_and_takes_a_login(  # noqa: PLR0913 - both ends and their tools
    layout: Any,
    content: Any,
    tmp_path: Path,
    login: Path,
    *,
    fetch: Callable[..., Any],
    push: Callable[..., None],
    start_registry: Callable[..., Any],
) -> None:
    # bcrypt of "s3cret", made once: htpasswd is not installed everywhere
    (tmp_path / "htpasswd").write_text("ann:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n")
    registry = start_registry(tmp_path, {"htpasswd": {"realm": "toy", "path": str(tmp_path / "htpasswd")}})
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


def test_token_registry_gives_a_token_for_each_scope(  # noqa: PLR0913 - both ends and their tools
    layout: Any,
    content: Any,
    tmp_path: Path,
    login: Path,
    *,
    fetch: Callable[..., Any],
    push: Callable[..., None],
    start_registry: Callable[..., Any],
) -> None:
    tokens = TokenServer(tmp_path)
    auth = {"realm": tokens.realm, "service": "registry", "issuer": "toy", "rootcertbundle": str(tokens.cert)}
    registry = start_registry(tmp_path, {"token": auth})
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


def test_tls_registry_is_trusted_by_certs_d_alone(
    layout: Any,
    content: Any,
    tmp_path: Path,
    skopeo: Callable[..., bytes],
    *,
    fetch: Callable[..., Any],
    start_registry: Callable[..., Any],
) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-days", "1", "-subj", "/CN=toy", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*request, *names, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True
    )
    registry = start_registry(tmp_path, tls={"certificate": str(cert), "key": str(key)})
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


def test_registry_over_plain_http_is_only_spoken_to_on_loopback() -> None:
    source = open_source("docker://registry.example.invalid:5000/x:v1", Settings())
    urls = source._clients[0].endpoint.base_urls()
    assert urls == ["https://registry.example.invalid:5000"]
    source.close()
