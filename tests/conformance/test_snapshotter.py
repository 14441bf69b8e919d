"""What every core.snapshots.Snapshotter promises, as root and as an ordinary user."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from casemate.core.snapshots import LayerSpec
from casemate.errors import AlreadyExists, Invalid, NotFound
from casemate.store.overlay.snapshotter import OverlaySnapshotter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casemate.core.snapshots import Snapshotter

pytestmark = pytest.mark.system


def layer_of(files: dict[str, bytes], *, directories: dict[str, int] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, mode in (directories or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, mode, 1_000_000
            tar.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def make_overlay(directory: Path) -> Snapshotter:
    return OverlaySnapshotter(str(directory / "overlay"))


@pytest.fixture(params=[make_overlay])
def snapshotter(request: pytest.FixtureRequest, tmp_path: Path) -> Snapshotter:
    made: Snapshotter = request.param(tmp_path)
    return made


@pytest.fixture
def unpack(snapshotter: Snapshotter, tmp_path: Path) -> Callable[..., str]:
    def run(data: bytes, parent: str | None = None) -> str:
        digest = digest_of(data)
        chain = digest if parent is None else digest_of(f"{parent} {digest}".encode())
        path = (
            tmp_path / f"{digest[7:]}-{threading.get_ident()}"
        )  # another thread may be reading the same layer's
        path.write_bytes(data)
        spec = LayerSpec(
            blob_digest=digest, media_type="tar", diff_id=digest, chain_id=chain, parent_chain_id=parent
        )
        with path.open("rb", buffering=0) as blob:
            usage = snapshotter.unpack(spec, blob)
        assert usage.inodes >= 0
        return chain

    return run


BASE = layer_of({"etc/passwd": b"root"}, directories={"etc": 0o755, "private": 0o700})


def test_unpacking_is_idempotent_and_removable(snapshotter: Snapshotter, unpack: Callable[..., str]) -> None:
    chain = digest_of(BASE)
    assert not snapshotter.has_layer(chain)
    assert unpack(BASE) == unpack(BASE) == chain
    assert snapshotter.has_layer(chain)
    snapshotter.remove_layer(chain)
    snapshotter.remove_layer(chain)
    assert not snapshotter.has_layer(chain)


def test_eight_unpackings_of_one_layer_all_succeed(
    snapshotter: Snapshotter, unpack: Callable[..., str]
) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            unpack(BASE)
        except BaseException as error:  # noqa: BLE001 - reported by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert snapshotter.has_layer(digest_of(BASE))


def test_a_root_lists_its_layers_topmost_first(snapshotter: Snapshotter, unpack: Callable[..., str]) -> None:
    base = unpack(BASE)
    top = unpack(layer_of({"new": b"1"}), base)
    made = snapshotter.create_root("c1", top, owner_base=None)
    found = snapshotter.rootfs("c1")
    assert made.lowers == found.lowers
    assert len(made.lowers) == 2
    assert os.path.exists(made.lowers[0] + "/new")
    assert os.path.exists(made.lowers[1] + "/etc/passwd")
    assert made.upper is not None
    assert made.work is not None
    assert os.path.isdir(made.upper)
    assert os.path.isdir(made.work)


def test_a_root_over_a_missing_layer_is_not_found(
    snapshotter: Snapshotter, unpack: Callable[..., str]
) -> None:
    with pytest.raises(NotFound):
        snapshotter.create_root("c1", digest_of(b"nothing"), owner_base=None)
    orphan = unpack(layer_of({"f": b"1"}), digest_of(b"nothing"))
    with pytest.raises(NotFound):
        snapshotter.create_root("c1", orphan, owner_base=None)
    with pytest.raises(NotFound):
        snapshotter.rootfs("c1")


def test_creating_a_root_again_returns_it_and_other_use_is_refused(
    snapshotter: Snapshotter, unpack: Callable[..., str]
) -> None:
    base = unpack(BASE)
    first = snapshotter.create_root("c1", base, owner_base=None)
    assert first.upper is not None
    with open(first.upper + "/written", "w", encoding="ascii") as file:
        file.write("x")
    again = snapshotter.create_root("c1", base, owner_base=None)
    assert again.upper == first.upper
    assert os.path.exists(first.upper + "/written")
    with pytest.raises(AlreadyExists):
        snapshotter.create_root("c1", None, owner_base=None)


def test_removing_a_root_twice_is_success(snapshotter: Snapshotter) -> None:
    snapshotter.create_root("c1", None, owner_base=None)
    snapshotter.remove_root("c1")
    snapshotter.remove_root("c1")
    with pytest.raises(NotFound):
        snapshotter.rootfs("c1")


def test_usage_grows_with_what_is_written(snapshotter: Snapshotter) -> None:
    root = snapshotter.create_root("c1", None, owner_base=None)
    before = snapshotter.usage("c1")
    with open(f"{root.upper}/big", "wb") as file:
        file.write(b"x" * 100_000)
    os.link(f"{root.upper}/big", f"{root.upper}/same")
    after = snapshotter.usage("c1")
    assert after.inodes == before.inodes + 1
    assert 100_000 <= after.size_bytes - before.size_bytes < 200_000


def test_sweep_removes_only_what_is_not_live(snapshotter: Snapshotter, unpack: Callable[..., str]) -> None:
    base = unpack(BASE)
    top = unpack(layer_of({"new": b"1"}), base)
    other = unpack(layer_of({"other": b"1"}))
    snapshotter.create_root("live", top, owner_base=None)
    snapshotter.create_root("dead", other, owner_base=None)
    removed = snapshotter.sweep(set(), {"live"})
    assert snapshotter.has_layer(base)
    assert snapshotter.has_layer(top)
    assert not snapshotter.has_layer(other)
    assert snapshotter.rootfs("live").lowers
    assert len(removed) == 2
    assert snapshotter.sweep(set(), {"live"}) == []


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "../x", "a\0b", "x" * 200, ".hidden", "ä"])
def test_a_key_that_is_no_plain_name_is_invalid(snapshotter: Snapshotter, key: str) -> None:
    with pytest.raises(Invalid):
        snapshotter.create_root(key, None, owner_base=None)
    with pytest.raises(Invalid):
        snapshotter.remove_root(key)


def test_directories_that_a_layer_only_implies_keep_their_mode_from_below(
    snapshotter: Snapshotter, unpack: Callable[..., str]
) -> None:
    """Symptom elsewhere: a layer that brings private/key opens /private, 0700 below, to everybody."""
    base = unpack(BASE)
    top = unpack(layer_of({"private/key": b"secret", "fresh/file": b"1"}), base)
    root = snapshotter.create_root("c1", top, owner_base=None)
    assert os.stat(root.lowers[0] + "/private").st_mode & 0o7777 == 0o700
    assert os.stat(root.lowers[0] + "/private").st_mtime == 1_000_000
    assert os.stat(root.lowers[0] + "/fresh").st_mode & 0o7777 == 0o755
