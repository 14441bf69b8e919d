"""Image archives and layouts from strangers: nothing is extracted, no name leaves the archive."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from casemate.errors import Corrupt, Exhausted, Invalid, NotFound, Unsupported
from casemate.oci.digest import digest_of
from casemate.registry.archive_files import ArchiveFiles
from casemate.registry.archive_writer import ArchiveWriter
from casemate.registry.fetch import fetch_image
from casemate.registry.files import DirectoryFiles
from casemate.registry.open import Archive, open_sink, open_source
from casemate.registry.push import push_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Member = tuple[str, bytes | str]


def tar(path: Path, *members: Member, form: int = tarfile.PAX_FORMAT) -> str:
    """Write an archive; a ``str`` content is the target of a symbolic link."""
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return str(path)


def docker_members(image: Any, config_name: str = "config.json", **changes: object) -> list[Member]:
    entry = {"Config": config_name, "RepoTags": ["app:v1"], "Layers": ["one/layer.tar"]} | changes
    return [
        ("manifest.json", json.dumps([entry]).encode()),
        (config_name, image.config),
        ("one/layer.tar", image.layer),
    ]


def fetch(text: str, content: Any) -> Any:
    source = open_source(text)
    try:
        return fetch_image(source, content=content)
    finally:
        source.close()


def test_old_docker_archive_is_read(tmp_path: Path, image: Any, content: Any) -> None:
    path = tar(tmp_path / "a", *docker_members(image))
    fetched = fetch(f"docker-archive:{path}", content)
    assert fetched.config_digest == digest_of(image.config)
    assert content.read(digest_of(image.layer), limit_bytes=1 << 20) == image.layer


def test_layer_that_docker_linked_to_another_is_found(tmp_path: Path, image: Any, content: Any) -> None:
    members = docker_members(image, Layers=["two/layer.tar"])
    path = tar(tmp_path / "a", *members, ("two/layer.tar", "../one/layer.tar"))
    assert fetch(f"docker-archive:{path}", content).layers[0].size_bytes == len(image.layer)


def test_compressed_layer_in_a_docker_archive_keeps_its_bytes(
    tmp_path: Path, image: Any, content: Any
) -> None:
    packed = gzip.compress(image.layer)
    path = tar(tmp_path / "a", *docker_members(image)[:2], ("one/layer.tar", packed))
    (layer,) = fetch(f"docker-archive:{path}", content).layers
    assert (layer.digest, layer.media_type.rpartition(".")[2]) == (digest_of(packed), "gzip")


@pytest.mark.parametrize("link", ["/etc/shadow", "../../../../etc/shadow", "layer.tar", "../none", ""])
def test_link_out_of_the_archive_leads_nowhere(tmp_path: Path, image: Any, content: Any, link: str) -> None:
    path = tar(tmp_path / "a", *docker_members(image)[:2], ("one/layer.tar", link))
    with pytest.raises((Invalid, NotFound)):
        fetch(f"docker-archive:{path}", content)


@pytest.mark.parametrize("name", ["../manifest.json", "/etc/passwd", "a/../../b", ".", ""])
def test_member_with_an_escaping_name_is_invalid(tmp_path: Path, image: Any, name: str) -> None:
    path = tar(tmp_path / "a", *docker_members(image), (name, b"x"))
    with pytest.raises(Invalid):
        ArchiveFiles(path)


def test_member_that_comes_twice_is_invalid(tmp_path: Path, image: Any) -> None:
    members = docker_members(image)
    with pytest.raises(Invalid, match="twice"):
        ArchiveFiles(tar(tmp_path / "a", *members, ("./manifest.json", b"[]")))


@pytest.mark.parametrize(
    "changes",
    [
        {"Config": "../config.json"},
        {"Config": "/etc/passwd"},
        {"Config": 5},
        {"Layers": "one/layer.tar"},
        {"Layers": [5]},
        {"Layers": []},
        {"Layers": ["/etc/shadow"]},
        {"RepoTags": ["UPPER CASE"]},
        {"RepoTags": [5]},
    ],
)
def test_malformed_listing_is_invalid(
    tmp_path: Path, image: Any, content: Any, changes: dict[str, object]
) -> None:
    path = tar(
        tmp_path / "a",
        *docker_members(image, **changes) if "Config" not in changes else _with(image, changes),
    )
    with pytest.raises((Invalid, NotFound)):
        fetch(f"docker-archive:{path}", content)


def _with(image: Any, changes: dict[str, object]) -> list[Member]:
    listing = json.dumps([{"Config": "config.json", "Layers": ["one/layer.tar"]} | changes]).encode()
    return [("manifest.json", listing), *docker_members(image)[1:]]


@pytest.mark.parametrize("listing", [b"{}", b"[]", b"[5]", b"[", b'[{"Config":"a","Config":"b"}]'])
def test_broken_listing_is_invalid(tmp_path: Path, listing: bytes) -> None:
    with pytest.raises(Invalid):
        open_source(f"docker-archive:{tar(tmp_path / 'a', ('manifest.json', listing))}")


@pytest.mark.parametrize("length", [0, 100, 511, 600, 1500])
def test_truncated_archive_is_named(tmp_path: Path, image: Any, length: int) -> None:
    whole = tar(tmp_path / "a", *docker_members(image))
    os.truncate(whole, length)
    with pytest.raises((Corrupt, Invalid, NotFound)):
        open_source(f"docker-archive:{whole}")


@pytest.mark.parametrize("pack", [gzip.compress, None], ids=["gzip", "zstd"])
def test_compressed_archive_is_read(
    tmp_path: Path, image: Any, content: Any, pack: Callable[[bytes], bytes] | None
) -> None:
    if pack is None:
        zstd = pytest.importorskip("backports.zstd")
        pack = zstd.compress
    path = tmp_path / "packed"
    with open(tar(tmp_path / "a", *docker_members(image)), "rb") as plain:
        path.write_bytes(pack(plain.read()))
    assert fetch(f"archive:{path}", content).layers
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Corrupt):
        fetch(f"archive:{path}", content)


def test_bomb_of_an_archive_is_exhausted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casemate.registry.archive_files.SPOOL_LIMIT_BYTES", 1 << 20)
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(bytes(8 << 20)))
    with pytest.raises(Exhausted):
        open_source(f"archive:{path}")


def test_xz_is_unsupported_by_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xfd7zXZ\x00rest")
    with pytest.raises(Unsupported, match="xz"):
        open_source(f"archive:{tmp_path}/a")


@pytest.mark.parametrize("content_bytes", [b"", b"text", bytes(2000), b"\x7fELF" * 500])
def test_what_is_no_archive_is_invalid(tmp_path: Path, content_bytes: bytes) -> None:
    (tmp_path / "a").write_bytes(content_bytes)
    with pytest.raises((Invalid, Corrupt)):
        open_source(f"archive:{tmp_path}/a")


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    for transport in ("archive:", "oci:", "dir:", "oci-archive:", "docker-archive:"):
        with pytest.raises(NotFound):
            open_source(f"{transport}{tmp_path}/none").manifest()


def test_unknown_transport_is_invalid() -> None:
    with pytest.raises(Invalid, match="transport"):
        open_source("ftp://x/y")


def test_long_names_are_read_in_every_dialect(tmp_path: Path) -> None:
    name = "d" * 90 + "/" + "f" * 120
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        files = ArchiveFiles(tar(tmp_path / str(form), (name, b"found"), form=form))
        assert files.read(name, limit_bytes=10) == b"found"
        files.close()


def test_fifo_among_the_blobs_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    files = DirectoryFiles(str(tmp_path))
    with pytest.raises(Invalid, match="regular"):
        files.read("manifest.json", limit_bytes=10)
    files.close()


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a\0b", ""])
def test_file_name_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    files = DirectoryFiles(str(tmp_path))
    with pytest.raises(Invalid):
        files.read(name, limit_bytes=10)
    files.close()


def _stored(image: Any, content: Any) -> str:
    for part in (image.config, image.layer):
        content.put(part)
    return str(content.put(image.manifest).digest)


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive", "dir"])
def test_every_sink_is_read_back_with_equal_digests(
    tmp_path: Path, image: Any, content: Any, transport: str
) -> None:
    digest = _stored(image, content)
    text = f"{transport}:{tmp_path}/out"
    sink = open_sink(text)
    push_image(sink, digest, content=content, names=["docker.io/library/app:v1"])
    getattr(sink, "finish", lambda: None)()
    sink.close()
    source = open_source(text)
    assert (
        fetch_image(source, content=content).config_digest == json.loads(image.manifest)["config"]["digest"]
    )
    source.close()


def test_archive_with_two_images_lists_both(tmp_path: Path, make_image: Any, content: Any) -> None:
    sink = open_sink(f"docker-archive:{tmp_path}/out")
    for number, name in enumerate(("one:v1", "two:v2")):
        push_image(sink, _stored(make_image(b"layer %d" % number), content), content=content, names=[name])
    sink.finish()  # type: ignore[union-attr]
    archive = Archive(f"{tmp_path}/out")
    assert [names for names, _ in archive.images] == [
        ["docker.io/library/one:v1"],
        ["docker.io/library/two:v2"],
    ]
    archive.close()
    with pytest.raises(Invalid, match="2 images"):
        open_source(f"docker-archive:{tmp_path}/out")
    for selector in ("two:v2", "@1"):
        open_source(f"docker-archive:{tmp_path}/out:{selector}").close()
    with pytest.raises(NotFound):
        open_source(f"docker-archive:{tmp_path}/out:three:v3")


def test_unfinished_archive_leaves_nothing(tmp_path: Path, image: Any, content: Any) -> None:
    digest = _stored(image, content)
    content.delete(json.loads(image.manifest)["layers"][0]["digest"])
    sink = open_sink(f"oci-archive:{tmp_path}/out")
    with pytest.raises(NotFound, match="does not hold"):
        push_image(sink, digest, content=content, names=[])
    sink.close()
    assert not [name for name in os.listdir(tmp_path) if name.startswith("out")]


def test_layout_entry_of_the_same_name_is_replaced(tmp_path: Path, make_image: Any, content: Any) -> None:
    for text in (b"first", b"second"):
        digest = _stored(make_image(text), content)
        sink = open_sink(f"oci:{tmp_path}/layout:v1")
        push_image(sink, digest, content=content, names=[])
        sink.close()
    index = json.loads((tmp_path / "layout/index.json").read_bytes())
    assert [entry["digest"] for entry in index["manifests"]] == [digest]


def test_size_above_eight_gib_is_written_as_gnu_does(tmp_path: Path) -> None:
    from casemate.image.tar_header import Header
    from casemate.registry.archive_writer import _header

    assert Header(_header("x", 9 << 30, b"0", 0o644)).size_bytes == 9 << 30
    writer = ArchiveWriter(f"{tmp_path}/a")
    writer.close()
    assert os.listdir(tmp_path) == []


def test_blob_in_a_layout_of_another_size_is_corrupt(tmp_path: Path, image: Any, content: Any) -> None:
    sink = open_sink(f"oci:{tmp_path}/layout")
    push_image(sink, _stored(image, content), content=content, names=[])
    layer = json.loads(image.manifest)["layers"][0]["digest"]
    (tmp_path / "layout/blobs/sha256" / layer[7:]).write_bytes(b"x")
    content.delete(layer)
    with pytest.raises(Corrupt):
        fetch(f"oci:{tmp_path}/layout", content)
    (tmp_path / "layout/blobs/sha256" / layer[7:]).write_bytes(b"X" + image.layer[1:])
    with pytest.raises(Corrupt):
        fetch(f"oci:{tmp_path}/layout", content)
    assert content.find(layer) is None


def test_archive_goes_to_an_open_descriptor_and_to_a_pipe(tmp_path: Path, image: Any, content: Any) -> None:
    digest = _stored(image, content)
    with open(tmp_path / "given", "wb") as given:
        sink = open_sink(f"docker-archive:/proc/self/fd/{given.fileno()}")
        push_image(sink, digest, content=content, names=["app:v1"])
        sink.finish()  # type: ignore[union-attr]
        sink.close()
    with open(tmp_path / "given", "rb") as given:
        archive = Archive(f"/proc/self/fd/{given.fileno()}")
        assert archive.images[0][0] == ["docker.io/library/app:v1"]
        archive.close()
