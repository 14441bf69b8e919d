"""Loading archives: what was loaded is told, and a name that means something already is not taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casemate.engine.engine import Engine

import pytest

pytestmark = pytest.mark.system
BUSYBOX = "docker.io/library/busybox:latest"


@pytest.fixture
def other(busybox_layer: bytes, write_archive: Callable[..., str], tmp_path: Path) -> str:
    """An archive with another image under the name busybox:latest."""
    return write_archive(
        tmp_path / "other.tar", [busybox_layer], config={"Cmd": ["false"]}, name="busybox:latest"
    )


def test_a_name_here_keeps_its_image_and_the_new_one_is_kept_by_digest(engine: Engine, other: str) -> None:
    before = engine.images.get("busybox").digest
    told: list[tuple[str, str]] = []
    (image,) = engine.images.load(other, on_kept=lambda name, digest: told.append((name, digest)))
    assert engine.images.get("busybox").digest == before
    assert told == [(BUSYBOX, image.digest)]
    assert image.names == ()
    assert engine.images.get(image.digest).digest == image.digest != before


def test_a_name_moves_when_told_so(engine: Engine, other: str) -> None:
    (image,) = engine.images.load(other)
    assert image.names == (BUSYBOX,)
    assert engine.images.get("busybox").digest == image.digest


def test_only_the_names_in_the_archive_are_told(engine: Engine, busybox_archive: str) -> None:
    engine.images.tag("busybox", "another:name")
    (image,) = engine.images.load(busybox_archive, on_kept=lambda *_: None)
    assert image.names == (BUSYBOX,)
