"""One repository of one registry, spoken to by the OCI distribution protocol.

Every call is bounded: so many attempts, so long a silence, so many bytes. What comes back is raw; whoever
asked for a digest verifies it.
Source: OCI distribution-spec 1.1.
"""

from __future__ import annotations

from urllib.parse import urlencode, urljoin

from casemate.errors import (
    Corrupt,
    Denied,
    Exhausted,
    Unavailable,
)
from casemate.oci import mediatype
from casemate.oci.digest import short
from casemate.oci.strict_json import DOCUMENT_LIMIT_BYTES, loads_object
from casemate.registry.auth import Authenticator
from casemate.registry.http import Http, Interrupted
from casemate.registry.limits import RETRIED_STATUS
from casemate.registry.origin import is_loopback, origin_of
from casemate.registry.replies import first_byte, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from casemate.core.transport import Descriptor
    from casemate.errors import CasemateError
    from casemate.registry.http import Reply
    from casemate.registry.origin import Origin
    from casemate.registry.settings import Endpoint, Settings

_ACCEPT = ", ".join(mediatype.ACCEPTED)
_PULL, _PUSH = "pull", "pull,push"
_OK = frozenset((200,))
_PROGRESS_BYTES = 64 << 10
"""A broken transfer that moved this much counts as a fresh start.

Huge layers survive many cuts, a tease does not.
"""


class RegistryClient:
    """The calls on one repository. Used by many threads; ``close`` it."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self._settings = settings
        self._http = Http(limits=settings.limits, tls_for=self._tls_for)
        self._authenticator = Authenticator(
            self._http,
            registry=endpoint.registry,
            credentials=settings.credentials,
            realms=settings.token_realms,
        )
        candidates = endpoint.base_urls()
        self._base_url = candidates[0] if len(candidates) == 1 else ""

    def manifest(self, selector: str) -> tuple[bytes, str]:
        """Return (bytes, media type) of the manifest with this tag or digest.

        Raises: NotFound, Unauthorized, Denied, Unavailable, TimedOut, Exhausted (over 4 MiB).
        """
        subject = f"{self.endpoint.registry}/{self.endpoint.repository}:{selector}"
        path = f"manifests/{selector}"
        for attempt in range(1, self._settings.limits.attempts + 1):
            reply = self._call("GET", path, subject=subject, headers={"Accept": _ACCEPT}, expected=_OK)
            try:
                data = reply.body(DOCUMENT_LIMIT_BYTES)
            except Interrupted as broken:
                self._pause_or_raise(attempt, broken.error)
                continue
            return data, mediatype.plain_type(reply.headers.get("Content-Type", ""))
        raise AssertionError("unreachable")  # _pause_or_raise raises at the last attempt

    def digest_of_tag(self, tag: str) -> str:
        """Return the digest that the registry states for ``tag``, "" when it states none."""
        subject = f"{self.endpoint.registry}/{self.endpoint.repository}:{tag}"
        reply = self._call(
            "HEAD", f"manifests/{tag}", subject=subject, headers={"Accept": _ACCEPT}, expected=_OK
        )
        reply.close()
        return reply.headers.get("Docker-Content-Digest", "")

    def blob(self, descriptor: Descriptor, *, offset: int = 0) -> Iterator[bytes]:
        """Yield a blob's bytes from ``offset``; cuts are mended by asking for the rest.

        Raises: NotFound, Unauthorized, Denied, Unavailable, TimedOut, Corrupt (more or less than the
        descriptor says).
        """
        position, attempt, fresh_at = offset, 1, offset
        while position < descriptor.size_bytes:
            try:
                for data in self._blob_from(descriptor, position):
                    position += len(data)
                    yield data
            except Interrupted as broken:
                if position - fresh_at >= _PROGRESS_BYTES:
                    attempt, fresh_at = 1, position
                self._pause_or_raise(attempt, broken.error)
                attempt += 1

    def has_blob(self, digest: str) -> bool:
        """Tell whether the registry holds the blob in this repository (asked as someone who will push)."""
        reply = self._call(
            "HEAD", f"blobs/{digest}", subject=digest, scope=_PUSH, expected=frozenset((200, 404, 405))
        )
        reply.close()
        return reply.status == 200  # noqa: PLR2004 - OK

    def upload(self, descriptor: Descriptor, read: Callable[[], Iterable[bytes]]) -> None:
        """Store a blob; ``read`` is called once for each attempt and yields the bytes from the start.

        Raises: Unauthorized, Denied, Unavailable, TimedOut, Invalid (the registry refuses the digest).
        """
        subject = f"blob {short(descriptor.digest)}"
        for attempt in range(1, self._settings.limits.attempts + 1):
            started = self._call(
                "POST", "blobs/uploads/", subject=subject, scope=_PUSH, expected=frozenset((202,)), body=b""
            )
            started.close()
            try:
                self._upload_whole(started, descriptor, read)
            except Interrupted as broken:
                self._pause_or_raise(attempt, broken.error)
                continue
            return

    def put_manifest(self, selector: str, data: bytes, media_type: str) -> None:
        """Store a manifest under a tag or its digest.

        Raises: Unauthorized, Denied, Invalid, Unavailable, TimedOut.
        """
        reply = self._call(
            "PUT",
            f"manifests/{selector}",
            subject=f"{self.endpoint.registry}/{self.endpoint.repository}:{selector}",
            scope=_PUSH,
            headers={"Content-Type": media_type},
            body=data,
            expected=frozenset((201, 202)),
        )
        reply.close()

    def tags(self) -> list[str]:
        """Return the repository's tags. Raises: NotFound, Unauthorized, Denied, Unavailable, TimedOut."""
        found: list[str] = []
        path = "tags/list?n=1000"
        for _ in range(1000):
            reply = self._call("GET", path, subject=self.endpoint.repository, expected=_OK)
            names = loads_object(reply.body(DOCUMENT_LIMIT_BYTES), what="tag list").get("tags") or []
            found += [name for name in names if isinstance(name, str)]
            link = reply.headers.get("Link", "")
            if 'rel="next"' not in link or not names:
                return found
            path = f"tags/list?{urlencode({'n': '1000', 'last': names[-1]})}"
        raise Exhausted("list tags of", self.endpoint.repository, "the list does not end")

    def cancel(self) -> None:
        """Let all calls of all threads fail at once."""
        self._http.cancel()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _blob_from(self, descriptor: Descriptor, position: int) -> Iterator[bytes]:
        headers = {"Accept-Encoding": "identity"}
        if position:
            headers["Range"] = f"bytes={position}-{descriptor.size_bytes - 1}"
        reply = self._call(
            "GET",
            f"blobs/{descriptor.digest}",
            subject=f"blob {short(descriptor.digest)}",
            headers=headers,
            expected=frozenset((200, 206, 416)),
        )
        skip = first_byte(reply, position)
        left = descriptor.size_bytes - position + skip
        stated = reply.headers.get("Content-Length", "")
        if stated.isascii() and stated.isdigit() and int(stated) != left:
            reply.close()
            raise Corrupt(
                "fetch", descriptor.digest, f"the registry sends {int(stated)} bytes, expected are {left}"
            )
        for data in reply.chunks():
            left -= len(data)
            if left < 0:
                reply.close()
                raise Corrupt("fetch", descriptor.digest, f"more than {descriptor.size_bytes} bytes arrived")
            if skip >= len(data):
                skip -= len(data)
                continue
            yield data[skip:] if skip else data
            skip = 0
        if left:
            raise Interrupted(
                Corrupt("fetch", descriptor.digest, f"{left} of {descriptor.size_bytes} bytes did not arrive")
            )

    def _upload_whole(
        self, started: Reply, descriptor: Descriptor, read: Callable[[], Iterable[bytes]]
    ) -> None:
        location = started.headers.get("Location", "")
        if not location:
            raise Unavailable("upload", short(descriptor.digest), "the registry did not say where to")
        url = urljoin(started.url, location)
        url += ("&" if "?" in url else "?") + urlencode({"digest": descriptor.digest})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(descriptor.size_bytes)}
        target = origin_of(url)
        if target == started.origin:
            known = self._authenticator.header(target, self._scope(_PUSH))
            headers |= {"Authorization": known} if known else {}
        elif target.scheme == "http" and not self._plain_http_allowed(target):
            raise Denied("upload to", target, "the registry sends the upload to plain http")
        reply = self._http.send(
            "PUT", url, headers=headers, body=read(), plain_http_allowed=self._plain_http_allowed
        )
        if reply.status in RETRIED_STATUS or reply.status == 401:  # noqa: PLR2004 - a token may expire on the way
            raise Interrupted(
                Unavailable("upload", short(descriptor.digest), f"the registry answered {reply.status}")
            )
        if reply.status not in {201, 204}:
            raise refused(reply, self.endpoint.registry, "push", f"blob {short(descriptor.digest)}")
        reply.close()

    def _call(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        path: str,
        *,
        subject: str,
        expected: frozenset[int],
        scope: str = _PULL,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """Return the reply to one call when its status is ``expected``; retry and log in as needed."""
        url = f"{self._base()}/v2/{self.endpoint.repository}/{path}"
        doing, scope = "pull" if scope == _PULL else "push", self._scope(scope)
        attempt, answered = 1, 0
        authorization = self._first_header(url, scope)
        while True:
            try:
                sent = {"User-Agent": "casemate", **(headers or {})}
                if authorization:
                    sent["Authorization"] = authorization
                reply = self._http.send(
                    method, url, headers=sent, body=body, plain_http_allowed=self._plain_http_allowed
                )
                if reply.status == 401 and reply.origin == origin_of(url) and answered < 2:  # noqa: PLR2004 - once more
                    reply.error_text()
                    answered += 1
                    authorization = self._authenticator.answer(reply, scope, refused=authorization)
                    continue
            except Interrupted as broken:
                self._pause_or_raise(attempt, broken.error)
                attempt += 1
                continue
            if reply.status in expected:
                return reply
            if reply.status not in RETRIED_STATUS or attempt >= self._settings.limits.attempts:
                raise refused(reply, self.endpoint.registry, doing, subject)
            reply.close()
            self._http.pause(self._settings.limits.pause_s(attempt, reply.headers.get("Retry-After", "")))
            attempt += 1

    def _first_header(self, url: str, scope: str) -> str:
        try:
            return self._authenticator.header(origin_of(url), scope)
        except Interrupted:
            return ""  # the call itself will be challenged, and try again

    def _scope(self, actions: str) -> str:
        return f"repository:{self.endpoint.repository}:{actions}"

    def _base(self) -> str:
        """Return the base URL, found on the first call when http and https are both possible."""
        if self._base_url:
            return self._base_url
        last: CasemateError | None = None
        for url in self.endpoint.base_urls():
            try:
                reply = self._http.send("GET", f"{url}/v2/", headers={"User-Agent": "casemate"})
            except Interrupted as broken:
                # The first refusal is what the user should read: the second scheme is a guess.
                last = last or broken.error
                continue
            status = reply.status
            reply.error_text()
            if status != 400:  # noqa: PLR2004 - what a TLS server answers to plain http
                self._base_url = url
                return url
        raise last or Unavailable("connect to", self.endpoint.host, "it answers neither http nor https")

    def _tls_for(self, host: str) -> ssl.SSLContext:
        """Return the TLS context for ``host``; only the registry itself may be spoken to unverified."""
        return self._settings.tls_context(host, insecure=self.endpoint.insecure and self._is_own(host))

    def _plain_http_allowed(self, target: Origin) -> bool:
        if is_loopback(target.host) or target.netloc in self._settings.insecure:
            return True
        return self.endpoint.insecure and self._is_own(target.netloc)

    def _is_own(self, host: str) -> bool:
        return host in {origin_of(f"{scheme}://{self.endpoint.host}").netloc for scheme in ("http", "https")}

    def _pause_or_raise(self, attempt: int, error: CasemateError) -> None:
        if attempt >= self._settings.limits.attempts:
            raise error
        self._http.pause(self._settings.limits.pause_s(attempt))
