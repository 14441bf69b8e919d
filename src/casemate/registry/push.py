"""Pushing: from the content store into a sink (registry, archive, directory), blobs before manifests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from casemate.errors import NotFound
from casemate.image.manifest import Index, Manifest, parse_manifest
from casemate.oci.digest import short
from casemate.oci.strict_json import DOCUMENT_LIMIT_BYTES
from casemate.registry.files import CHUNK_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casemate.core.content import ContentStore
    from casemate.core.transport import Descriptor, ImageSink, Progress

PARALLEL_BLOBS = 4


def push_image(
    sink: ImageSink,
    digest: str,
    *,
    content: ContentStore,
    names: list[str],
    media_type: str = "",
    progress: Progress | None = None,
) -> None:
    """Make ``digest`` (a manifest or an index in ``content``) the image that ``sink`` holds under ``names``.

    Of an index every platform must be stored. Raises: NotFound (missing content), and whatever content and
    sink raise.
    """
    _push_document(sink, digest, media_type, content=content, progress=progress)
    sink.commit(digest, names)


def _push_document(
    sink: ImageSink, digest: str, media_type: str, *, content: ContentStore, progress: Progress | None
) -> None:
    data = content.read(digest, limit_bytes=DOCUMENT_LIMIT_BYTES)
    parsed = parse_manifest(data, media_type, what=f"manifest {short(digest)}")
    if isinstance(parsed, Index):
        for entry in parsed.manifests:
            _push_document(sink, entry.digest, entry.media_type, content=content, progress=progress)
    else:
        _push_blobs(sink, parsed, content=content, progress=progress)
    sink.put_manifest(data, parsed.media_type, digest)


def _push_blobs(
    sink: ImageSink, manifest: Manifest, *, content: ContentStore, progress: Progress | None
) -> None:
    blobs = {blob.digest: blob for blob in (manifest.config, *manifest.layers)}
    for blob in blobs.values():
        if content.find(blob.digest) is None:
            hint = "pull the image again: its layers are not kept here"
            raise NotFound("push image", blob.digest, "the store does not hold this blob", hint=hint)

    def push(blob: Descriptor) -> None:
        _tell(progress, blob, "Pushing")
        sink.put_blob(blob, _reader(content, blob))
        _tell(progress, blob, "Pushed")

    if not getattr(sink, "parallel", False):
        for blob in blobs.values():
            push(blob)
        return
    with ThreadPoolExecutor(PARALLEL_BLOBS, thread_name_prefix="push") as pool:
        for done in [pool.submit(push, blob) for blob in blobs.values()]:
            done.result()


def _reader(content: ContentStore, blob: Descriptor) -> Callable[[], Iterator[bytes]]:
    def read() -> Iterator[bytes]:
        with content.open(blob.digest) as file:
            while data := file.read(CHUNK_BYTES):
                yield data

    return read


def _tell(progress: Progress | None, blob: Descriptor, status: str) -> None:
    if progress is not None:
        progress.event(short(blob.digest), status, current=0, total=blob.size_bytes)
