"""The images of one store."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from casemate.engine.engine import Engine


class Image:
    """One image: the manifest behind one or more names."""

    id: str
    """Digest of the configuration (``sha256:...``), docker's image id."""
    digest: str
    """Digest of the manifest."""
    names: tuple[str, ...]
    """Canonical references that point here."""

    def inspect(self) -> dict[str, Any]:
        """Docker's image inspect document."""
        raise NotImplementedError

    def summary(self) -> list[dict[str, str]]:
        """Docker's ``images`` rows, one a name: Repository, Tag, Digest, ID, CreatedSince, CreatedAt, Size, ..."""
        raise NotImplementedError

    def history(self) -> list[dict[str, Any]]:
        """Docker's history rows, newest first: ID, Created, CreatedBy, Size, Comment."""
        raise NotImplementedError


class Images:
    """Pull, find, list, tag, remove, load, save."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def pull(self, reference: str, *, platform: str | None = None) -> Image:
        """Fetch, verify and unpack an image and give it the name asked for. Raises NotFound, Unauthorized, Unavailable, Corrupt."""
        raise NotImplementedError

    def get(self, reference: str) -> Image:
        """The image with this name, id or unambiguous id prefix. Raises NotFound."""
        raise NotImplementedError

    def list(self, *, filters: Mapping[str, Sequence[str]] | None = None) -> list[Image]:
        """Every image, newest first. ``filters``: reference, label, dangling, before, since."""
        raise NotImplementedError

    def tag(self, reference: str, name: str) -> Image:
        """Give another name to an image."""
        raise NotImplementedError

    def remove(self, reference: str, *, force: bool = False) -> list[dict[str, str]]:
        """Remove a name and, with the last one, the image; docker's list of {"Untagged": ...} / {"Deleted": ...}.

        Raises: Conflict when a container uses it and not ``force``, or an id has several names.
        """
        raise NotImplementedError

    def load(self, source: str | int) -> list[Image]:
        """Images of a docker-archive, oci-archive or oci layout (path, or an open descriptor), with the names in it."""
        raise NotImplementedError

    def save(self, references: Sequence[str], target: str | int, *, format: str = "docker-archive") -> None:  # noqa: A002 - docker's word
        """Write images to one archive (path or descriptor): docker-archive or oci-archive."""
        raise NotImplementedError

    def bootstrap(self, reference: str, **options: Any) -> Image:
        """Make an image from Debian's own packages, without a registry."""
        raise NotImplementedError
