"""What every core.content.ContentStore promises. A new implementation adds one ``make``."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from casemate.errors import Corrupt, Exhausted, Invalid, NotFound
from casemate.store.content import FileContentStore

if TYPE_CHECKING:
    from pathlib import Path

    from casemate.core.content import ContentStore


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def make_files(directory: Path) -> ContentStore:
    store = FileContentStore(str(directory))
    store.ensure()
    return store


@pytest.fixture(params=[make_files])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    made: ContentStore = request.param(tmp_path)
    return made


def test_what_was_put_is_found_opened_and_read(store: ContentStore) -> None:
    info = store.put(b"hello")
    assert (info.digest, info.size_bytes) == (digest_of(b"hello"), 5)
    found = store.find(info.digest)
    assert found is not None
    assert found.size_bytes == 5
    with store.open(info.digest) as file:
        file.seek(1)
        assert file.read() == b"ello"
    assert store.read(info.digest, limit_bytes=5) == b"hello"
    assert [blob.digest for blob in store.iter_blobs()] == [info.digest]


def test_put_and_delete_are_idempotent(store: ContentStore) -> None:
    digest = store.put(b"x").digest
    assert store.put(b"x").digest == digest
    store.delete(digest)
    store.delete(digest)
    assert store.find(digest) is None
    with pytest.raises(NotFound):
        store.open(digest)


def test_reading_stops_at_the_limit(store: ContentStore) -> None:
    digest = store.put(b"12345678").digest
    with pytest.raises(Exhausted):
        store.read(digest, limit_bytes=7)


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", "sha256:../../x", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "md5:" + "a" * 32, "a" * 64,
     "sha256:" + "a" * 64 + "/", "../" + "a" * 64, "sha256:" + "a" * 62 + "/x"],
)  # fmt: skip
def test_a_digest_that_is_not_canonical_is_invalid_everywhere(store: ContentStore, digest: str) -> None:
    for method in (store.find, store.open, store.delete):
        with pytest.raises(Invalid):
            method(digest)
    with pytest.raises(Invalid):
        store.read(digest, limit_bytes=1)
    with pytest.raises(Invalid):
        store.ingest("key", digest=digest)


def test_ingest_is_invisible_until_commit(store: ContentStore) -> None:
    data = b"z" * 100_000
    with store.ingest("k", digest=digest_of(data), size_bytes=len(data)) as ingest:
        ingest.write(memoryview(data)[:50_000])
        assert store.find(digest_of(data)) is None
        ingest.write(data[50_000:])
        assert ingest.commit().digest == digest_of(data)
    assert store.read(digest_of(data), limit_bytes=len(data)) == data


def interrupted_ingest(store: ContentStore, data: bytes, after_bytes: int) -> None:
    with store.ingest("k", digest=digest_of(data), size_bytes=len(data)) as ingest:
        ingest.write(data[:after_bytes])
        raise ConnectionError


def test_an_interrupted_ingest_resumes_where_it_stopped(store: ContentStore) -> None:
    data = os.urandom(300_000)
    with pytest.raises(ConnectionError):
        interrupted_ingest(store, data, 123_456)
    with store.ingest("k", digest=digest_of(data), size_bytes=len(data)) as ingest:
        assert ingest.offset == 123_456
        ingest.write(data[ingest.offset :])
        ingest.commit()
    assert store.read(digest_of(data), limit_bytes=len(data)) == data


def test_truncate_starts_over(store: ContentStore) -> None:
    with store.ingest("k") as ingest:
        ingest.write(b"wrong")
        ingest.truncate()
        assert ingest.offset == 0
        ingest.write(b"right")
        assert ingest.commit().digest == digest_of(b"right")


def test_wrong_content_is_corrupt_and_forgotten(store: ContentStore) -> None:
    with store.ingest("k", digest=digest_of(b"expected")) as ingest:
        ingest.write(b"other")
        with pytest.raises(Corrupt):
            ingest.commit()
    with store.ingest("k", digest=digest_of(b"expected")) as ingest:
        assert ingest.offset == 0
        ingest.abort()
    assert list(store.iter_blobs()) == []


def test_too_little_is_corrupt_and_too_much_is_exhausted(store: ContentStore) -> None:
    with store.ingest("k", size_bytes=10) as ingest:
        ingest.write(b"short")
        with pytest.raises(Corrupt):
            ingest.commit()
    with store.ingest("k", size_bytes=3) as ingest, pytest.raises(Exhausted):
        ingest.write(b"long")
    assert list(store.iter_blobs()) == []


def test_a_longer_partial_than_expected_is_not_a_beginning(store: ContentStore) -> None:
    with store.ingest("k", size_bytes=100) as ingest:
        ingest.write(b"x" * 50)
    with store.ingest("k", size_bytes=3) as ingest:
        assert ingest.offset == 0
        ingest.write(b"abc")
        assert ingest.commit().digest == digest_of(b"abc")


def test_eight_ingests_of_one_digest_all_succeed(store: ContentStore) -> None:
    data = os.urandom(2_000_000)
    failures: list[BaseException] = []
    gate = threading.Barrier(8)

    def ingest_it() -> None:
        try:
            gate.wait()
            with store.ingest("same", digest=digest_of(data), size_bytes=len(data)) as ingest:
                for start in range(ingest.offset, len(data), 65536):
                    ingest.write(data[start : start + 65536])
                ingest.commit()
        except BaseException as error:  # noqa: BLE001 - reported by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=ingest_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.read(digest_of(data), limit_bytes=len(data)) == data
    assert len(list(store.iter_blobs())) == 1


def test_changed_bytes_on_disk_are_noticed(store: ContentStore) -> None:
    digest = store.put(b"good").digest
    if isinstance(store, FileContentStore):
        with open(store.path(digest), "wb") as file:
            file.write(b"evil")
        assert not store.verify(digest)
    with pytest.raises(Corrupt):
        store.read(digest, limit_bytes=4)
