"""Origins: who a URL talks to, and whom a registry may send us to.

A registry chooses URLs for us in three places: redirects, upload locations and the realm of a challenge.
Credentials stay with the origin that asked for them, nothing goes from https to plain http, and no address
that only this host can reach is taken from a registry that is not on this host itself (SECURITY C20).
Source: RFC 6454 (origin); distribution, "Token Authentication Specification".
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from casemate.errors import Denied, Invalid
from casemate.oci.quoting import quoted

_PORTS = {"http": 80, "https": 443}
# Domains under which strangers get host names: there, only the very same host counts as the same owner.
_SHARED_SUFFIXES = frozenset(
    (
        "amazonaws.com",
        "azurecr.io",
        "azurewebsites.net",
        "cloudfront.net",
        "fly.dev",
        "github.io",
        "githubusercontent.com",
        "googleusercontent.com",
        "herokuapp.com",
        "on.aws",
        "pages.dev",
        "pkg.dev",
        "run.app",
        "workers.dev",
    )
)
_SECOND_LEVELS = frozenset(("ac", "co", "com", "edu", "gov", "ne", "net", "or", "org"))
_COUNTRY_CODE_LENGTH = 2


class Origin:
    """Scheme, host in lower case (IPv6 without brackets) and port."""

    __slots__ = ("host", "port", "scheme")

    def __init__(self, scheme: str, host: str, port: int) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port

    @property
    def netloc(self) -> str:
        """``host`` or ``host:port``, as a URL has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def origin_of(url: str) -> Origin:
    """Return the origin of an absolute http or https URL.

    Raises: Invalid (also for user names inside the URL).
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Invalid("read URL", quoted(url), "it is malformed") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise Invalid("read URL", quoted(url), "not an absolute http or https URL")
    if parts.username is not None or any(not "!" <= char <= "~" for char in url):
        raise Invalid("read URL", quoted(url), "it holds a user name or characters that URLs do not have")
    return Origin(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is this machine by its very name: localhost, 127.0.0.0/8 or ::1."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def check_redirect(asked: Origin, target: Origin, *, plain_http_allowed: bool) -> None:
    """Return when a reply of ``asked`` may send us on to ``target``. Raises: Denied."""
    if target == asked:
        return
    if target.scheme == "http" and (asked.scheme == "https" or not plain_http_allowed):
        raise Denied("follow redirect", f"{asked} -> {target}", "it leads to plain http")
    if _is_private_to_us(target.host) and not is_loopback(asked.host):
        raise Denied(
            "follow redirect", f"{asked} -> {target}", "it leads to an address of this host's own network"
        )


def check_realm(registry: Origin, realm: Origin, *, allowed_hosts: frozenset[str]) -> None:
    """Return when ``registry`` may have its tokens issued by ``realm``, which will see the credentials.

    Raises: Denied.
    """
    subject = f"{registry} -> {realm}"
    hint = f"if you trust it: CASEMATE_TOKEN_REALMS={realm.netloc}"
    if registry.scheme == "http" and is_loopback(registry.host) and is_loopback(realm.host):
        return
    if realm.scheme != "https" and realm != registry:
        raise Denied("ask for a token", subject, "the token server is not reached by https")
    if realm.netloc in allowed_hosts or realm.host == registry.host:
        return
    if _is_private_to_us(realm.host) or _registrable(registry.host) != _registrable(realm.host):
        raise Denied("ask for a token", subject, "the token server belongs to another domain", hint=hint)


def _registrable(host: str) -> str:
    """Return the domain that one owner registered: an approximation that errs towards *different*."""
    labels = host.rstrip(".").split(".")
    if _address(host) is not None or len(labels) <= 2:  # noqa: PLR2004 - name and top-level domain
        return host
    domain = ".".join(labels[-2:])
    if domain in _SHARED_SUFFIXES:
        return host
    if len(labels[-1]) == _COUNTRY_CODE_LENGTH and labels[-2] in _SECOND_LEVELS:
        return ".".join(labels[-3:])
    return domain


def _is_private_to_us(host: str) -> bool:
    address = _address(host)
    if address is None:
        return is_loopback(host)
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _odd_ipv4(host)
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else address


def _odd_ipv4(host: str) -> ipaddress.IPv4Address | None:
    """Return the address that resolvers see in ``0x7f.1``, ``2130706433`` or ``127.1``; None for a name."""
    parts = host.rstrip(".").split(".")
    numbers: list[int] = []
    for part in parts:
        base = 16 if part.lower().startswith("0x") else 8 if part.startswith("0") and part != "0" else 10
        try:
            numbers.append(int(part, base))
        except ValueError:
            return None
    tail_bytes = 5 - len(numbers)
    if not 1 <= tail_bytes <= 4 or any(not 0 <= number < 256 for number in numbers[:-1]):  # noqa: PLR2004 - bytes of IPv4
        return None
    if not 0 <= numbers[-1] < 256**tail_bytes:
        return None
    packed = bytes(numbers[:-1]) + numbers[-1].to_bytes(tail_bytes, "big")
    return ipaddress.IPv4Address(packed)
