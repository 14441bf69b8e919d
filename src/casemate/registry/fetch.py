"""Fetching: from a source into the content store, verified, in parallel, resumable.

Order: manifest (and index) -> config -> layers in parallel -> manifest bytes are stored last, so that a
stored manifest implies stored content. A failure leaves verified blobs and resumable partial ones, nothing
else; names are not this module's business.
"""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from casemate.errors import Corrupt, Exhausted, Invalid, Unsupported
from casemate.image.config import ImageConfig
from casemate.image.manifest import Manifest, choose_platform, parse_manifest
from casemate.oci.digest import digest_of, require_digest, short
from casemate.oci.platform import host_platform
from casemate.oci.strict_json import DOCUMENT_LIMIT_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from casemate.core.content import ContentStore, Ingest
    from casemate.core.transport import Descriptor, ImageSource, Progress
    from casemate.oci.platform import Platform

PARALLEL_LAYERS = 4
_MAX_NESTED_INDEXES = 2
_GENERIC = frozenset(("application/json", "application/octet-stream", "text/plain"))
"""Content types that say nothing about a document: its own mediaType has to.

(dir: and static file servers.)
"""
_PROGRESS_STEP_BYTES = 1 << 20


class FetchedImage:
    """What was fetched.

    ``layers`` are the manifest's, lowest first; ``index_digest`` is None for a plain manifest.
    """

    __slots__ = (
        "config",
        "config_digest",
        "image_config",
        "index_digest",
        "layers",
        "manifest",
        "manifest_digest",
        "media_type",
    )

    def __init__(self, resolved: ResolvedImage, config: bytes, image_config: ImageConfig) -> None:
        self.manifest_digest = resolved.digest
        self.manifest = resolved.data
        self.media_type = resolved.manifest.media_type
        self.index_digest = resolved.index_digest
        self.config_digest = resolved.manifest.config.digest
        self.config = config
        self.image_config = image_config
        self.layers = list(resolved.manifest.layers)

    @property
    def size_bytes(self) -> int:
        """Bytes that the image takes as it was transferred."""
        return len(self.manifest) + len(self.config) + sum(layer.size_bytes for layer in self.layers)


class ResolvedImage:
    """The manifest that a reference means on one platform, verified but not stored."""

    __slots__ = ("data", "digest", "documents", "index_digest", "manifest")

    def __init__(self, documents: list[tuple[str, bytes]], manifest: Manifest) -> None:
        self.documents = documents
        """(digest, bytes) of every index on the way and of the manifest, which is the last."""
        self.digest, self.data = documents[-1]
        self.index_digest = documents[0][0] if len(documents) > 1 else None
        self.manifest = manifest

    def digests(self) -> list[str]:
        """Return the digest of everything that belongs to the image: what a lease has to hold."""
        content = [self.manifest.config, *self.manifest.layers]
        return [*(digest for digest, _ in self.documents), *(descriptor.digest for descriptor in content)]


def resolve_image(
    source: ImageSource, *, platform: Platform | None = None, digest: str | None = None, what: str = "image"
) -> ResolvedImage:
    """Return the manifest of ``source`` for ``platform`` (None: this host's), by ``digest`` if given.

    Raises: Corrupt (digest mismatch), Invalid, Unsupported, NotFound (platform), and whatever the source
    raises.
    """
    platform = platform or host_platform()
    data, media_type = source.manifest(digest)
    found = _verified(data, digest, None, what)
    documents = [(found, data)]
    for _ in range(_MAX_NESTED_INDEXES + 1):
        parsed = parse_manifest(
            data, "" if media_type in _GENERIC else media_type, what=f"manifest of {what}"
        )
        if isinstance(parsed, Manifest):
            return ResolvedImage(documents, parsed.require_image(what=what))
        chosen = choose_platform(parsed, platform, what=what)
        data, _ = source.manifest(chosen.digest)
        media_type = chosen.media_type
        documents.append((_verified(data, chosen.digest, chosen.size_bytes, what), data))
    raise Invalid("read", f"manifest of {what}", f"more than {_MAX_NESTED_INDEXES} indexes inside each other")


def fetch_image(  # noqa: PLR0913 - independent choices, each by name
    source: ImageSource,
    *,
    content: ContentStore,
    platform: Platform | None = None,
    progress: Progress | None = None,
    on_start: Callable[[list[str]], None] | None = None,
    on_config: Callable[[Manifest, ImageConfig], None] | None = None,
    on_layer: Callable[[Descriptor, int], None] | None = None,
    digest: str | None = None,
    what: str = "image",
) -> FetchedImage:
    """Return the image of ``source`` for ``platform``, with everything it consists of stored in ``content``.

    ``on_start`` gets every digest before the first byte is stored (to lease them); ``on_config`` the parsed
    manifest and config before the first layer is; ``on_layer(descriptor,
    position)`` is called from a worker thread as soon as a layer is stored, so that unpacking overlaps with
    fetching. ``digest`` is what the user asked for.
    Raises: Corrupt, Invalid, Unsupported, Exhausted, NotFound, and whatever source, content and the callbacks
    raise.
    """
    resolved = resolve_image(source, platform=platform, digest=digest, what=what)
    if on_start is not None:
        on_start(resolved.digests())
    fetcher = _Fetcher(source, content, progress)
    config = fetcher.config(resolved.manifest.config, what)
    image_config = ImageConfig.parse(config, what=f"config of {what}")
    _check_layers(resolved.manifest, image_config, what)
    if on_config is not None:
        on_config(resolved.manifest, image_config)
    fetcher.layers(resolved.manifest.layers, on_layer)
    for _, data in reversed(resolved.documents):
        content.put(data)
    return FetchedImage(resolved, config, image_config)


class _Fetcher:
    """One fetch: shares a stop flag between its threads, so that the first failure ends all of them."""

    def __init__(self, source: ImageSource, content: ContentStore, progress: Progress | None) -> None:
        self._source = source
        self._content = content
        self._progress = progress
        self._stopped = threading.Event()

    def config(self, descriptor: Descriptor, what: str) -> bytes:
        """Return the config's bytes, stored and verified. Raises: Exhausted over 4 MiB, Corrupt."""
        if descriptor.size_bytes > DOCUMENT_LIMIT_BYTES:
            why = f"{descriptor.size_bytes} bytes are over the limit of {DOCUMENT_LIMIT_BYTES}"
            raise Exhausted("read", f"config of {what}", why)
        if self._content.find(descriptor.digest) is None:
            data = b"".join(self._source.iter_blob(descriptor))
            _verified(data, descriptor.digest, descriptor.size_bytes, f"config of {what}")
            self._content.put(data)
            return data
        return self._content.read(descriptor.digest, limit_bytes=DOCUMENT_LIMIT_BYTES)

    def layers(
        self, layers: tuple[Descriptor, ...], on_layer: Callable[[Descriptor, int], None] | None
    ) -> None:
        """Store every layer; equal ones once. Raises what the first failing layer raised."""
        positions: dict[str, list[int]] = {}
        for at, layer in enumerate(layers):
            positions.setdefault(layer.digest, []).append(at)
        with ThreadPoolExecutor(PARALLEL_LAYERS, thread_name_prefix="fetch") as pool:
            running = [
                pool.submit(self._layer, layers[found[0]], found, on_layer) for found in positions.values()
            ]
            try:
                done, _ = wait(running, return_when=FIRST_EXCEPTION)
            except BaseException:  # Ctrl-C
                self._stop(running)
                raise
            failed = next((future for future in running if future in done and future.exception()), None)
            if failed is None:
                return
            self._stop(running)
            failed.result()

    def _stop(self, running: Sequence[Future[None]]) -> None:
        """End the other transfers: what they have stays as partial data for the next attempt."""
        self._stopped.set()
        for future in running:
            future.cancel()
        cancel = getattr(self._source, "cancel", None)
        if cancel is not None:
            cancel()

    def _layer(
        self, layer: Descriptor, positions: list[int], on_layer: Callable[[Descriptor, int], None] | None
    ) -> None:
        found = self._content.find(layer.digest)
        if found is None:
            self._tell(layer, "Pulling fs layer", 0)
            self._fetch(layer)
            self._tell(layer, "Download complete", layer.size_bytes)
        else:
            if found.size_bytes != layer.size_bytes:
                raise Corrupt(
                    "use layer", layer.digest, f"{found.size_bytes} bytes, expected {layer.size_bytes}"
                )
            self._tell(layer, "Already exists", layer.size_bytes)
        if on_layer is not None and not self._stopped.is_set():
            for position in positions:
                on_layer(layer, position)

    def _fetch(self, layer: Descriptor) -> None:
        with self._content.ingest(layer.digest, digest=layer.digest, size_bytes=layer.size_bytes) as ingest:
            if ingest.offset:
                try:
                    self._copy(layer, ingest)
                except Unsupported:
                    ingest.truncate()  # the source cannot start in the middle
            if ingest.offset < layer.size_bytes:
                self._copy(layer, ingest)
            if not self._stopped.is_set():
                ingest.commit()

    def _copy(self, layer: Descriptor, ingest: Ingest) -> None:
        told = ingest.offset
        for data in self._source.iter_blob(layer, offset=ingest.offset):
            if self._stopped.is_set():
                return
            ingest.write(data)
            if ingest.offset - told >= _PROGRESS_STEP_BYTES:
                told = ingest.offset
                self._tell(layer, "Downloading", told)

    def _tell(self, layer: Descriptor, status: str, current: int) -> None:
        if self._progress is not None:
            self._progress.event(short(layer.digest), status, current=current, total=layer.size_bytes)


def _verified(data: bytes, digest: str | None, size_bytes: int | None, what: str) -> str:
    """Return the digest of ``data``. Raises: Corrupt when it, or the size, is not what was promised."""
    found = digest_of(data)
    if size_bytes is not None and len(data) != size_bytes:
        raise Corrupt("fetch", what, f"{len(data)} bytes arrived, expected are {size_bytes}")
    if digest is not None and require_digest(digest) != found:
        raise Corrupt("fetch", what, f"the content has the digest {found}, expected is {digest}")
    return found


def _check_layers(manifest: Manifest, config: ImageConfig, what: str) -> None:
    if len(manifest.layers) != len(config.diff_ids):
        counts = f"{len(manifest.layers)} layers, its config names {len(config.diff_ids)}"
        raise Invalid("use image", what, f"its manifest has {counts}")
