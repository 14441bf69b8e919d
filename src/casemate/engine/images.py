"""The images of one store."""

from __future__ import annotations

from casemate.engine.imageconfig import load_config
from casemate.errors import Conflict, Invalid, NotFound
from casemate.oci.reference import parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from casemate.core.transport import ImageSource
    from casemate.engine.engine import Engine
    from casemate.store.images import ImageRecord
    from casemate.store.store import Store

MIN_ID = 4


class Image:
    """One image: the manifest behind one or more names.

    ``id`` is the digest of the configuration (docker's image id), ``digest`` of the manifest, ``names`` the
    canonical references that
    mean it.
    """

    __slots__ = ("_store", "digest", "id", "names", "record")

    def __init__(self, store: Store, record: ImageRecord, names: Sequence[str]) -> None:
        self._store = store
        self.record = record
        self.id = record.config_digest
        self.digest = record.manifest_digest
        self.names = tuple(names)

    @property
    def config(self) -> dict[str, Any]:
        """What the engine knows of the configuration.

        Entrypoint, cmd, env, user, workdir, volumes, labels, ...
        """
        return load_config(self._store, self.record.config_digest)

    def inspect(self) -> dict[str, Any]:
        """Docker's image inspect document."""
        from casemate.engine.show.image import inspect_image

        return inspect_image(self._store, self)

    def summary(self) -> list[dict[str, str]]:
        """Docker's ``images`` rows, one a name.

        Repository, Tag, Digest, ID, CreatedSince, CreatedAt, Size, ...
        """
        from casemate.engine.show.image import summarize_image

        return summarize_image(self._store, self)

    def history(self) -> list[dict[str, Any]]:
        """Docker's history rows, newest first: ID, Created, CreatedBy, Size, Comment."""
        from casemate.engine.show.image import image_history

        return image_history(self._store, self)


class Images:
    """Pull, find, list, tag, remove, load, save."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store

    def ensure(self, reference: str, pull: str, *, platform: str | None = None) -> ImageRecord:
        """The record of an image that is to be run, pulled if ``pull`` (missing, always, never) says so.

        Raises: NotFound (pull "never"), Invalid, and whatever a pull raises.
        """
        if pull not in {"missing", "always", "never", ""}:
            raise Invalid("use pull policy", repr(pull), "unknown", hint="missing, always or never")
        if pull == "always":
            return self.pull(reference, platform=platform).record
        found = self.find(reference)
        if found is not None and platform and not _suits(found.platform, platform):
            found = None
        if found is not None:
            return found
        if pull == "never":
            raise NotFound("find image", reference, "no such image here", hint=f"casemate pull {reference}")
        return self.pull(reference, platform=platform).record

    def find(self, reference: str) -> ImageRecord | None:
        """The record that a name, an id or the start of one means; None when there is none.

        Raises: Conflict (ambiguous).
        """
        try:
            canonical = parse_reference(reference).canonical()
        except Invalid:
            canonical = ""  # an id cannot be a name, or a name no id
        found = self._store.images.find_exact(canonical) if canonical else None
        return found or self._store.images.find(reference)

    def pull(self, reference: str, *, platform: str | None = None) -> Image:
        """Fetch, verify and unpack an image and give it the name asked for.

        Raises: NotFound, Unauthorized, Unavailable, Corrupt, Exhausted, Invalid.
        """
        from casemate.engine.transfer import pull_image

        return self._image(
            pull_image(self._store, reference, platform=platform, progress=self._engine.progress)
        )

    def get(self, reference: str) -> Image:
        """The image with this name, id or unambiguous id prefix. Raises NotFound, Conflict."""
        found = self.find(reference)
        if found is None:
            raise NotFound("find image", reference, "no such image", hint="casemate images lists them")
        return self._image(found)

    def list(self, *, filters: Mapping[str, Sequence[str]] | None = None) -> list[Image]:
        """Every image, newest first.

        ``filters``: reference, label, dangling, before, since. Raises: Invalid.
        """
        grouped: dict[str, list[ImageRecord]] = {}
        for record in self._store.images.list():
            grouped.setdefault(record.manifest_digest, []).append(record)
        found = [
            Image(self._store, group[0], [record.name for record in group]) for group in grouped.values()
        ]
        found += [Image(self._store, record, ()) for record in self._store.images.list_unnamed()]
        found.sort(key=lambda image: -image.record.created_ns)
        if filters:
            from casemate.engine.show.image import matching_images

            found = matching_images(found, filters)
        return found

    def tag(self, reference: str, name: str) -> Image:
        """Give another name to an image. Raises: NotFound, Invalid (a digest in the name)."""
        record = self.get(reference).record
        target = parse_reference(name)
        if target.digest:
            raise Invalid("tag image", name, "a name may not hold a digest")
        self._store.images.put(target.canonical(), record)
        return self._image(record)

    def remove(self, reference: str, *, force: bool = False) -> Sequence[dict[str, str]]:
        """Remove a name and, with the last one, the image; docker's list of {"Untagged": ...} / {"Deleted".

        ...}.

        Raises: Conflict when a container uses it and not ``force``, or an id has several names and not
        ``force``.
        """
        image = self.get(reference)
        by_name = image.record.name if _is_name(reference, image) else ""
        going = [by_name] if by_name else [*image.names]
        if not by_name and len(going) > 1 and not force:
            raise Conflict(
                "remove image",
                reference,
                "it has several names",
                hint=f"remove one of them, or use --force: {', '.join(going)}",
            )
        is_last = len(going) == len(image.names)
        users = self._users(image) if is_last else []
        if users and not force:
            raise Conflict(
                "remove image", reference, f"container {users[0][:12]} uses it", hint="casemate rm it first"
            )
        done = []
        for name in going:
            self._store.images.remove(name)
            done.append({"Untagged": parse_reference(name).familiar()})
        if is_last and not users:
            done += self._delete(image)
        return done

    def _delete(self, image: Image) -> Sequence[dict[str, str]]:
        """Collect what nothing reaches any more."""
        from casemate.engine.imageconfig import forget_config

        removed = self._store.gc().removed
        if self._store.images.find_manifest(image.digest) is None:
            forget_config(self._store, image.id)
        layers = [{"Deleted": what.removeprefix("layer ")} for what in removed if what.startswith("layer ")]
        return [{"Deleted": image.id}, *layers]

    def _users(self, image: Image) -> Sequence[str]:
        """Ids of the containers that were made from this manifest."""
        return [row.id for row in self._store.containers.list() if row.image_digest == image.digest]

    def load(
        self, source: str | int, *, on_kept: Callable[[str, str], None] | None = None
    ) -> Sequence[Image]:
        """Images of a docker-archive, oci-archive or oci layout (path, or an open descriptor), with the names in it.

        ``on_kept(name, digest of the new image)``: names that mean other images here stay theirs, and it is told;
        None: they move.

        Raises: Invalid, Corrupt, Exhausted, Denied.
        """
        from casemate.engine.transfer import load_images

        return [
            Image(self._store, record, names)
            for record, names in load_images(
                self._store, source, progress=self._engine.progress, on_kept=on_kept
            )
        ]

    def save(
        self,
        references: Sequence[str],
        target: str | int,
        *,
        format: str = "docker-archive",  # noqa: A002 - docker's word
    ) -> None:
        """Write images to one archive (path or descriptor): docker-archive or oci-archive.

        Raises: NotFound, Invalid.
        """
        from casemate.engine.transfer import save_images

        save_images(
            self._store, [(reference, self.get(reference)) for reference in references], target, form=format
        )

    def adopt(self, source: ImageSource, name: str) -> Image:
        """Take an image from any source and give it ``name``. Raises: what fetching and unpacking raise."""
        from casemate.engine.transfer import adopt_image

        return self._image(adopt_image(self._store, source, name, progress=self._engine.progress))

    def bootstrap(
        self, reference: str, *, include: Sequence[str] = (), mirror: str = "", refresh: bool = False
    ) -> Image:
        """Make an image from Debian's own packages, without a registry: see ``engine.bootstrap.make``."""
        from casemate.engine.bootstrap.make import bootstrap_image

        return bootstrap_image(self._engine, reference, include=include, mirror=mirror, refresh=refresh)

    def _image(self, record: ImageRecord) -> Image:
        return Image(self._store, record, self._store.images.names_of(record.manifest_digest))


def _is_name(reference: str, image: Image) -> bool:
    """Whether ``reference`` named the image, and was not its id."""
    try:
        return parse_reference(reference).canonical() in image.names
    except Invalid:
        return False


def _suits(have: str, wanted: str) -> bool:
    """Whether an image of platform ``have`` is what was asked for."""
    from casemate.oci.platform import parse_platform

    return not have or parse_platform(wanted).rank_of(parse_platform(have)) is not None
