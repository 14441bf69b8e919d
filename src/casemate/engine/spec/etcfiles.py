"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container, as text."""

from __future__ import annotations

from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from casemate.engine.options import ContainerOptions

_LOOPBACK = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
MAX_RESOLV_BYTES = 64 << 10


def check_hostname(name: str) -> str:
    """``name`` when it is a host name (RFC 1123 labels, 63 bytes in all for sethostname). Raises: Invalid."""
    labels = name.split(".")
    good = all(
        label
        and label.replace("-", "a").replace("_", "a").isalnum()
        and label.isascii()
        and label[0] != "-"
        and label[-1] != "-"
        for label in labels
    )
    if not good or len(name) > 63:  # noqa: PLR2004 - __NEW_UTS_LEN is 64, docker allows 63
        raise Invalid("use host name", repr(name[:80]), "not a valid hostname")
    return name


def check_words(options: ContainerOptions) -> None:
    """Raise Invalid for a word that would be more than one word, or line, of /etc/hosts or /etc/resolv.conf."""
    for what, words in (
        ("domain name", [options.domainname] if options.domainname else ()),
        ("DNS server", options.dns),
        ("DNS search domain", options.dns_search),
        ("DNS option", options.dns_options),
        ("host", options.extra_hosts),
    ):
        for word in words:
            if not word.isascii() or not word.isprintable() or " " in word:
                raise Invalid(
                    f"use {what}", repr(word[:80]), "only printable ASCII without spaces is allowed"
                )


def hosts_text(hostname: str, *, domainname: str, addresses: Sequence[str], extra: Sequence[str]) -> str:
    """Loopback, ``extra`` ("name:address"), then each address (127.0.1.1 for none) with the container's name.

    Raises: Invalid for an entry that is not name:address.
    """
    lines = [_LOOPBACK]
    for entry in extra:
        name, colon, address = entry.partition(":")
        address = address.strip("[]")
        if not (name and colon and _is_address(address)) or any(c.isspace() for c in entry):
            raise Invalid("add host", repr(entry), "expected name:address")
        lines.append(f"{address}\t{name}\n")
    names = f"{hostname}.{domainname} {hostname}" if domainname else hostname
    lines.extend(f"{address.partition('/')[0]}\t{names}\n" for address in (addresses or ("127.0.1.1",)))
    return "".join(lines)


def _is_address(text: str) -> bool:
    import _socket

    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


def resolv_text(
    host_text: str, *, servers: Sequence[str], search: Sequence[str], options: Sequence[str], offline: bool
) -> str:
    """The resolver's configuration: the host's unless replaced.

    No name server at all for a container without a network.

    Raises: Invalid for a server that is not an address, or a word that would start another line.
    """
    for server in servers:
        if not _is_address(server):
            raise Invalid("use DNS server", repr(server), "not an IP address")
    for word in (*search, *options):
        if not word or any(c.isspace() for c in word):
            raise Invalid("use DNS option", repr(word), "not a single word")
    if not (servers or search or options):
        return "" if offline else host_text
    kept = [] if offline else host_text.splitlines()
    lines = [f"nameserver {server}" for server in servers] or _lines_of(kept, "nameserver")
    lines += [f"search {' '.join(search)}"] if search else _lines_of(kept, "search")
    lines += [f"options {' '.join(options)}"] if options else _lines_of(kept, "options")
    return "".join(f"{line}\n" for line in lines)


def _lines_of(lines: Sequence[str], keyword: str) -> list[str]:
    return [line for line in lines if line.split(None, 1)[:1] == [keyword]]
