"""Snapshotters: unpacked layers, and writable root file systems stacked on them.

A *layer* is identified by its chain id (OCI image-spec, "Layer ChainID") and is immutable once committed. A
*root* is the writable top of one container, identified by the container id. ``rootfs`` does not mount
anything: it returns what the runtime needs to mount the root inside the container's own mount namespace, so
that no mount of ours ever appears on the host.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO, Protocol
else:
    Protocol = object


class RootFs:
    """What the runtime mounts as ``/``.

    kind ``overlay``: ``lowers`` topmost first, plus ``upper`` and ``work`` (None for a read-only view).
    kind ``bind``: ``lowers[0]`` is an existing directory.
    ``stored_uid_base`` is the host uid/gid that owns what the image calls uid 0 on disk inside ``lowers``;
    ``upper`` is owned by the container's own base (``owner_base``). Rootless: both None, no id mapping of layers.
    ``userxattr`` asks overlayfs for ``user.overlay.*`` attributes.
    """

    __slots__ = ("kind", "lowers", "owner_base", "stored_uid_base", "upper", "userxattr", "work")

    def __init__(  # noqa: PLR0913 - a plain value
        self,
        kind: str,
        lowers: Sequence[str],
        *,
        upper: str | None = None,
        work: str | None = None,
        stored_uid_base: int | None = None,
        owner_base: int | None = None,
        userxattr: bool = True,
    ) -> None:
        self.kind = kind
        self.lowers = tuple(lowers)
        self.upper = upper
        self.work = work
        self.stored_uid_base = stored_uid_base
        self.owner_base = owner_base
        self.userxattr = userxattr


class Usage:
    """Disk use of a snapshot: bytes allocated and number of inodes."""

    __slots__ = ("inodes", "size_bytes")

    def __init__(self, size_bytes: int, inodes: int) -> None:
        self.size_bytes = size_bytes
        self.inodes = inodes


class LayerSpec:
    """One layer to unpack: the blob, its media type and the digests that its content must have."""

    __slots__ = ("blob_digest", "chain_id", "diff_id", "media_type", "parent_chain_id")

    def __init__(
        self, *, blob_digest: str, media_type: str, diff_id: str, chain_id: str, parent_chain_id: str | None
    ) -> None:
        self.blob_digest = blob_digest
        self.media_type = media_type
        self.diff_id = diff_id
        self.chain_id = chain_id
        self.parent_chain_id = parent_chain_id


class Snapshotter(Protocol):
    """Layers and roots. All methods are idempotent; a crash leaves only directories that ``sweep`` removes."""

    name: str

    def has_layer(self, chain_id: str) -> bool:
        """Tell whether the layer is committed."""

    def unpack(self, layer: LayerSpec, blob: BinaryIO) -> Usage:
        """Decompress, verify ``diff_id`` and commit one layer. Streams; raises Corrupt, Exhausted, Invalid (hostile archive)."""

    def remove_layer(self, chain_id: str) -> None:
        """Remove a committed layer; absent is success."""

    def create_root(self, key: str, chain_id: str | None, *, owner_base: int | None) -> RootFs:
        """Create the writable top of a container over ``chain_id`` (None: an empty image)."""

    def rootfs(self, key: str) -> RootFs:
        """Return an existing root. Raises NotFound."""

    def remove_root(self, key: str) -> None:
        """Delete the writable top; absent is success."""

    def usage(self, key: str) -> Usage:
        """Measure the writable top."""

    def sweep(self, live_layers: set[str], live_roots: set[str]) -> list[str]:
        """Remove everything half-made or not listed; return what was removed."""
