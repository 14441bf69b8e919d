"""``docker://``: images in registries."""

from __future__ import annotations

import threading

from casemate.errors import Corrupt, Denied, Invalid, NotFound, TimedOut, Unauthorized, Unavailable
from casemate.oci.digest import digest_of
from casemate.oci.reference import parse_reference
from casemate.registry.client import RegistryClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casemate.core.transport import Descriptor
    from casemate.oci.reference import Reference
    from casemate.registry.settings import Settings


class DockerSource:
    """``core.transport.ImageSource`` for one reference. Mirrors are tried first, the registry itself last."""

    def __init__(self, reference: Reference, settings: Settings) -> None:
        self.reference = reference
        self._clients = [RegistryClient(endpoint, settings) for endpoint in settings.endpoints(reference)]
        self._chosen: RegistryClient | None = None
        self._lock = threading.Lock()

    def manifest(self, digest: str | None = None) -> tuple[bytes, str]:
        """Return (raw manifest or index, media type).

        The first mirror that answers serves everything after.
        """
        selector = digest or self.reference.selector()
        with self._lock:
            candidates = [self._chosen] if self._chosen else self._clients
            for client in candidates:
                try:
                    found = client.manifest(selector)
                except (Denied, NotFound, Unauthorized, Unavailable, TimedOut):
                    if client is candidates[-1]:
                        raise
                    continue  # registries.conf(5): a mirror that fails is passed over
                # The tag is trusted, a digest is not: nobody else knows that the reference was pinned.
                pinned = digest or self.reference.digest
                if pinned and digest_of(found[0]) != pinned:
                    raise Corrupt("fetch", self.reference.name, f"the content of {pinned} has another digest")
                self._chosen = client
                return found
        raise AssertionError("unreachable")  # there is always the registry itself

    def iter_blob(self, descriptor: Descriptor, *, offset: int = 0) -> Iterator[bytes]:
        """Yield the blob's bytes from ``offset``, resuming by itself when the connection is cut.

        URLs that a descriptor names are never used: they would let an image send us anywhere.
        """
        return self._client().blob(descriptor, offset=offset)

    def cancel(self) -> None:
        """Let the transfers of all threads fail at once instead of waiting for a slow registry."""
        for client in self._clients:
            client.cancel()

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def _client(self) -> RegistryClient:
        return self._chosen or self._clients[-1]


class DockerSink:
    """``core.transport.ImageSink``: pushes one image to its repository. Safe for parallel ``put_blob``."""

    parallel = True

    def __init__(self, reference: Reference, settings: Settings) -> None:
        self.reference = reference
        self._client = RegistryClient(settings.endpoints(reference, mirrors=False)[-1], settings)
        self._manifests: dict[str, tuple[bytes, str]] = {}

    def put_blob(self, descriptor: Descriptor, read: Callable[[], Iterator[bytes]]) -> None:
        """Upload a blob unless the repository has it."""
        if not self._client.has_blob(descriptor.digest):
            self._client.upload(descriptor, read)

    def put_manifest(self, data: bytes, media_type: str, digest: str) -> None:
        """Store a manifest under its digest."""
        self._client.put_manifest(digest, data, media_type)
        self._manifests[digest] = (data, media_type)

    def commit(self, digest: str, names: list[str]) -> None:
        """Tag ``digest``.

        With the tag of the sink's own reference, and with those of ``names`` in this repository.
        """
        tags = {self.reference.tag} if self.reference.tag else set()
        for name in names:
            other = parse_reference(name)
            if other.name != self.reference.name:
                raise Invalid("push image", name, f"it names another repository than {self.reference.name}")
            tags |= {other.tag} if other.tag else set()
        data, media_type = self._manifests[digest]
        for tag in sorted(tags):
            self._client.put_manifest(tag, data, media_type)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
