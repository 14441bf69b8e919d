"""Make an image from a recipe: look into the store first, build what is missing, bring it in like any other image."""

from __future__ import annotations

import hashlib
import os

from casemate.engine.bootstrap.recipe import parse_recipe
from casemate.engine.bootstrap.source import KEY_LABEL, BuiltSource, compress_layer
from casemate.engine.bootstrap.workplace import workplace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from casemate.engine.bootstrap.recipe import Recipe
    from casemate.engine.engine import Engine
    from casemate.engine.images import Image


def bootstrap_image(
    engine: Engine, reference: str, *, include: Sequence[str] = (), mirror: str = "", refresh: bool = False
) -> Image:
    """The image ``busybox`` or ``debian:SUITE`` made from Debian's packages, named and unpacked.

    An image of this name that was made from the same recipe is used as it is, unless ``refresh``.
    Raises: Unsupported or Invalid (recipe), NotFound (mmdebstrap or busybox is not installed), Unavailable (the packages).
    """
    recipe = parse_recipe(reference, include)
    key = recipe.key(mirror, _program_digest(recipe))
    if not refresh:
        found = _cached(engine, recipe.reference, key)
        if found is not None:
            _tell(engine, recipe, "Already made from the same recipe")
            return found
    with workplace(engine.store.paths) as directory:
        tar_path = os.path.join(directory, "rootfs.tar")
        _build(engine, recipe, mirror, tar_path)
        _tell(engine, recipe, "Compressing")
        with open(tar_path, "rb") as tar:
            layer = compress_layer(tar, os.path.join(directory, "layer.tar.gz"))
        os.unlink(tar_path)
        return engine.images.adopt(BuiltSource(recipe, key, layer), recipe.reference)


def _program_digest(recipe: Recipe) -> str:
    """Digest of the busybox that is copied in; empty for debian, whose packages are the mirror's present ones."""
    if recipe.kind != "busybox":
        return ""
    from casemate.engine.bootstrap.busybox import find_busybox

    with open(find_busybox(), "rb") as program:
        return hashlib.file_digest(program, "sha256").hexdigest()


def _cached(engine: Engine, reference: str, key: str) -> Image | None:
    """The image of this name, if it was made from the recipe ``key``."""
    record = engine.images.find(reference)
    if record is None:
        return None
    image = engine.images.get(reference)
    return image if (image.config.get("labels") or {}).get(KEY_LABEL) == key else None


def _build(engine: Engine, recipe: Recipe, mirror: str, tar_path: str) -> None:
    """Write the root file system's tar."""
    if recipe.kind == "busybox":
        from casemate.engine.bootstrap.busybox import find_busybox, write_rootfs

        with open(tar_path, "wb") as out:
            write_rootfs(out, find_busybox(), recipe.epoch)
        return
    from casemate.engine.bootstrap.debian import build_debian

    build_debian(engine, recipe, mirror, tar_path)


def _tell(engine: Engine, recipe: Recipe, status: str) -> None:
    """Report progress under the image's name."""
    if engine.progress is not None:
        engine.progress.event(recipe.reference, status)
