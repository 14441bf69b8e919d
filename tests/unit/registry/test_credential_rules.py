"""Who may see credentials: the registry that challenged and its own token server, nobody else."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from casemate.core.transport import Descriptor
from casemate.errors import Denied, Invalid, Unauthorized, Unavailable
from casemate.oci.digest import digest_of
from casemate.oci.reference import parse_reference
from casemate.registry.challenge import parse_challenges
from casemate.registry.credentials import (
    Credential,
    CredentialFiles,
    credential_paths,
    erase_credential,
    store_credential,
)
from casemate.registry.origin import check_realm, check_redirect, is_loopback, origin_of
from casemate.registry.transport.docker import DockerSink

if TYPE_CHECKING:
    from collections.abc import Callable

    from casemate.registry.fetch import FetchedImage
    from casemate.registry.settings import Settings

    Pull = Callable[..., FetchedImage]
    from pathlib import Path

BASIC = "Basic " + base64.b64encode(b"ann:s3cret").decode()


@pytest.fixture
def login(toy: Any, settings: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {toy.host: {"auth": BASIC.removeprefix("Basic ")}}}))
    settings.credentials = CredentialFiles([str(path)])
    return path


def require(toy: Any, header: str, challenge: str) -> None:
    """Let every path that the toy serves ask for ``header``."""

    def guarded(route: Any) -> Any:
        def serve(handler: Any) -> None:
            if handler.headers.get("Authorization") == header:
                route(handler)
            else:
                toy.reply(handler, 401, b"", WWW_Authenticate=challenge)

        return serve

    toy.routes = {path: guarded(route) for path, route in toy.routes.items()}


@pytest.mark.usefixtures("login")
def test_basic_login_works_and_is_not_sent_before_it_is_asked_for(toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)
    require(toy, BASIC, 'Basic realm="toy"')
    pull()
    assert [headers.get("Authorization") for _, _, headers in toy.seen][:3] == [None, None, BASIC]


def test_missing_login_is_unauthorized_with_a_hint(toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)
    require(toy, BASIC, 'Basic realm="toy"')
    with pytest.raises(Unauthorized) as caught:
        pull()
    assert "casemate login" in caught.value.hint


@pytest.mark.usefixtures("login")
def test_wrong_password_is_unauthorized_after_two_requests(toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)
    require(toy, "Basic other", 'Basic realm="toy"')
    with pytest.raises(Unauthorized):
        pull()
    assert len([path for _, path, _ in toy.seen if "manifests" in path]) == 2
    assert "s3cret" not in str(Credential("ann", "s3cret"))


@pytest.mark.usefixtures("login")
def test_token_is_asked_for_with_the_scope_and_sent_to_the_registry_alone(
    toy: Any, image: Any, pull: Pull
) -> None:
    image.put_into(toy)
    require(toy, "Bearer t0k", f'Bearer realm="http://{toy.host}/token",service="toy"')
    toy.serve("/token", b'{"token": "t0k", "expires_in": 300}')
    pull()
    asked = [(path, headers["Authorization"]) for _, path, headers in toy.seen if path.startswith("/token")]
    assert asked == [("/token?service=toy&scope=repository%3Aapp%3Apull", BASIC)]


def test_expired_token_is_replaced(toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)
    require(toy, "Bearer new", f'Bearer realm="http://{toy.host}/token"')
    tokens = [b'{"token": "old"}', b'{"access_token": "new"}']
    toy.routes["/token"] = lambda handler: toy.reply(handler, 200, tokens.pop(0))
    pull()
    assert tokens == []


@pytest.mark.parametrize(
    "token", [b'{"token": "a\\r\\nX-Evil: 1"}', b'{"token": 5}', b"{}", b'{"token": "\\u00e9"}', b"[]"]
)
def test_malformed_token_is_refused(toy: Any, image: Any, token: bytes, pull: Pull) -> None:
    image.put_into(toy)
    require(toy, "Bearer x", f'Bearer realm="http://{toy.host}/token"')
    toy.serve("/token", token)
    with pytest.raises((Invalid, Unavailable)):
        pull()


@pytest.mark.parametrize(
    "realm",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/token",
        "http://example.com/token",
        "https://example.com/token",
        "file:///etc/shadow",
        "http://user@127.0.0.1/",
        "https://[fe80::1]/",
    ],
)
@pytest.mark.usefixtures("login")
def test_token_server_elsewhere_never_hears_from_us(toy: Any, image: Any, realm: str, pull: Pull) -> None:
    image.put_into(toy)
    require(toy, "Bearer x", f'Bearer realm="{realm}"')
    with pytest.raises((Denied, Invalid)):
        pull()


def _redirect(toy: Any, target: str) -> Any:
    return lambda handler: toy.reply(handler, 307, b"", Location=target)


@pytest.mark.usefixtures("login")
def test_redirect_to_another_origin_loses_the_login(toy: Any, other_toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)
    toy.routes[image.layer_path] = _redirect(toy, f"http://{other_toy.host}/cdn/layer")
    require(toy, BASIC, "Basic realm=toy")
    other_toy.serve("/cdn/layer", image.layer)
    pull()
    assert len(other_toy.seen) == 1
    assert not [headers for _, _, headers in other_toy.seen if "Authorization" in headers]


@pytest.mark.usefixtures("login")
def test_redirect_within_the_registry_keeps_the_login(toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)
    toy.serve("/cdn/layer", image.layer)
    toy.routes[image.layer_path] = _redirect(toy, "/cdn/layer")
    require(toy, BASIC, "Basic realm=toy")
    pull()


@pytest.mark.usefixtures("login")
def test_challenge_of_a_redirect_target_gets_no_answer(
    toy: Any, other_toy: Any, image: Any, pull: Pull
) -> None:
    image.put_into(toy)
    toy.routes[image.layer_path] = _redirect(toy, f"http://{other_toy.host}/cdn/layer")
    other_toy.serve("/cdn/layer", b"", status=401, WWW_Authenticate="Basic realm=evil")
    with pytest.raises(Unauthorized):
        pull()
    assert not [headers for _, _, headers in other_toy.seen if "Authorization" in headers]


def test_redirects_without_end_are_cut_off(toy: Any, image: Any, pull: Pull) -> None:
    image.put_into(toy)
    toy.routes[image.layer_path] = _redirect(toy, image.layer_path)
    with pytest.raises(Unavailable, match="redirects"):
        pull()


@pytest.mark.usefixtures("login")
def test_upload_sent_to_another_origin_loses_the_login(toy: Any, other_toy: Any, settings: Settings) -> None:
    blob = b"blob"
    toy.serve("/v2/app/blobs/uploads/", b"", status=202, Location=f"http://{other_toy.host}/up?state=1")
    require(toy, BASIC, "Basic realm=toy")
    other_toy.routes["/up"] = lambda handler: (handler.rfile.read(4), other_toy.reply(handler, 201, b""))
    sink = DockerSink(parse_reference(f"{toy.host}/app:v1"), settings)
    sink.put_blob(Descriptor("application/x", digest_of(blob), len(blob)), lambda: iter((blob,)))
    sink.close()
    assert [path for _, path, _ in other_toy.seen] == [
        f"/up?state=1&digest={digest_of(blob).replace(':', '%3A')}"
    ]
    assert "Authorization" not in other_toy.seen[0][2]


@pytest.mark.parametrize(
    ("asked", "target", "allowed"),
    [
        ("https://r.example.com", "https://cdn.example.net/x", True),
        ("https://r.example.com", "http://r.example.com/x", False),
        ("https://r.example.com", "http://127.0.0.1/x", False),
        ("https://r.example.com", "https://127.0.0.1/x", False),
        ("https://r.example.com", "https://localhost/x", False),
        ("https://r.example.com", "https://169.254.169.254/x", False),
        ("https://r.example.com", "https://[::ffff:169.254.169.254]/x", False),
        ("https://r.example.com", "https://2852039166/x", False),
        ("https://r.example.com", "https://0xa9.0xfe.0xa9.0xfe/x", False),
        ("https://r.example.com", "https://127.1/x", False),
        ("https://r.example.com", "https://0.0.0.0/x", False),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/x", True),
        ("http://127.0.0.1:5000", "https://cdn.example.net/x", True),
    ],
)
def test_redirect_rules(asked: str, target: str, *, allowed: bool) -> None:
    to = origin_of(target)

    def check() -> None:
        check_redirect(origin_of(asked), to, plain_http_allowed=is_loopback(to.host))

    if allowed:
        check()
    else:
        with pytest.raises(Denied):
            check()


@pytest.mark.parametrize(
    ("registry", "realm", "allowed"),
    [
        ("https://registry-1.docker.io", "https://auth.docker.io/token", True),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", True),
        ("https://ghcr.io", "https://ghcr.io/token", True),
        ("https://ghcr.io", "https://evil.io/token", False),
        ("https://a.co.uk", "https://b.co.uk/token", False),
        ("https://r.a.co.uk", "https://t.a.co.uk/token", True),
        ("https://mine.azurecr.io", "https://yours.azurecr.io/token", False),
        ("https://r.example.com", "http://r.example.com/token", False),
        ("https://r.example.com", "https://127.0.0.1/token", False),
        ("https://10.0.0.1", "https://10.0.0.2/token", False),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", True),
        ("http://127.0.0.1:5000", "http://169.254.169.254/token", False),
        ("https://r.example.com", "https://sso.example.org/token", False),
    ],
)
def test_realm_rules(registry: Any, realm: str, *, allowed: bool) -> None:
    def check(hosts: frozenset[str] = frozenset()) -> None:
        check_realm(origin_of(registry), origin_of(realm), allowed_hosts=hosts)

    if allowed:
        check()
    else:
        with pytest.raises(Denied):
            check()


def test_realm_that_the_user_allowed_is_used() -> None:
    registry, realm = origin_of("https://r.example.com"), origin_of("https://sso.example.org/token")
    check_realm(registry, realm, allowed_hosts=frozenset(("sso.example.org",)))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Basic realm=x", [("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a/b?c=d,e",service="s"',
            [("bearer", {"realm": "https://a/b?c=d,e", "service": "s"})],
        ),
        ('Negotiate, Basic realm="a \\"b\\""', [("negotiate", {}), ("basic", {"realm": 'a "b"'})]),
        ("", []),
        ("=,=", []),
        ('Bearer realm="unclosed', [("bearer", {"realm": "unclosed"})]),
    ],
)
def test_challenges_are_taken_apart(header: str, expected: Any) -> None:
    assert [(found.scheme, found.parameters) for found in parse_challenges(header)] == expected


def _files(tmp_path: Path, document: object) -> CredentialFiles:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(document))
    return CredentialFiles([str(path)])


def _auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_docker_hub_is_found_under_dockers_key(tmp_path: Path) -> None:
    found = _files(tmp_path, {"auths": {"https://index.docker.io/v1/": _auth("a:b:c")}}).find("docker.io")
    assert (found.username, found.secret) == ("a", "b:c")


def test_most_specific_entry_of_podman_wins(tmp_path: Path) -> None:
    files = _files(tmp_path, {"auths": {"r.io": _auth("all:1"), "r.io/team": _auth("team:2")}})
    assert files.find("r.io", "team/app").username == "team"
    assert files.find("r.io", "teams/app").username == "all"
    assert files.find("other.io", "team/app") is None


@pytest.mark.parametrize(
    "document", [[], {"auths": []}, {"auths": {"r.io": {"auth": "%%%"}}}, {"auths": {"r.io": 5}}]
)
def test_broken_credential_file_is_no_credential(tmp_path: Path, document: object) -> None:
    assert _files(tmp_path, document).find("r.io") is None


def test_stored_login_is_private_and_can_be_erased(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "config.json")
    assert store_credential(path, "docker.io", Credential("ann", "s3cret")) == ""
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert CredentialFiles([path]).find("docker.io").basic() == BASIC
    assert erase_credential(path, "docker.io") is True
    assert erase_credential(path, "docker.io") is False


HELPER = """#!/bin/sh
read server
echo "$1 $server" >> {log}
env >> {log}
case "$1 $server" in
"get r.io") echo '{{"ServerURL":"r.io","Username":"ann","Secret":"from-helper"}}' ;;
"get slow.io") exec sleep 60 ;;
"get loud.io") yes ;;
"get broken.io") exit 3 ;;
"store "*) cat >> {log} ;;
*) echo "credentials not found in native keychain"; exit 1 ;;
esac
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    log = tmp_path / "helper.log"
    program = tmp_path / "docker-credential-toy"
    program.write_text(HELPER.format(log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "leak-me")
    return log


def test_credential_helper_is_asked_with_a_constant_environment(tmp_path: Path, helper: Path) -> None:
    found = _files(tmp_path, {"credHelpers": {"r.io": "toy"}}).find("r.io")
    assert (found.username, found.secret) == ("ann", "from-helper")
    assert "leak-me" not in helper.read_text()


@pytest.mark.usefixtures("helper")
def test_helper_without_an_entry_means_no_credential(tmp_path: Path) -> None:
    files = _files(tmp_path, {"credsStore": "toy"})
    assert files.find("unknown.io") is None
    assert files.problems == []


@pytest.mark.parametrize("registry", ["slow.io", "loud.io", "broken.io"])
@pytest.mark.usefixtures("helper")
def test_helper_that_misbehaves_is_noted_and_ended(
    tmp_path: Path, registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casemate.registry.helper_program.TIME_LIMIT_S", 0.3)
    files = _files(tmp_path, {"credsStore": "toy"})
    assert files.find(registry) is None
    assert files.problems


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "a b", "$(x)"])
def test_helper_name_cannot_leave_path(tmp_path: Path, helper: Path, name: str) -> None:
    assert _files(tmp_path, {"credHelpers": {"r.io": name}}).find("r.io") is None
    assert not helper.exists()


def test_credential_paths_follow_podman_and_docker() -> None:
    env = {"HOME": "/h", "XDG_RUNTIME_DIR": "/r"}
    expected = ["/r/containers/auth.json", "/h/.config/containers/auth.json", "/h/.docker/config.json"]
    assert credential_paths(env) == expected
    assert credential_paths(env | {"REGISTRY_AUTH_FILE": "/a"}) == ["/a"]
