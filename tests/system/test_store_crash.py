"""Whenever a process of ours dies, the store opens, verifies, cleans up and does the same work again."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import signal
import stat
import subprocess
import sys
import tarfile
import time
from typing import TYPE_CHECKING

import pytest

from casemate.core.snapshots import LayerSpec
from casemate.errors import Exhausted
from casemate.store.content import FileContentStore
from casemate.store.paths import StorePaths
from casemate.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.slow]

ROUNDS = 40
WORK = """
import sys
from casemate.core.snapshots import LayerSpec
from casemate.store.containers import ContainerRow
from casemate.store.images import ImageRecord
from casemate.store.paths import StorePaths
from casemate.store.store import Store
import hashlib, os
base, source = sys.argv[1:]
data = open(source, "rb").read()
digest = "sha256:" + hashlib.sha256(data).hexdigest()
spec = LayerSpec(blob_digest=digest, media_type="t", diff_id=digest, chain_id=digest, parent_chain_id=None)
with Store.open(StorePaths(base + "/root", base + "/run")) as store, store.leases.hold("work") as lease:
    store.content, store.snapshots
    print("ready", flush=True)
    for turn in range(1000):
        lease.add("blob", digest); lease.add("layer", digest)
        with store.content.ingest("key", digest=digest, size_bytes=len(data)) as ingest:
            for start in range(ingest.offset, len(data), 40000):
                ingest.write(data[start:start + 40000])
            ingest.commit()
        with store.content.open(digest) as blob:
            store.snapshots.unpack(spec, blob)
        store.images.put("img", ImageRecord(manifest_digest=digest, config_digest=digest, chain_ids=[digest]))
        name = os.urandom(32).hex()
        store.containers.insert(ContainerRow(id=name, name=name), durable=turn % 2 == 0)
        base_uid = None if os.geteuid() else store.ranges.allocate(name)
        store.snapshots.create_root(name, digest, owner_base=base_uid)
        store.snapshots.remove_root(name)
        store.ranges.release(name)
        store.containers.remove(name)
        store.images.remove("img")
        store.snapshots.remove_layer(digest)
        store.content.delete(digest)
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "layer.tar"
    chance = random.Random(7)  # noqa: S311 - the same archive each time
    with tarfile.open(path, "w") as tar:
        for number in range(300):
            info = tarfile.TarInfo(f"d{number % 10}/f{number}")
            data = chance.randbytes(chance.randrange(6000))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_kill_at_any_moment_loses_nothing_and_leaves_nothing(archive: Path, tmp_path: Path) -> None:
    chance = random.Random(os.getpid())  # noqa: S311 - other moments each time
    for _ in range(ROUNDS):
        argv = [sys.executable, "-c", WORK, str(tmp_path), str(archive)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            deadline = time.monotonic() + chance.random() * 0.25
            while time.monotonic() < deadline:
                pass
            process.send_signal(signal.SIGKILL)
        check_and_retry(archive, tmp_path)


def check_and_retry(archive: Path, base: Path) -> None:
    """The store verifies, is swept clean, and accepts the same blob and layer."""
    data = archive.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    spec = LayerSpec(
        blob_digest=digest, media_type="t", diff_id=digest, chain_id=digest, parent_chain_id=None
    )
    with Store.open(StorePaths(f"{base}/root", f"{base}/run")) as store:
        assert store.database.check() == []
        for blob in store.content.iter_blobs():
            assert store.content.verify(blob.digest), "a blob that is not what its name says"
        for row in store.containers.list():
            store.snapshots.remove_root(row.id)
            store.ranges.release(row.id)
            store.containers.remove(row.id)
        store.images.remove("img")
        store.gc()
        root = f"{base}/root"
        # A worker that was being spawned has our locks until it is executed: then it was still somebody's stage.
        deadline = time.monotonic() + 10
        while os.listdir(f"{root}/overlay/staging") and time.monotonic() < deadline:
            store.gc()
        assert os.listdir(f"{root}/overlay/staging") == []
        assert os.listdir(f"{root}/overlay/trash") == []
        assert os.listdir(f"{root}/overlay/layers") == []
        assert os.listdir(f"{root}/overlay/roots") == []
        assert os.listdir(f"{root}/content/blobs/sha256") == []
        assert store.ranges.holders() == set()
        assert store.database.read("SELECT count(*) FROM leases") == [(0,)]
        with store.content.ingest("key", digest=digest, size_bytes=len(data)) as ingest:
            ingest.write(data[ingest.offset :])
            ingest.commit()
        with store.content.open(digest) as opened:
            assert store.snapshots.unpack(spec, opened).inodes == 300
        store.gc()


def test_a_worker_dies_with_its_parent(archive: Path, tmp_path: Path) -> None:
    """No extraction goes on behind the back of a killed command (the leak check sees processes)."""
    argv = [sys.executable, "-c", WORK, str(tmp_path), str(archive)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        deadline = time.monotonic() + 20
        workers: list[str] = []
        while not workers and time.monotonic() < deadline:
            with open(children, encoding="ascii") as file:
                workers = file.read().split()
        process.kill()
    assert workers
    while any(os.path.exists(f"/proc/{pid}/fd/0") for pid in workers):
        assert time.monotonic() < deadline
    check_and_retry(archive, tmp_path)


def test_a_layer_that_a_power_cut_may_have_damaged_is_not_used(archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    spec = LayerSpec(
        blob_digest=digest, media_type="t", diff_id=digest, chain_id=digest, parent_chain_id=None
    )
    with Store.open(StorePaths(f"{tmp_path}/root", f"{tmp_path}/run")) as store:
        with archive.open("rb", buffering=0) as blob:
            store.snapshots.unpack(spec, blob)
        mark = tmp_path / "root/overlay/layers" / digest[7:] / "unsynced"
        mark.write_text("00000000-another-boot")
        assert not store.snapshots.has_layer(digest)
        with archive.open("rb", buffering=0) as blob:
            store.snapshots.unpack(spec, blob)
        assert store.snapshots.has_layer(digest)
        store.snapshots.settle()
        assert not mark.exists()
        assert store.snapshots.has_layer(digest)


FULL = """
import hashlib, os, sys
from casemate.core.snapshots import LayerSpec
from casemate.errors import Exhausted
from casemate.store.paths import StorePaths
from casemate.store.store import Store
base, source = sys.argv[1:]
data = open(source, "rb").read()
digest = "sha256:" + hashlib.sha256(data).hexdigest()
spec = LayerSpec(blob_digest=digest, media_type="t", diff_id=digest, chain_id=digest, parent_chain_id=None)
def free():
    s = os.statvfs(base); return s.f_bavail * s.f_bsize
with Store.open(StorePaths(base + "/root", base + "/run")) as store:
    store.content, store.snapshots
    before = free()
    filler = open(base + "/filler", "wb"); filler.write(bytes(before - 500_000)); filler.flush()
    for attempt in range(2):
        try:
            with store.content.ingest("k", digest=digest) as ingest:
                ingest.write(data)
                ingest.commit()
        except Exhausted as error:
            print("blob", error.why)
        with open(source, "rb", buffering=0) as blob:
            try:
                store.snapshots.unpack(spec, blob)
            except Exhausted as error:
                print("layer", error.why)
    places = ("content/ingest", "overlay/staging", "overlay/trash", "overlay/layers")
    print(*(os.listdir(f"{base}/root/{place}") for place in places), free() >= 400_000)
    filler.truncate(0); filler.close()
    with store.content.ingest("k", digest=digest) as ingest:
        ingest.write(data)
        ingest.commit()
    with store.content.open(digest) as blob:
        store.snapshots.unpack(spec, blob)
    print(store.database.check())
"""


@pytest.mark.needs_root
def test_a_full_disk_is_exhausted_and_leaves_nothing_half_made(archive: Path, tmp_path: Path) -> None:
    script = f'mount -t tmpfs -o size=6m none {tmp_path} && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", FULL, str(tmp_path), str(archive)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    full = ["blob the disk is full", "layer No space left on device"]
    assert done.stdout.splitlines() == [*full, *full, "[] [] [] [] True", "[]"], done.stderr


def test_disk_full_during_fsync_is_exhausted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileContentStore(str(tmp_path))
    store.ensure()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with store.ingest("k") as ingest:
        ingest.write(b"x")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(Exhausted):
            ingest.commit()
    assert os.listdir(store.ingest_dir) == []


@pytest.mark.needs_root
def test_no_other_user_can_look_below_the_state_root(archive: Path) -> None:
    """SECURITY C23, with the parents open to everybody as /var/lib is."""
    base = f"/tmp/casemate-c23-{os.getpid()}"
    os.mkdir(base, 0o755)
    data = archive.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    spec = LayerSpec(
        blob_digest=digest, media_type="t", diff_id=digest, chain_id=digest, parent_chain_id=None
    )
    old_umask = os.umask(0)
    try:
        with Store.open(StorePaths(f"{base}/root", f"{base}/run")) as store:
            store.content.put(b"x")
            with archive.open("rb", buffering=0) as blob:
                store.snapshots.unpack(spec, blob)
            root = store.snapshots.create_root("c", digest, owner_base=store.ranges.allocate("c"))
            looks = ["find", base, "-mindepth", "1", "(", "-readable", "-o", "-executable", ")", "-print"]
            nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            seen = subprocess.run([*nobody, *looks], capture_output=True, text=True, check=False)
            assert seen.stdout == ""
            assert subprocess.run(
                [*nobody, "ls", root.lowers[0]], capture_output=True, check=False
            ).returncode
            for directory, names, files in os.walk(root.lowers[0]):
                for name in (*names, *files):
                    status = os.lstat(f"{directory}/{name}")
                    assert status.st_uid >= 0x40000000, "a file that an image brought belongs to a host user"
            assert stat.S_IMODE(os.stat(f"{base}/root").st_mode) == 0o700
    finally:
        os.umask(old_umask)
        subprocess.run(["rm", "-rf", base], check=True)
