"""``oci:``: the OCI image layout in a directory; its source also serves ``oci-archive:``.

Source: OCI image-spec, "OCI Image Layout Specification".
"""

from __future__ import annotations

import os

from casemate.core.transport import Descriptor
from casemate.errors import Corrupt, Denied, Exhausted, Invalid, NotFound
from casemate.image.manifest import Index, encode_index, parse_manifest
from casemate.oci import mediatype
from casemate.oci.digest import hex_of
from casemate.oci.image_spec import (
    ANNOTATION_IMAGE_NAME,
    ANNOTATION_REF_NAME,
    LAYOUT_CONTENT,
    LAYOUT_FILE,
    LAYOUT_INDEX,
)
from casemate.oci.quoting import quoted
from casemate.oci.reference import parse_reference
from casemate.oci.strict_json import DOCUMENT_LIMIT_BYTES, loads_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from casemate.registry.files import ImageFiles


class OciLayoutSource:
    """``core.transport.ImageSource`` for one image of a layout.

    ``selector`` is a ref.name annotation, a full image name, ``@N`` (position) or a digest; "" when there is
    only one image.
    """

    def __init__(self, files: ImageFiles, selector: str = "") -> None:
        self._files = files
        self._entries = read_layout(files)
        self._chosen = _choose(self._entries, selector, files.label)
        self.names = names_of(self._chosen)

    def manifest(self, digest: str | None = None) -> tuple[bytes, str]:
        """Return (raw manifest or index, media type)."""
        known = next((entry for entry in self._entries if entry.digest == digest), None)
        entry = self._chosen if digest is None else known
        name = blob_name(entry.digest if entry is not None else digest or "")
        data = self._files.read(name, limit_bytes=DOCUMENT_LIMIT_BYTES)
        return data, entry.media_type if entry is not None else ""

    def iter_blob(self, descriptor: Descriptor, *, offset: int = 0) -> Iterator[bytes]:
        """Yield the blob's bytes from ``offset``. Raises: NotFound, Corrupt (another size than stated)."""
        name = blob_name(descriptor.digest)
        size = self._files.size_bytes(name)
        if size != descriptor.size_bytes:
            raise Corrupt(
                "read", f"{self._files.label}:{name}", f"{size} bytes, expected {descriptor.size_bytes}"
            )
        return self._files.chunks(name, offset=offset)

    def close(self) -> None:
        """Close the files."""
        self._files.close()


class OciLayoutSink:
    """``core.transport.ImageSink`` into a directory; an existing layout is added to."""

    parallel = False

    def __init__(self, path: str, name: str = "") -> None:
        self._path = path
        self._name = name
        self._types: dict[str, tuple[str, int]] = {}
        try:
            os.makedirs(f"{path}/blobs/sha256", exist_ok=True)
        except OSError as error:
            raise Denied("write image layout", path, os.strerror(error.errno or 0).lower()) from None

    def put_blob(self, descriptor: Descriptor, read: Callable[[], Iterator[bytes]]) -> None:
        """Store a blob; idempotent."""
        name = blob_name(descriptor.digest)
        try:
            present = os.stat(f"{self._path}/{name}").st_size == descriptor.size_bytes
        except FileNotFoundError:
            present = False
        if not present:
            self._write(name, read())

    def put_manifest(self, data: bytes, media_type: str, digest: str) -> None:
        """Store a manifest or index."""
        self._write(blob_name(digest), (data,))
        self._types[digest] = (media_type, len(data))

    def commit(self, digest: str, names: list[str]) -> None:
        """Name the image in index.json; an entry of the same name is replaced."""
        media_type, size = self._types[digest]
        kept = self._existing()
        fresh = [
            Descriptor(media_type, digest, size, annotations=annotations)
            for annotations in name_annotations([self._name] if self._name else names)
        ]
        taken = {entry.annotations.get(ANNOTATION_REF_NAME) for entry in fresh}
        kept = [entry for entry in kept if entry.annotations.get(ANNOTATION_REF_NAME) not in taken]
        self._write(LAYOUT_FILE, (LAYOUT_CONTENT,))
        self._write(LAYOUT_INDEX, (encode_index(Index(mediatype.OCI_INDEX, [*kept, *fresh])),))

    def close(self) -> None:
        """Nothing stays open."""

    def _existing(self) -> list[Descriptor]:
        try:
            with open(f"{self._path}/{LAYOUT_INDEX}", "rb") as file:
                data = file.read(DOCUMENT_LIMIT_BYTES + 1)
        except FileNotFoundError:
            return []
        return _entries(data, self._path)

    def _write(self, name: str, chunks: Iterable[bytes]) -> None:
        target = f"{self._path}/{name}"
        draft = f"{target}.{os.getpid()}.tmp"
        try:
            with open(draft, "wb", buffering=0) as file:
                for data in chunks:
                    view = memoryview(data)
                    while view:
                        view = view[file.write(view) :]
                os.fsync(file.fileno())
            os.replace(draft, target)
        except OSError as error:
            raise Exhausted("write image layout", target, os.strerror(error.errno or 0).lower()) from None
        finally:
            if os.path.exists(draft):
                os.unlink(draft)


def blob_name(digest: str) -> str:
    """Return the path of a blob inside a layout. Raises: Invalid for what is no digest."""
    return f"blobs/sha256/{hex_of(digest)}"


def read_layout(files: ImageFiles) -> list[Descriptor]:
    """Return the entries of index.json. Raises: Invalid, NotFound when it is no layout."""
    marker = loads_object(files.read(LAYOUT_FILE, limit_bytes=4096), what=f"oci-layout of {files.label}")
    if not str(marker.get("imageLayoutVersion", "")).startswith("1."):
        raise Invalid("read image layout", files.label, f"version {quoted(marker.get('imageLayoutVersion'))}")
    return _entries(files.read(LAYOUT_INDEX, limit_bytes=DOCUMENT_LIMIT_BYTES), files.label)


def names_of(entry: Descriptor) -> list[str]:
    """Return the full image names that an entry claims.

    A bare tag says nothing about a repository and is left out.
    """
    full = entry.annotations.get(ANNOTATION_IMAGE_NAME, "")
    if full:
        return [full]
    name = entry.annotations.get(ANNOTATION_REF_NAME, "")
    return [name] if "/" in name or ":" in name else []


def name_annotations(names: list[str]) -> list[dict[str, str]]:
    """Return the annotations of one index entry for each name, and of one entry when there are no names.

    A full reference gets both containerd's annotation and its tag; anything else is taken as a tag
    (``oci:path:tag``).
    """
    found: list[dict[str, str]] = []
    for name in names:
        if "/" in name or ":" in name:
            reference = parse_reference(name)
            found.append(
                {
                    ANNOTATION_IMAGE_NAME: reference.canonical(),
                    ANNOTATION_REF_NAME: reference.tag or reference.canonical(),
                }
            )
        else:
            found.append({ANNOTATION_REF_NAME: name})
    return found or [{}]


def _entries(data: bytes, label: str) -> list[Descriptor]:
    index = parse_manifest(data, mediatype.OCI_INDEX, what=f"index.json of {label}")
    if not isinstance(index, Index):
        raise Invalid("read image layout", label, "index.json is no index")
    return list(index.manifests)


def _choose(entries: list[Descriptor], selector: str, label: str) -> Descriptor:
    if not selector:
        if len({entry.digest for entry in entries}) == 1:
            return entries[0]
        names = ", ".join(quoted(name) for entry in entries[:16] for name in _labels(entry))
        raise Invalid("choose image", label, f"it holds {len(entries)} images", hint=f"add one of: {names}")
    if selector.startswith("@") and selector[1:].isascii() and selector[1:].isdigit():
        at = int(selector[1:6])
        if at < len(entries):
            return entries[at]
    for entry in entries:
        if selector in {*_labels(entry), entry.digest}:
            return entry
    raise NotFound("choose image", f"{quoted(selector)} in {label}", "the layout has no such image")


def _labels(entry: Descriptor) -> list[str]:
    return [
        entry.annotations[key]
        for key in (ANNOTATION_REF_NAME, ANNOTATION_IMAGE_NAME)
        if key in entry.annotations
    ]
