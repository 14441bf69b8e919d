"""Images on their way in and out: pull, load, save.

One order for everything that comes in: lease, content, layers unpacked as they land, then the name. Killed at
any moment, what is here
is either reachable by a name or goes with the next collection; the next pull resumes at the byte where this
one stopped.
"""

from __future__ import annotations

import _thread

from casemate.core.snapshots import LayerSpec
from casemate.engine.imageconfig import load_config
from casemate.errors import AlreadyExists, CasemateError, Exhausted, NotFound
from casemate.image.manifest import chain_ids
from casemate.oci.digest import short
from casemate.oci.platform import parse_platform
from casemate.oci.reference import parse_reference
from casemate.registry.fetch import fetch_image
from casemate.store.images import ImageRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casemate.core.transport import Descriptor, ImageSource, Progress
    from casemate.engine.images import Image
    from casemate.image.config import ImageConfig
    from casemate.image.manifest import Manifest
    from casemate.registry.fetch import FetchedImage
    from casemate.store.leases import Lease
    from casemate.store.store import Store

PAST_S = 365 * 86400


class _Unpacker:
    """Unpacks each layer as soon as it and the one below it are here; called from the fetching threads."""

    def __init__(self, store: Store, lease: Lease, progress: Progress | None) -> None:
        self._store = store
        self._lease = lease
        self._progress = progress
        self._lock = _thread.allocate_lock()
        self._diff_ids: Sequence[str] = ()
        self.chain: Sequence[str] = ()
        self.size_bytes = 0

    def begin(self, manifest: Manifest, config: ImageConfig) -> None:
        """Learn what the layers are, and lease them before the first one is looked for."""
        del manifest
        self._diff_ids = config.diff_ids
        self.chain = chain_ids(config.diff_ids)
        if self.chain:
            self._lease.add("layer", *self.chain)

    def layer(self, descriptor: Descriptor, position: int) -> None:
        """Unpack one layer; the snapshotter needs no order."""
        spec = LayerSpec(
            blob_digest=descriptor.digest,
            media_type=descriptor.media_type,
            diff_id=self._diff_ids[position],
            chain_id=self.chain[position],
            parent_chain_id=self.chain[position - 1] if position else None,
        )
        self._tell(descriptor, "Extracting", 0)
        with self._store.content.open(descriptor.digest) as blob:
            usage = self._store.snapshots.unpack(spec, blob)
        with self._lock:
            self.size_bytes += usage.size_bytes
        self._tell(descriptor, "Pull complete", descriptor.size_bytes)

    def _tell(self, descriptor: Descriptor, status: str, current: int) -> None:
        if self._progress is not None:
            self._progress.event(
                short(descriptor.digest), status, current=current, total=descriptor.size_bytes
            )


def pull_image(
    store: Store, reference: str, *, platform: str | None, progress: Progress | None
) -> ImageRecord:
    """Fetch and unpack ``reference`` (or ``oci:...``, ``docker-archive:...``) and name it.

    Raises: what fetching raises.
    """
    from casemate.registry.open import open_source

    name = None if _is_other_transport(reference) else parse_reference(reference)
    source = open_source(reference)
    try:
        names = [name.canonical()] if name else [*getattr(source, "names", ())]
        record = _named(store, source, names, what=reference, platform=platform, progress=progress)
    finally:
        source.close()
    store.snapshots.settle()
    return record


def _is_other_transport(reference: str) -> bool:
    return (
        reference.startswith(("oci:", "oci-archive:", "docker-archive:", "dir:", "archive:"))
        and "/" in reference
    )


def _nameless(fetched: FetchedImage) -> str:
    """A name for an image that came without one: its digest, so that it can be used and removed."""
    return f"localhost/loaded@{fetched.manifest_digest}"


def _named(  # noqa: PLR0913 - one step of every way in
    store: Store,
    source: ImageSource,
    names: Sequence[str],
    *,
    what: str,
    progress: Progress | None,
    platform: str | None = None,
    on_kept: Callable[[str, str], None] | None = None,
) -> ImageRecord:
    """Bring one image in and give it its names; until then a lease keeps what has arrived.

    With ``on_kept`` a name that means another image keeps doing so, and is told; an image that gets no name at all
    is called by its digest.
    """
    try:
        with store.leases.hold(f"bring in {what}") as lease:
            fetched, record = _bring_in(store, source, lease, what=what, platform=platform, progress=progress)
            given = [name for name in names if _give_name(store, name, record, on_kept)]
            if not given:
                store.images.put(parse_reference(_nameless(fetched)).canonical(), record)
    except Exhausted as error:
        _make_room(store, error)
        raise
    return record


def _give_name(
    store: Store, name: str, record: ImageRecord, on_kept: Callable[[str, str], None] | None
) -> bool:
    """Whether the image has got the name."""
    canonical = parse_reference(name).canonical()
    try:
        store.images.put(canonical, record, replace=on_kept is None)
    except AlreadyExists:
        if on_kept is not None:
            on_kept(canonical, record.manifest_digest)
        return False
    return True


def _make_room(store: Store, error: Exhausted) -> None:
    """After a full disk, or a bomb: what came in is not kept for another attempt but given back."""
    try:
        store.gc()
    except (CasemateError, OSError) as failure:
        error.add_note(f"collecting what nobody uses failed as well: {failure}")


def _bring_in(
    store: Store,
    source: ImageSource,
    lease: Lease,
    *,
    what: str,
    platform: str | None,
    progress: Progress | None,
) -> tuple[FetchedImage, ImageRecord]:
    """Content and layers of one image."""
    unpacker = _Unpacker(store, lease, progress)
    fetched = fetch_image(
        source,
        content=store.content,
        platform=parse_platform(platform) if platform else None,
        progress=progress,
        on_start=lambda digests: lease.add("blob", *digests),
        on_config=unpacker.begin,
        on_layer=unpacker.layer,
        what=what,
    )
    record = ImageRecord(
        manifest_digest=fetched.manifest_digest,
        config_digest=fetched.config_digest,
        chain_ids=unpacker.chain,
        blobs=[layer.digest for layer in fetched.layers],
        platform=str(fetched.image_config.platform),
        created_ns=_time_ns(fetched.image_config.created),
        size_bytes=unpacker.size_bytes,
    )
    load_config(store, record.config_digest)
    return fetched, record


def _time_ns(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time; 0 for none or nonsense (it is only shown)."""
    import datetime as dt

    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0, int(moment.timestamp() * 10**9))


def adopt_image(store: Store, source: ImageSource, name: str, *, progress: Progress | None) -> ImageRecord:
    """The image that ``source`` holds, brought in and called ``name``.

    Raises: what fetching and unpacking raise.
    """
    record = _named(
        store, source, [parse_reference(name).canonical()], what=name, platform=None, progress=progress
    )
    store.snapshots.settle()
    return record


def load_images(
    store: Store,
    source: str | int,
    *,
    progress: Progress | None,
    on_kept: Callable[[str, str], None] | None = None,
) -> list[tuple[ImageRecord, list[str]]]:
    """Every image of an archive with the names that it gives them, in canonical form.

    ``on_kept(name, digest)``: names that mean other images here stay theirs, and it is told; None: they move.

    Raises: Invalid, Corrupt, Exhausted, Denied.
    """
    import os

    from casemate.registry.open import Archive, open_source

    path = ("-" if source == 0 else f"/proc/self/fd/{source}") if isinstance(source, int) else source
    if os.path.isdir(path):
        layout = open_source(f"oci:{path}")
        try:
            names = [*getattr(layout, "names", ())]
            record = _named(store, layout, names, what=path, progress=progress, on_kept=on_kept)
            return [(record, _names_of(store, record, names))]
        finally:
            layout.close()
    archive = Archive(path)
    try:
        if not archive.images:
            raise NotFound("load images", path, "the archive holds none")
        found = []
        for names, image in archive.images:
            record = _named(store, image, names, what=path, progress=progress, on_kept=on_kept)
            found.append((record, _names_of(store, record, names)))
    finally:
        archive.close()
    store.snapshots.settle()
    return found


def _names_of(store: Store, record: ImageRecord, names: Sequence[str]) -> list[str]:
    """Which of the names mean the image now."""
    has = set(store.images.names_of(record.manifest_digest))
    return [name for name in (parse_reference(name).canonical() for name in names) if name in has]


def save_images(store: Store, images: Sequence[tuple[str, Image]], target: str | int, *, form: str) -> None:
    """Write images into one archive; each keeps the name by which it was asked for.

    Raises: NotFound, Invalid, Denied.
    """
    from casemate.registry.open import open_sink
    from casemate.registry.push import push_image

    path = ("-" if target == 1 else f"/proc/self/fd/{target}") if isinstance(target, int) else target
    sink = open_sink(f"{form}:{path}")
    try:
        for reference, image in images:
            names = _names_for(reference, image)
            push_image(sink, image.digest, content=store.content, names=names)
        finish = getattr(sink, "finish", None)
        if finish is not None:
            finish()
    finally:
        sink.close()


def _names_for(reference: str, image: Image) -> list[str]:
    wanted = [
        name for name in image.names if parse_reference(name).familiar() == reference or name == reference
    ]
    return wanted or [name for name in image.names if "@" not in name]
