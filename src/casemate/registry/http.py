"""HTTP as registries need it: bounded, patient, and never generous with credentials.

Redirects are followed here and not by urllib3, so that each hop passes ``origin.check_redirect`` and
Authorization is dropped as soon as the origin changes. Bodies are never decoded: what is hashed is what was
sent.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from urllib.parse import urljoin
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from casemate.errors import CasemateError, Exhausted, Invalid, TimedOut, Unavailable
from casemate.oci.quoting import quoted
from casemate.registry.limits import Limits, RateWatch
from casemate.registry.origin import Origin, check_redirect, is_loopback, origin_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

CHUNK_BYTES = 256 << 10
_ERROR_BODY_BYTES = 64 << 10
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_POOL_SIZE = 8


class Interrupted(Exception):
    """The connection broke in a way that a second attempt may mend.

    ``error`` is what to raise when it does not.
    """

    def __init__(self, error: CasemateError) -> None:
        super().__init__(str(error))
        self.error = error


class Reply:
    """One response, body unread.

    Close it, or read it to its end so that its connection serves the next request.
    """

    __slots__ = ("_limits", "_live", "_response", "headers", "origin", "status", "url")

    def __init__(
        self, response: urllib3.BaseHTTPResponse, url: str, *, limits: Limits, live: set[Reply]
    ) -> None:
        self._response = response
        self._limits = limits
        self._live = live
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.url = url
        self.origin = origin_of(url)
        live.add(self)

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives. Raises: Interrupted when it breaks, is cut short or stalls."""
        watch = RateWatch(self._limits)
        try:
            while data := self._response.read1(CHUNK_BYTES, decode_content=False):
                if watch.is_stalled(len(data)):
                    raise Interrupted(self._too_slow())
                yield data
        except (HTTPError, OSError) as error:
            raise Interrupted(_explained(error, self.url, self._limits)) from error
        finally:
            self.close()

    def body(self, limit_bytes: int) -> bytes:
        """Return the whole body. Raises: Exhausted over ``limit_bytes``, Interrupted."""
        parts: list[bytes] = []
        left = limit_bytes
        for data in self.chunks():
            left -= len(data)
            if left < 0:
                self.close()
                raise Exhausted("read reply of", self.url, f"it is over the limit of {limit_bytes} bytes")
            parts.append(data)
        return b"".join(parts)

    def error_text(self) -> bytes:
        """Return the start of an error's body; empty when it cannot be read."""
        try:
            return self.body(_ERROR_BODY_BYTES)
        except (Interrupted, Exhausted):
            return b""

    def close(self) -> None:
        """Give the connection back when the body is read, else close it."""
        self._live.discard(self)
        self._response.close()
        # A reply without a body is closed from the start, and close() then forgets its healthy connection.
        self._response.release_conn()

    def cut(self) -> None:
        """End a read that another thread is waiting in; that thread gets Interrupted."""
        with contextlib.suppress(ValueError, RuntimeError, OSError):  # it has ended by itself meanwhile
            self._response.shutdown()

    def _too_slow(self) -> TimedOut:
        rate = f"{self._limits.slow_bytes} bytes in {self._limits.slow_window_s:g} s"
        return TimedOut("read from", origin_of(self.url), f"less than {rate} arrived")


class Http:
    """A pool of connections, used by many threads.

    ``tls_for`` gives the TLS context of a host (host:port).
    """

    def __init__(self, *, limits: Limits, tls_for: Callable[[str], ssl.SSLContext]) -> None:
        self.limits = limits
        self._tls_for = tls_for
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._live: set[Reply] = set()
        self._cancelled = threading.Event()
        self._lock = threading.Lock()

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None = None,
        plain_http_allowed: Callable[[Origin], bool] = lambda origin: is_loopback(origin.host),
    ) -> Reply:
        """Return the reply to one request, redirects of GET and HEAD followed.

        Raises: Interrupted when the connection fails, Denied for a forbidden redirect, Unavailable for too
        many.
        """
        sent = dict(headers)
        for _ in range(_MAX_REDIRECTS + 1):
            reply = self._once(method, url, sent, body)
            location = reply.headers.get("Location", "")
            if reply.status not in _REDIRECTS or method not in {"GET", "HEAD"}:
                return reply
            reply.close()
            if not location:
                raise Unavailable("follow redirect", url, "the registry did not say where to")
            target_url = urljoin(url, location)
            asked, target = reply.origin, origin_of(target_url)
            check_redirect(asked, target, plain_http_allowed=plain_http_allowed(target))
            if target != asked:
                sent.pop("Authorization", None)
            url = target_url
        raise Unavailable("follow redirect", url, f"more than {_MAX_REDIRECTS} redirects")

    def cancel(self) -> None:
        """Let every request that runs or is tried from now on fail at once, and every pause end."""
        self._cancelled.set()
        for reply in tuple(self._live):
            reply.cut()

    def pause(self, pause_s: float) -> None:
        """Wait before the next attempt; ``cancel`` ends it."""
        self._cancelled.wait(pause_s)

    def close(self) -> None:
        """Close every idle connection."""
        with self._lock:
            pools, self._pools = self._pools, {}
        for manager in pools.values():
            # clear() alone leaves connections open until the last reference to their pool is gone.
            for key in manager.pools.keys():  # noqa: SIM118 - the container refuses to be iterated
                manager.pools[key].close()
            manager.clear()

    def _once(
        self, method: str, url: str, headers: dict[str, str], body: bytes | Iterable[bytes] | None
    ) -> Reply:
        origin = origin_of(url)
        if self._cancelled.is_set():
            raise Unavailable("talk to", origin, "the transfer was cancelled")
        try:
            response = self._pool(origin).request(
                method,
                url,
                body=body,
                headers=headers,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
            )
        except (HTTPError, OSError) as error:
            raise Interrupted(_explained(error, url, self.limits)) from error
        reply = Reply(response, url, limits=self.limits, live=self._live)
        if self._cancelled.is_set():  # while we waited for the headers
            reply.cut()
        return reply

    def _pool(self, origin: Origin) -> urllib3.PoolManager:
        key = str(origin)
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = self._new_pool(origin)
        return pool

    def _new_pool(self, origin: Origin) -> urllib3.PoolManager:
        timeout = urllib3.Timeout(connect=self.limits.connect_s, read=self.limits.read_s)
        context = self._tls_for(origin.netloc) if origin.scheme == "https" else None
        proxy = _proxy_for(origin)
        if proxy:
            return urllib3.ProxyManager(proxy, maxsize=_POOL_SIZE, timeout=timeout, ssl_context=context)
        return urllib3.PoolManager(maxsize=_POOL_SIZE, timeout=timeout, ssl_context=context)


def _proxy_for(origin: Origin) -> str:
    if is_loopback(origin.host) or proxy_bypass(origin.host):
        return ""
    proxy = getproxies().get(origin.scheme, "")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _explained(error: Exception, url: str, limits: Limits) -> CasemateError:
    """Return the error for the user that ``error`` of urllib3 or the socket means."""
    where = origin_of(url)
    if isinstance(error, ReadTimeoutError):
        return TimedOut("read from", where, f"nothing arrived for {limits.read_s:g} s")
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return TimedOut("connect to", where, f"no answer within {limits.connect_s:g} s")
    if isinstance(error, NameResolutionError):
        return Unavailable(
            "connect to", where, "its name cannot be resolved", hint="check the name and your DNS"
        )
    if isinstance(error, SSLError):
        hint = f"put the registry's CA certificate into /etc/containers/certs.d/{where.netloc}/ca.crt"
        return Unavailable("connect to", where, f"TLS failed: {_reason(error)}", hint=hint)
    return Unavailable("talk to", where, _reason(error))


def _reason(error: BaseException) -> str:
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ssl.SSLError):  # its errno counts TLS errors, not system errors
            detail = getattr(inner, "verify_message", "")
            return f"certificate verify failed: {detail}" if detail else str(inner.reason or inner)
        if isinstance(inner, OSError) and inner.errno and inner.errno > 0:
            return os.strerror(inner.errno).lower()
        inner = inner.__cause__ or inner.__context__
    return quoted(error).strip("'\"")


def header_safe(text: str, *, what: str) -> str:
    """Return ``text`` when it can be a header's value: printable ASCII on one line. Raises: Invalid."""
    if not text or any(not " " <= char <= "~" for char in text):
        raise Invalid("use", what, "it is empty or holds characters that a header cannot")
    return text
