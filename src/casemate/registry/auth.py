"""Answers to a registry's challenge: basic credentials or a token for exactly the scope needed.

Credentials go to the registry that challenged, or to the token server that ``origin.check_realm`` lets it
name; a token goes to the registry alone.
Sources: distribution, "Token Authentication Specification" and "OAuth2 Token Authentication".
"""

from __future__ import annotations

import threading
import time
from urllib.parse import urlencode

from casemate.errors import Unauthorized, Unavailable
from casemate.oci.strict_json import loads_object
from casemate.registry.challenge import parse_challenges
from casemate.registry.http import header_safe
from casemate.registry.origin import check_realm, origin_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.registry.challenge import Challenge
    from casemate.registry.credentials import Credential, CredentialFiles
    from casemate.registry.http import Http, Reply
    from casemate.registry.origin import Origin

_CLIENT_ID = "casemate"
_TOKEN_LIMIT_BYTES = 256 << 10
_SHORTEST_LIFE_S = 60.0
"""Tokens without ``expires_in`` live this long (distribution specification)."""
_MARGIN_S = 5.0


class Authenticator:
    """Keeps what one registry asked for and the tokens that it accepted. Used by many threads."""

    def __init__(
        self, http: Http, *, registry: str, credentials: CredentialFiles, realms: frozenset[str]
    ) -> None:
        self._http = http
        self._registry = registry
        self._credentials = credentials
        self._realms = realms
        self._basic = ""
        self._tokens: dict[str, tuple[str, float]] = {}
        self._bearer: Challenge | None = None
        self._lock = threading.Lock()

    def header(self, origin: Origin, scope: str) -> str:
        """Return the Authorization header for a request of ``scope``, "" when none seems needed."""
        with self._lock:
            if self._basic:
                return self._basic
            token, expires = self._tokens.get(scope, ("", 0.0))
            if token and time.monotonic() < expires:
                return token
            if self._bearer is None:
                return ""
            return self._new_token(self._bearer, origin, scope)

    def answer(self, reply: Reply, scope: str, *, refused: str) -> str:
        """Return the header that answers the 401 ``reply``; ``refused`` is the header that it refused, or "".

        Raises: Unauthorized when there is nothing (new) to offer, Denied for a forbidden token server.
        """
        challenges = parse_challenges(reply.headers.get("WWW-Authenticate", ""))
        with self._lock:
            current = self._basic or self._tokens.get(scope, ("", 0.0))[0]
            if current and current != refused:
                return current  # another thread has answered meanwhile
            for challenge in challenges:
                if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                    self._bearer = challenge
                    self._tokens.pop(scope, None)
                    return self._new_token(challenge, reply.origin, scope)
            if any(challenge.scheme == "basic" for challenge in challenges):
                if refused:
                    raise self._unauthorized("user name or password is wrong")
                credential = self._find(scope)
                if credential is None or not credential.username:
                    raise self._unauthorized("the registry asks for a login")
                self._basic = header_safe(credential.basic(), what="credentials")
                return self._basic
        raise self._unauthorized("the registry refuses without naming a way to log in")

    def _new_token(self, challenge: Challenge, origin: Origin, scope: str) -> str:
        realm = challenge.parameters["realm"]
        check_realm(origin, origin_of(realm), allowed_hosts=self._realms)
        credential = self._find(scope)
        query = {"service": challenge.parameters.get("service", ""), "scope": scope}
        if credential is not None and credential.identity_token:
            reply = self._ask_oauth(realm, query, credential)
        else:
            reply = self._ask(realm, query, credential)
        token, life_s = self._read_token(reply, has_credential=credential is not None)
        header = f"Bearer {token}"
        self._tokens[scope] = (header, time.monotonic() + max(life_s - _MARGIN_S, _MARGIN_S))
        return header

    def _ask(self, realm: str, query: dict[str, str], credential: Credential | None) -> Reply:
        headers = {"Accept": "application/json"}
        if credential is not None:
            headers["Authorization"] = header_safe(credential.basic(), what="credentials")
        known = {key: value for key, value in query.items() if value}
        return self._http.send(
            "GET", realm + ("&" if "?" in realm else "?") + urlencode(known), headers=headers
        )

    def _ask_oauth(self, realm: str, query: dict[str, str], credential: Credential) -> Reply:
        form = query | {
            "grant_type": "refresh_token",
            "refresh_token": credential.identity_token,
            "client_id": _CLIENT_ID,
        }
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        return self._http.send("POST", realm, headers=headers, body=urlencode(form).encode("ascii"))

    def _read_token(self, reply: Reply, *, has_credential: bool) -> tuple[str, float]:
        if reply.status in {400, 401, 403}:
            reply.close()
            wrong = "the login is refused" if has_credential else "the registry asks for a login"
            raise self._unauthorized(wrong)
        if reply.status != 200:  # noqa: PLR2004 - OK
            reply.close()
            raise Unavailable("ask for a token", reply.origin, f"the token server answered {reply.status}")
        document = loads_object(reply.body(_TOKEN_LIMIT_BYTES), what="token", limit_bytes=_TOKEN_LIMIT_BYTES)
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str):
            raise Unavailable("ask for a token", reply.origin, "the token server sent no token")
        life = document.get("expires_in")
        life_s = float(life) if isinstance(life, (int, float)) and not isinstance(life, bool) else 0.0
        return header_safe(token, what="token"), max(life_s, _SHORTEST_LIFE_S)

    def _find(self, scope: str) -> Credential | None:
        repository = scope.split(":")[1] if scope.startswith("repository:") else ""
        return self._credentials.find(self._registry, repository)

    def _unauthorized(self, why: str) -> Unauthorized:
        hint = f"log in first: casemate login {self._registry}"
        if self._credentials.problems:
            hint += f" (credentials that could not be read: {'; '.join(self._credentials.problems)})"
        return Unauthorized("use registry", self._registry, why, hint=hint)
