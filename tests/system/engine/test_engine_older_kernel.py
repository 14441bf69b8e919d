"""Layers are stacked the way that kernels before 6.15 need, whatever kernel this is."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from casemate.runtime.compile import rootfs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casemate.engine.engine import Engine

pytestmark = pytest.mark.system
LAYERS = 12  # more than fsconfig's 255 bytes have room for


def layer_of(files: dict[str, str]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return data.getvalue()


@pytest.fixture(autouse=True)
def _older_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "_kernel", lambda: (6, 1))


@pytest.fixture
def image(engine: Engine, busybox_layer: bytes, write_archive: Callable[..., str], tmp_path: Path) -> str:
    """Many layers, each with a file of its own and one that all have."""
    members = [layer_of({"same": f"{n}\n", f"own-{n}": "x"}) for n in range(LAYERS)]
    config = {"Env": ["PATH=/bin"], "Cmd": ["sh"]}
    engine.images.load(
        write_archive(tmp_path / "many.tar", [busybox_layer, *members], config=config, name="many:latest")
    )
    return "many"


def test_many_layers_are_stacked_in_their_order_and_can_be_written_over(
    run: Callable[..., Any], image: str
) -> None:
    found = run("sh", "-c", "cat same; ls -d own-* | wc -l; echo new > same; cat same", image=image)

    assert found.out.split() == [str(LAYERS - 1), str(LAYERS), "new"], found.err


def test_the_stack_shows_nothing_of_the_host(run: Callable[..., Any], image: str) -> None:
    found = run("sh", "-c", "cat /proc/self/mountinfo", image=image)

    mounts = [line.split(" - ")[1].split()[0] for line in found.out.splitlines()]
    assert mounts.count("overlay") == 1, found.err


def test_a_container_of_one_layer_is_started(run: Callable[..., Any]) -> None:
    assert run("cat", "/etc/passwd").out.startswith("root:")
