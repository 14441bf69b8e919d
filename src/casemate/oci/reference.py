"""Image references: docker's grammar and docker's defaults.

    reference  = [registry "/"] path [":" tag] ["@" digest]
    registry   = has a "." or ":" or capitals, or is "localhost" or "[IPv6]"; otherwise docker.io is meant
    path       = component *("/" component)
    component  = alnum *(separator alnum);  separator = "." | "_" | "__" | 1*"-"
    tag        = word character, then up to 127 word characters, "." or "-"

Written without regular expressions: parsing a reference is on the way of every ``casemate run``.
Source: github.com/distribution/reference (regexp.go, normalize.go).
"""

from __future__ import annotations

from casemate.errors import Invalid
from casemate.oci.digest import require_digest
from casemate.oci.quoting import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
OFFICIAL_NAMESPACE = "library"

_MAX_NAME = 255
_MAX_TAG = 128
_MAX_PORT_DIGITS = 5
_ID_LENGTH = 64
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_DIGITS = frozenset("0123456789")
_ALNUM = _LOWER | _DIGITS
_HEX = frozenset("0123456789abcdefABCDEF")
_HOST = _ALNUM | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_WORD = _HOST | {"_"}
_TAG = _WORD | {".", "-"}


class Reference:
    """A parsed reference: registry host with port, repository path, and a tag or a digest or both.

    ``tag`` is None when only a digest was given; it is ``latest`` when neither was.
    """

    __slots__ = ("digest", "registry", "repository", "tag")

    def __init__(self, registry: str, repository: str, *, tag: str | None, digest: str | None) -> None:
        self.registry = registry
        self.repository = repository
        self.tag = tag
        self.digest = digest

    @property
    def name(self) -> str:
        """Registry and repository: ``docker.io/library/debian``."""
        return f"{self.registry}/{self.repository}"

    def canonical(self) -> str:
        """Return the full form that names one image everywhere: ``docker.io/library/debian:bookworm``."""
        return self.name + self._suffix()

    def familiar(self) -> str:
        """Return the short form that docker shows: ``debian:bookworm``."""
        return self.familiar_name() + self._suffix()

    def familiar_name(self) -> str:
        """Return the short form without tag and digest: ``debian``."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        namespace, _, rest = self.repository.partition("/")
        return rest if namespace == OFFICIAL_NAMESPACE and rest and "/" not in rest else self.repository

    def with_digest(self, digest: str) -> Reference:
        """Return this name pinned to ``digest``. Raises: Invalid."""
        return Reference(self.registry, self.repository, tag=self.tag, digest=require_digest(digest))

    def selector(self) -> str:
        """Return what a registry is asked for: the digest when there is one, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self.canonical() == other.canonical()

    def __hash__(self) -> int:
        return hash(self.canonical())

    def __repr__(self) -> str:
        return f"Reference({self.canonical()!r})"


def parse_reference(text: str) -> Reference:
    """Return the reference that ``text`` names, docker's defaults filled in. Raises: Invalid, Unsupported."""
    if not text:
        _refuse(text, "it is empty")
    head, at, digest_text = text.partition("@")
    digest = require_digest(digest_text, what=f"reference {quoted(text)}") if at else None
    name, tag = _split_tag(head)
    if tag is not None and not is_tag(tag):
        _refuse(text, f"{quoted(tag)} is not a tag", "a tag is up to 128 letters, digits, '_', '.' and '-'")
    registry, repository = _split_registry(name, text)
    if tag is None and digest is None:
        tag = DEFAULT_TAG
    return Reference(registry, repository, tag=tag, digest=digest)


def is_tag(text: str) -> bool:
    """Tell whether ``text`` is a tag by the distribution grammar."""
    return 0 < len(text) <= _MAX_TAG and text[0] in _WORD and _TAG.issuperset(text)


def is_repository(path: str) -> bool:
    """Tell whether ``path`` is a repository path by the distribution grammar."""
    return 0 < len(path) <= _MAX_NAME and all(_is_component(part) for part in path.split("/"))


def is_registry(host: str) -> bool:
    """Tell whether ``host`` is a host name, an IPv4 or a bracketed IPv6 address, with an optional port."""
    if host.startswith("["):
        address, bracket, port = host[1:].partition("]")
        if not bracket or not address or not (_HEX | {":", "."}).issuperset(address):
            return False
        return not port or (port[0] == ":" and _is_port(port[1:]))
    name, colon, port = host.partition(":")
    if colon and not _is_port(port):
        return False
    return bool(name) and all(_is_host_label(label) for label in name.split("."))


def _split_tag(head: str) -> tuple[str, str | None]:
    colon = head.rfind(":")
    if colon > head.rfind("/"):
        return head[:colon], head[colon + 1 :]
    return head, None


def _split_registry(name: str, text: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not _looks_like_registry(first):
        registry, repository = DEFAULT_REGISTRY, name
        if len(name) == _ID_LENGTH and _ALNUM.issuperset(name) and _HEX.issuperset(name):
            _refuse(text, "64 hexadecimal digits are an image id, not a name")
    else:
        registry, repository = first, rest
        if not is_registry(registry):
            _refuse(text, f"{quoted(registry)} is not a registry host")
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if not is_repository(repository):
        hint = "repository names are lower case" if is_repository(repository.lower()) else ""
        _refuse(text, f"{quoted(repository)} is not a repository name", hint)
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"{OFFICIAL_NAMESPACE}/{repository}"
    if len(registry) + 1 + len(repository) > _MAX_NAME:
        _refuse(text, f"the name is longer than {_MAX_NAME} characters")
    return registry, repository


def _looks_like_registry(first: str) -> bool:
    return first == "localhost" or "." in first or ":" in first or first.lower() != first


def _is_component(part: str) -> bool:
    run = ""  # the separator being read
    previous_alnum = False
    for char in part:
        if char in _ALNUM:
            if run and not _is_separator(run):
                return False
            run, previous_alnum = "", True
        elif char in "._-" and previous_alnum:
            run += char
        else:
            return False
    return previous_alnum and not run


def _is_separator(run: str) -> bool:
    return run in {".", "_", "__"} or not run.strip("-")


def _is_host_label(label: str) -> bool:
    return bool(label) and _HOST.issuperset(label.replace("-", "")) and label[0] != "-" and label[-1] != "-"


def _is_port(text: str) -> bool:
    return 0 < len(text) <= _MAX_PORT_DIGITS and _DIGITS.issuperset(text) and int(text) <= 65535  # noqa: PLR2004 - the highest port


def is_image_id(text: str) -> bool:
    """Tell whether ``text`` is a full image id (64 digits, with or without ``sha256:``)."""
    digits = text.removeprefix("sha256:")
    return len(digits) == _ID_LENGTH and (_LOWER | _DIGITS).issuperset(digits) and _HEX.issuperset(digits)


def _refuse(text: str, why: str, hint: str = "") -> NoReturn:
    raise Invalid("read image reference", quoted(text), why, hint=hint)
