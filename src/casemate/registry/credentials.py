"""Credentials as docker and podman keep them: config.json, auth.json and docker-credential-* helpers.

Helpers are foreign programs: they are started with a fixed environment, get the server's name on standard
input, and are given a time limit and an output limit. Secrets never appear in an argument, an error or a
repr.
Sources: containers-auth.json(5); docker/cli "Credential store"; github.com/docker/docker-credential-helpers.
"""

from __future__ import annotations

import base64
import binascii
import json
import os

from casemate.errors import CasemateError, Invalid
from casemate.oci.quoting import quoted
from casemate.oci.strict_json import loads_object
from casemate.registry.helper_program import run_helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_FILE_LIMIT_BYTES = 1 << 20
_HUB_KEYS = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HUB_SERVER = "https://index.docker.io/v1/"
_TOKEN_USER = "<token>"  # noqa: S105 - the user name by which helpers mark an identity token


class Credential:
    """A user name with a secret, or an identity token alone."""

    __slots__ = ("identity_token", "secret", "username")

    def __init__(self, username: str, secret: str, *, identity_token: str = "") -> None:
        self.username = username
        self.secret = secret
        self.identity_token = identity_token

    def basic(self) -> str:
        """Return the value of an Authorization header."""
        pair = f"{self.username}:{self.secret}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")

    def __repr__(self) -> str:
        return f"Credential({self.username!r}, ***)"


class CredentialFiles:
    """The files where credentials may be; the first that has some wins.

    A broken file or helper is noted in ``problems``, not raised: most images need no login at all.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        self.problems: list[str] = []

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """Return the credential for ``registry`` (the name in references), the most specific entry first."""
        for path in self.paths:
            document = self._read(path)
            if document is None:
                continue
            try:
                found = _from_helper(document, registry) or _from_auths(document, registry, repository)
            except CasemateError as error:
                self._note(str(error))
                continue
            if found is not None:
                return found
        return None

    def _read(self, path: str) -> dict[str, Any] | None:
        try:
            with open(path, "rb") as file:
                return loads_object(
                    file.read(_FILE_LIMIT_BYTES + 1), what=path, limit_bytes=_FILE_LIMIT_BYTES
                )
        except FileNotFoundError:
            return None
        except (OSError, Invalid) as error:
            self._note(str(error))
            return None

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def credential_paths(environ: Mapping[str, str]) -> list[str]:
    """Return where credentials are looked for. REGISTRY_AUTH_FILE alone, when it is set."""
    only = environ.get("REGISTRY_AUTH_FILE")
    if only:
        return [only]
    home = environ.get("HOME") or os.path.expanduser("~")
    config_home = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    run_dir = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    docker_dir = environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker")
    return [
        os.path.join(run_dir, "containers", "auth.json"),
        os.path.join(config_home, "containers", "auth.json"),
        os.path.join(docker_dir, "config.json"),
    ]


def store_credential(path: str, registry: str, credential: Credential) -> str:
    """Keep ``credential`` in the helper that the file ``path`` configures, else in that file (mode 0600).

    Returns the name of the helper, or "" when the file itself holds the secret. Raises: Invalid, Unavailable.
    """
    document = _load_or_empty(path)
    helper = _helper_for(document, registry)
    if helper:
        entry = {
            "ServerURL": server_url(registry),
            "Username": credential.username or _TOKEN_USER,
            "Secret": credential.secret or credential.identity_token,
        }
        run_helper(helper, "store", json.dumps(entry).encode())
        return helper
    auths = document.setdefault("auths", {})
    packed = credential.basic().removeprefix("Basic ")
    auths[server_url(registry)] = (
        {"identitytoken": credential.identity_token} if credential.identity_token else {"auth": packed}
    )
    _write_private(path, document)
    return ""


def erase_credential(path: str, registry: str) -> bool:
    """Forget the credential for ``registry``; tell whether there was one. Raises: Invalid, Unavailable."""
    document = _load_or_empty(path)
    helper = _helper_for(document, registry)
    if helper:
        run_helper(helper, "erase", server_url(registry).encode())
        return True
    auths = document.get("auths")
    stale = (
        [key for key in auths if _plain_key(key) in _names_of(registry)] if isinstance(auths, dict) else []
    )
    for key in stale:
        del document["auths"][key]
    if stale:
        _write_private(path, document)
    return bool(stale)


def server_url(registry: str) -> str:
    """Return the name under which docker keeps the credentials of ``registry``."""
    return _HUB_SERVER if registry in _HUB_KEYS else registry


def _from_helper(document: dict[str, Any], registry: str) -> Credential | None:
    helper = _helper_for(document, registry)
    if not helper:
        return None
    output = run_helper(helper, "get", server_url(registry).encode())
    if output is None:
        return None
    answer = loads_object(output, what=f"answer of docker-credential-{helper}")
    username, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise Invalid("read answer of", f"docker-credential-{helper}", "Username or Secret is missing")
    if username == _TOKEN_USER:
        return Credential("", "", identity_token=secret)
    return Credential(username, secret)


def _helper_for(document: dict[str, Any], registry: str) -> str:
    helpers = document.get("credHelpers")
    if isinstance(helpers, dict):
        for name in (*_names_of(registry), server_url(registry)):
            if isinstance(helpers.get(name), str):
                return str(helpers[name])
    store = document.get("credsStore", "")
    return store if isinstance(store, str) else ""


def _from_auths(document: dict[str, Any], registry: str, repository: str) -> Credential | None:
    auths = document.get("auths")
    if not isinstance(auths, dict):
        return None
    by_key = {_plain_key(key): value for key, value in auths.items() if isinstance(value, dict)}
    for name in _names_of(registry):
        path = f"{name}/{repository}" if repository else name
        while path:
            found = _entry(by_key.get(path))
            if found is not None:
                return found
            path = path.rpartition("/")[0]
    return None


def _entry(found: dict[str, Any] | None) -> Credential | None:
    if found is None:
        return None
    token, packed = found.get("identitytoken"), found.get("auth")
    if isinstance(token, str) and token:
        return Credential("", "", identity_token=token)
    if isinstance(found.get("username"), str) and isinstance(found.get("password"), str):
        return Credential(found["username"], found["password"])
    if not isinstance(packed, str) or not packed:
        return None
    try:
        username, colon, secret = base64.b64decode(packed, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        raise Invalid("read credentials", "auth", "it is not base64 of user:password") from None
    return Credential(username, secret.rstrip("\0")) if colon and username else None


def _names_of(registry: str) -> tuple[str, ...]:
    return _HUB_KEYS if registry in _HUB_KEYS else (registry,)


def _plain_key(key: str) -> str:
    """Return an ``auths`` key without scheme and API version: docker writes URLs, podman host names."""
    plain = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    for version in ("/v1", "/v2"):
        plain = plain.removesuffix(version)
    return plain


def _load_or_empty(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read(_FILE_LIMIT_BYTES + 1)
    except FileNotFoundError:
        return {}
    document = loads_object(data, what=path, limit_bytes=_FILE_LIMIT_BYTES)
    if not isinstance(document.get("auths", {}), dict):
        raise Invalid("read", quoted(path), "auths is not an object")
    return document


def _write_private(path: str, document: dict[str, Any]) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    draft = f"{path}.{os.getpid()}.tmp"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(document, file, indent="\t")
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
