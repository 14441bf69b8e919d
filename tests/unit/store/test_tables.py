"""Names, containers, uid ranges, leases and collection: what each table promises the engine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from casemate.errors import AlreadyExists, Conflict, Denied, Exhausted, Internal, Invalid, NotFound
from casemate.store import ranges
from casemate.store.containers import ContainerRow
from casemate.store.images import ImageRecord
from casemate.store.paths import StorePaths, default_paths
from casemate.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

A, B, C, D = (f"sha256:{digit * 64}" for digit in "abcd")
NAME = "docker.io/library/x:latest"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(StorePaths(f"{tmp_path}/root", f"{tmp_path}/run")) as opened:
        yield opened


def record(manifest: str = A, config: str = B, **more: object) -> ImageRecord:
    return ImageRecord(manifest_digest=manifest, config_digest=config, **more)  # type: ignore[arg-type]


def test_an_image_is_found_by_name_digest_and_beginning(store: Store) -> None:
    store.images.put(
        NAME, record(chain_ids=[C, D], blobs=[D], size_bytes=7, created_ns=8, platform="linux/amd64")
    )
    for reference in (NAME, A, B, "a" * 12, "bbbb", "sha256:bbbb"):
        found = store.images.find(reference)
        assert found is not None
        assert (found.name, found.chain_ids, found.blobs) == (NAME, (C, D), (D,))
        assert (found.chain_id, found.size_bytes, found.created_ns, found.platform) == (
            D,
            7,
            8,
            "linux/amd64",
        )
    for reference in ("", "bbb", "cccc", "nothing", "'; DROP TABLE names; --"):
        assert store.images.find(reference) is None
    with pytest.raises(NotFound):
        store.images.get("other")


def test_an_ambiguous_beginning_is_a_conflict_and_one_image_with_two_names_is_not(store: Store) -> None:
    store.images.put("one", record())
    store.images.put("two", record())
    found = store.images.find("bbbb")
    assert found is not None
    assert store.images.names_of(A) == ("one", "two")
    store.images.put("three", record(C, "sha256:bbbb" + "0" * 60))
    with pytest.raises(Conflict):
        store.images.find("bbbb")


def test_importing_never_overwrites_a_name(store: Store) -> None:
    store.images.put(NAME, record())
    with pytest.raises(AlreadyExists):
        store.images.put(NAME, record(C), replace=False)
    store.images.put(NAME, record(), replace=False)
    assert store.images.get(NAME).manifest_digest == A
    store.images.put(NAME, record(C))
    assert store.images.get(NAME).manifest_digest == C
    assert [image.manifest_digest for image in store.images.list_unnamed()] == [A]
    assert store.images.remove(NAME)
    assert not store.images.remove(NAME)


def test_digests_are_checked_before_they_are_stored(store: Store) -> None:
    with pytest.raises(Invalid):
        record("sha256:../../x")
    with pytest.raises(Invalid):
        store.images.put("", record())


def row(digit: str, name: str, **more: object) -> ContainerRow:
    return ContainerRow(id=digit * 64, name=name, **more)  # type: ignore[arg-type]


def test_a_container_is_found_by_id_name_and_beginning_in_that_order(store: Store) -> None:
    store.containers.insert(row("a", "web", config='{"x": 1}', created_ns=1))
    store.containers.insert(row("b", "aaaa", created_ns=2))
    assert store.containers.get("a" * 64).name == "web"
    assert store.containers.get("web").config == '{"x": 1}'
    assert store.containers.get("aaaa").id == "b" * 64, "a name wins over the beginning of an id"
    assert store.containers.get("aaa").name == "web"
    assert [found.name for found in store.containers.list()] == ["aaaa", "web"]
    for nothing in ("", "c", "%", "a%"):
        assert store.containers.find(nothing) is None
    with pytest.raises(NotFound):
        store.containers.get("c")


def test_a_name_belongs_to_one_container(store: Store) -> None:
    store.containers.insert(row("a", "web"))
    with pytest.raises(AlreadyExists, match="used by container aaaaaaaaaaaa"):
        store.containers.insert(row("b", "web"))
    store.containers.insert(row("b", "db"), durable=False)
    with pytest.raises(AlreadyExists):
        store.containers.update("b" * 64, name="web")
    assert store.containers.remove("a" * 64)
    store.containers.update("b" * 64, name="web", state="running", pid=7, auto_remove=True)
    found = store.containers.get("web")
    assert (found.state, found.pid, found.auto_remove) == ("running", 7, 1)
    assert [found.id[0] for found in store.containers.list(["running", "paused"])] == ["b"]
    assert store.containers.list([]) == []


def test_updating_what_is_not_there_or_not_a_column_is_an_error(store: Store) -> None:
    with pytest.raises(NotFound):
        store.containers.update("a" * 64, state="x")
    for columns in ({}, {"id": "b"}, {"state='x', name": "y"}):
        with pytest.raises(Internal):
            store.containers.update("a" * 64, **columns)


def test_two_beginnings_are_a_conflict(store: Store) -> None:
    store.containers.insert(ContainerRow(id="a" * 63 + "0", name="x"))
    store.containers.insert(ContainerRow(id="a" * 63 + "1", name="y"))
    with pytest.raises(Conflict):
        store.containers.get("aaa")


def test_a_container_and_its_ids_come_and_go_together(store: Store) -> None:
    base = store.containers.insert(row("a", "web"), with_range=True)
    assert base == store.ranges.find("a" * 64)
    with pytest.raises(AlreadyExists):
        store.containers.insert(row("b", "web"), with_range=True)
    assert store.ranges.holders() == {"a" * 64}, "a refused container takes no ids"
    assert store.containers.insert(row("c", "db")) is None
    store.containers.remove("a" * 64)
    assert store.ranges.holders() == set()


def test_ids_that_deleted_files_still_carry_are_not_given(store: Store) -> None:
    next_bases = {0x40010000, 0x40020000}
    assert store.containers.insert(row("a", "web"), with_range=True, avoid=next_bases) == 0x40030000


def test_ranges_are_unique_stable_and_come_back_last(store: Store) -> None:
    first = store.ranges.allocate("c1")
    assert first == 0x40010000
    assert store.ranges.allocate("c1") == first
    second = store.ranges.allocate("c2")
    store.ranges.release("c1")
    store.ranges.release("c1")
    assert store.ranges.find("c1") is None
    assert store.ranges.allocate("c3") not in {first, second}
    assert store.ranges.holders() == {"c2", "c3"}


def test_ranges_wrap_around_and_run_out_with_advice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "SLOT_COUNT", 3)
    bases = [store.ranges.allocate(f"c{number}") for number in range(3)]
    assert len(set(bases)) == 3
    with pytest.raises(Exhausted, match="3 ranges"):
        store.ranges.allocate("c3")
    store.ranges.release("c1")
    assert store.ranges.allocate("c3") == bases[1]


def test_parallel_allocations_are_all_different(store: Store) -> None:
    bases: list[int] = []
    threads = [
        threading.Thread(target=lambda number=number: bases.append(store.ranges.allocate(f"c{number}")))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(bases)) == 16


def test_the_pool_never_reaches_a_negative_uid() -> None:
    last = ranges.POOL_BASE + ranges.SLOT_COUNT * ranges.RANGE_SIZE + ranges.RANGE_SIZE - 1
    assert last < 1 << 31


def test_collection_keeps_what_images_containers_and_leases_reach(store: Store) -> None:
    kept, named, used, loose = (store.content.put(data).digest for data in (b"1", b"2", b"3", b"4"))
    store.images.put("n", record(named, named, blobs=[named]))
    store.images.put("u", record(used, used))
    store.containers.insert(ContainerRow(id="c" * 64, name="c", image_digest=used))
    store.images.remove("u")
    with store.leases.hold("pull") as lease:
        lease.add("blob", kept)
        collected = store.gc()
        assert collected.removed == [f"blob {loose}"]
        assert collected.blob_bytes == 1
    assert {blob.digest for blob in store.content.iter_blobs()} == {kept, named, used}
    store.containers.remove("c" * 64)
    store.gc()
    assert {blob.digest for blob in store.content.iter_blobs()} == {named}
    assert store.images.find_manifest(used) is None


def test_a_lease_ends_with_its_process_and_with_its_time(store: Store) -> None:
    code = (
        "import os, sys; from casemate.store.store import Store; from casemate.store.paths import StorePaths;"
        "s = Store.open(StorePaths(*sys.argv[1:])); l = s.leases.hold('x');"
        "l.add('blob', s.content.put(b'x').digest);"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, store.paths.root, store.paths.run_root], check=False)
    assert len(list(store.content.iter_blobs())) == 1
    store.gc()
    assert list(store.content.iter_blobs()) == []
    old = store.leases.hold("old", ttl_s=-1)
    old.add("blob", store.content.put(b"y").digest)
    store.gc()
    assert list(store.content.iter_blobs()) == []


def test_a_lease_knows_its_kinds(store: Store) -> None:
    with store.leases.hold("x") as lease, pytest.raises(Invalid):
        lease.add("bolb", A)


def test_collection_frees_ranges_only_without_container_and_root(store: Store) -> None:
    store.ranges.allocate("gone")
    store.ranges.allocate("c" * 64)
    store.containers.insert(row("c", "c"))
    store.gc()
    assert store.ranges.holders() == {"c" * 64}


def test_paths_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CASEMATE_ROOT", f"{tmp_path}/r/")
    monkeypatch.setenv("CASEMATE_RUN_ROOT", f"{tmp_path}/q")
    assert (default_paths().root, default_paths().run_root) == (f"{tmp_path}/r", f"{tmp_path}/q")
    monkeypatch.delenv("CASEMATE_ROOT")
    monkeypatch.delenv("CASEMATE_RUN_ROOT")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert (default_paths().root, default_paths().run_root) == (
        "/home/u/.local/share/casemate",
        f"{tmp_path}/casemate",
    )
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_paths().run_root == "/tmp/casemate-1000"
    monkeypatch.delenv("HOME")
    with pytest.raises(Invalid, match="HOME"):
        default_paths()


def test_state_directories_are_made_private_and_foreign_ones_refused(tmp_path: Path) -> None:
    paths = StorePaths(f"{tmp_path}/a/b/root", f"{tmp_path}/run")
    (tmp_path / "run").mkdir(mode=0o777)
    paths.ensure()
    assert (tmp_path / "a/b/root").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_text("x")
    with pytest.raises(Denied, match="not a directory"):
        StorePaths(f"{tmp_path}/file", f"{tmp_path}/run").ensure()
    theirs = "/usr" if os.geteuid() else str(foreign(tmp_path))
    with pytest.raises(Denied, match="belongs to uid"):
        StorePaths(theirs, f"{tmp_path}/run").ensure()
    with pytest.raises(Invalid):
        StorePaths("relative", "/run")


def foreign(tmp_path: Path) -> Path:
    """A directory of somebody else."""
    path = tmp_path / "theirs"
    path.mkdir()
    os.chown(path, 12345, 12345)
    return path
