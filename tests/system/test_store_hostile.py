"""No archive, however made, writes outside the layer, crashes the store or leaves anything (C13-C15)."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import resource
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from backports import zstd

from casemate.core.snapshots import LayerSpec
from casemate.errors import CasemateError, Corrupt, Exhausted, Invalid
from casemate.store.overlay.snapshotter import OverlaySnapshotter

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

REG, LINK, SYM, CHR, DIR, FIFO = b"0", b"1", b"2", b"3", b"5", b"6"
USTAR, GNU = b"ustar\x0000", b"ustar  \x00"
END = bytes(1024)


def header(
    name: bytes, kind: bytes = REG, size: int = 0, *, link: bytes = b"", magic: bytes = USTAR
) -> bytes:
    fields = name[:100].ljust(100, b"\0") + b"0000644\x000000000\x000000000\x00"
    fields += b"%011o\x0000000000000\x00        " % size + kind + link[:100].ljust(100, b"\0") + magic
    block = fields.ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def ustar(name: bytes, kind: bytes = REG, data: bytes = b"", link: bytes = b"") -> bytes:
    return header(name, kind, len(data), link=link) + padded(data)


def records(*pairs: tuple[bytes, bytes]) -> bytes:
    text = b""
    for key, value in pairs:
        body = b" " + key + b"=" + value + b"\n"
        length = len(body)
        while len(b"%d" % length) + len(body) != length:
            length = len(b"%d" % length) + len(body)
        text += b"%d" % length + body
    return text


def pax_header(*pairs: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    text = records(*pairs)
    return header(b"PaxHeader", kind, len(text)) + padded(text)


def pax(name: bytes, kind: bytes = REG, data: bytes = b"", link: bytes = b"") -> bytes:
    pairs = [(b"path", name)] + ([(b"linkpath", link)] if link else [])
    return pax_header(*pairs) + ustar(b"short", kind, data, link and b"short")


def gnu(name: bytes, kind: bytes = REG, data: bytes = b"", link: bytes = b"") -> bytes:
    out = header(b"././@LongLink", b"L", len(name) + 1, magic=GNU) + padded(name + b"\0")
    if link:
        out += header(b"././@LongLink", b"K", len(link) + 1, magic=GNU) + padded(link + b"\0")
    return out + header(b"short", kind, len(data), link=link and b"short", magic=GNU) + padded(data)


ENCODINGS = {"ustar": ustar, "pax": pax, "gnu": gnu}
KINDS = {"file": REG, "dir": DIR, "symlink": SYM, "hardlink": LINK, "fifo": FIFO, "device": CHR}


def escapes(canary: bytes) -> dict[str, bytes]:
    return {
        "dotdot": b"../escape",
        "deep-dotdot": b"a/b/../../../../../../../../.." + canary + b"/escape",
        "absolute": canary + b"/escape",
        "only-dotdot": b"..",
        "trailing-dotdot": b"a/..",
        "dotdot-slash": b"a//.././../escape",
    }


def patched(at: int, value: bytes) -> bytes:
    """A header with another value in a field and a right checksum, so that the field itself is judged."""
    block = header(b"f")
    block = block[:at] + value + block[at + len(value) :]
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def through(link_target: bytes) -> dict[str, bytes]:
    """What an attacker puts behind a symbolic link that leads outside."""
    link = ustar(b"door", SYM, link=link_target)
    return {
        "file": link + ustar(b"door/escape", REG, b"evil"),
        "dir": link + ustar(b"door/escape", DIR),
        "symlink": link + ustar(b"door/escape", SYM, link=b"/etc"),
        "fifo": link + ustar(b"door/escape", FIFO),
        "hardlink-from": link + ustar(b"mine", LINK, link=b"door/secret"),
        "hardlink-to": link + ustar(b"mine", REG, b"x") + ustar(b"door/escape", LINK, link=b"mine"),
        "whiteout": link + ustar(b"door/.wh.secret"),
        "opaque": link + ustar(b"door/.wh..wh..opq"),
        "final": link + ustar(b"door", REG, b"evil"),
        "final-dir": link + ustar(b"door", DIR) + ustar(b"door/secret", REG, b"evil"),
        "hardlinked-door": link + ustar(b"door2", LINK, link=b"door") + ustar(b"door2/escape", REG, b"evil"),
        "hardlinked-file": ustar(b"door", SYM, link=link_target + b"/secret")
        + ustar(b"door2", LINK, link=b"door")
        + ustar(b"door2", REG, b"evil"),
    }


def ordered(target: bytes) -> dict[str, bytes]:
    """Attacks that need several entries in an order, and damaged or ambiguous headers."""
    deep_link = ustar(b"a", DIR) + ustar(b"a/up", SYM, link=b"..") + ustar(b"a/up/up2", SYM, link=b"../..")
    return {
        "dir-becomes-link": ustar(b"d", DIR)
        + ustar(b"d/in", REG, b"1")
        + ustar(b"d", SYM, link=target)
        + ustar(b"d/in", REG, b"evil"),
        "link-dir-link": ustar(b"d", SYM, link=target)
        + ustar(b"d", DIR)
        + ustar(b"d", SYM, link=target)
        + ustar(b"d/x", REG, b"evil"),
        "link-up-link": deep_link + ustar(b"a/up/up2/up2/escape", REG, b"evil"),
        "root-is-link": ustar(b"./", SYM, link=target) + ustar(b"x", REG, b"evil"),
        "root-is-file": ustar(b".", REG, b"evil"),
        "rootfs-link": ustar(b"rootfs/", DIR)
        + ustar(b"rootfs", SYM, link=b"/")
        + ustar(b"rootfs/" + target.lstrip(b"/") + b"/escape", REG, b"evil"),
        "proc-link": ustar(b"p", SYM, link=b"/proc/self/root" + target) + ustar(b"p/escape", REG, b"evil"),
        "proc-fd": ustar(b"p", SYM, link=b"/proc/self/fd/4") + ustar(b"p/escape", REG, b"evil"),
        "loop": ustar(b"l", SYM, link=b"l") + ustar(b"l/x", REG, b"evil"),
        "two-loops": ustar(b"l", SYM, link=b"m") + ustar(b"m", SYM, link=b"l") + ustar(b"l/x", REG),
        "hardlink-absolute": ustar(b"h", LINK, link=target + b"/secret"),
        "hardlink-dotdot": ustar(b"h", LINK, link=b"../../../../../.." + target + b"/secret"),
        "hardlink-to-dir": ustar(b"d", DIR) + ustar(b"h", LINK, link=b"d"),
        "hardlink-to-root": ustar(b"h", LINK, link=b"."),
        "hardlink-to-itself": ustar(b"h", REG, b"1") + ustar(b"h", LINK, link=b"h"),
        "hardlink-to-nothing": ustar(b"h", LINK, link=b"nothing"),
        "hardlink-without-target": ustar(b"h", LINK),
        "hardlink-with-content": ustar(b"f", REG, b"1") + ustar(b"h", LINK, b"evil", link=b"f"),
        "hardlink-replaces-parent": ustar(b"d/f", REG, b"1") + ustar(b"d", LINK, link=b"d/f"),
        "hardlink-to-whiteout": ustar(b".wh.x") + ustar(b"h", LINK, link=b"x"),
        "file-below-file": ustar(b"f", REG, b"1") + ustar(b"f/x", REG, b"evil"),
        "file-replaces-tree": ustar(b"d/e/f", REG, b"1") + ustar(b"d", REG, b"2") + ustar(b"d/e", DIR),
        "symlink-without-target": ustar(b"s", SYM),
        "whiteout-dotdot": ustar(b".wh..."),
        "whiteout-of-parent": ustar(b"d/.wh..."),
        "whiteout-of-nothing": ustar(b".wh."),
        "whiteout-is-dir": ustar(b".wh.d", DIR) + ustar(b".wh.d/x", REG, b"evil"),
        "whiteout-is-link": ustar(b".wh.x", SYM, link=target),
        "opaque-is-link": ustar(b".wh..wh..opq", SYM, link=target),
        "below-whiteout": ustar(b".wh.x") + ustar(b"x/y", REG, b"evil"),
        "aufs": ustar(b".wh..wh.plnk/1", REG, b"x") + ustar(b".wh..wh.aufs"),
        "forged-overlay": pax_header((b"SCHILY.xattr.user.overlay.redirect", target)) + ustar(b"d", DIR),
        "forged-trusted": pax_header((b"SCHILY.xattr.trusted.overlay.opaque", b"y")) + ustar(b"d", DIR),
        "nul-in-pax-path": pax(b"a\0/../b"),
        "nul-in-gnu-name": gnu(b"a\0b"),
        "nul-in-linkpath": pax(b"s", SYM, link=b"a\0b"),
        "empty-name": ustar(b""),
        "slash-name": ustar(b"///", REG, b"x"),
        "not-utf8": ustar(b"\xff\xfe\x80", REG, b"x") + ustar(b"\x1b[31mred\n", REG, b"x"),
        "name-256": pax(b"n" * 256, REG, b"x"),
        "path-5000": pax(b"/".join([b"p" * 200] * 25), REG, b"x"),
        "path-5000-gnu": gnu(b"/".join([b"p" * 200] * 25), DIR),
        "deep-1500": pax(b"/".join([b"d"] * 1500), DIR),
        "link-5000": pax(b"s", SYM, link=b"t" * 5000),
        "pax-size-zero": pax_header((b"size", b"1024")) + ustar(b"f") + ustar(b"hidden", REG, b"evil"),
        "pax-size-smaller": pax_header((b"size", b"0")) + ustar(b"f", REG, ustar(b"nested", REG, b"evil")),
        "pax-size-on-dir": pax_header((b"size", b"512")) + ustar(b"d", DIR) + bytes(512),
        "pax-size-negative": pax_header((b"size", b"-1")) + ustar(b"f"),
        "pax-twice": pax_header((b"path", b"a")) + pax_header((b"path", b"b")) + ustar(b"c"),
        "pax-key-twice": pax_header((b"path", b"a"), (b"path", b"b")) + ustar(b"c"),
        "pax-then-gnu": pax_header((b"size", b"3")) + gnu(b"x", REG, b"abc"),
        "pax-global-path": pax_header((b"path", b"all"), kind=b"g") + ustar(b"c"),
        "pax-malformed": header(b"P", b"x", 5) + padded(b"9 a=b") + ustar(b"c"),
        "pax-huge-length": header(b"P", b"x", 12) + padded(b"99999999 a=b") + ustar(b"c"),
        "pax-at-end": pax_header((b"path", b"a")),
        "dir-with-size": header(b"d", DIR, 512) + ustar(b"hidden", REG, b"evil"),
        "symlink-with-size": header(b"s", SYM, 512, link=b"x") + ustar(b"hidden", REG, b"evil"),
        "size-not-a-number": patched(124, b"99999999999\0"),
        "checksum": header(b"f")[:148] + b"000000\0 " + header(b"f")[156:],
        "type-unknown": ustar(b"f", b"Z", b"x"),
        "type-multivolume": ustar(b"f", b"M", b"x"),
        "garbage-behind-end": ustar(b"f", REG, b"x") + END + ustar(b"hidden", REG, b"evil"),
        "one-zero-block": ustar(b"f", REG, b"x") + bytes(512) + ustar(b"hidden", REG, b"evil"),
        "cut-in-data": header(b"f", REG, 100_000) + b"x" * 512,
        "cut-in-header": ustar(b"f", REG, b"x") + header(b"g")[:100],
        "sparse-overlap": pax_header(
            (b"GNU.sparse.map", b"0,4,2,4"), (b"GNU.sparse.size", b"10"), (b"GNU.sparse.numblocks", b"2")
        )
        + ustar(b"f", REG, b"12345678"),
        "sparse-beyond": pax_header((b"GNU.sparse.map", b"99,4"), (b"GNU.sparse.size", b"10"))
        + ustar(b"f", REG, b"1234"),
        "sparse-map-cut": pax_header(
            (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"10")
        )
        + ustar(b"f", REG, b"99\n0\n"),
        "many-fields": b"".join(ustar(b"x" * 90 + b"/%d" % i, REG, b"y") for i in range(50)),
        "empty": b"",
    }


def bombs() -> dict[str, bytes]:
    """Archives that ask for more than anybody should give."""
    return {
        "sparse-petabyte": pax_header((b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.size", b"1125899906842624"))
        + ustar(b"f", REG, b"x"),
        "size-petabyte": pax_header((b"size", b"1125899906842624")) + ustar(b"f", REG, b"x"),
        "extension-gigabyte": header(b"P", b"x", 1 << 30) + bytes(4096),
        "long-name-gigabyte": header(b"L", b"L", 1 << 30) + bytes(4096),
        "xattr-huge": pax_header((b"SCHILY.xattr.user.x", b"v" * 200_000)) + ustar(b"f", REG, b"x"),
        "xattr-many": pax_header(*((b"SCHILY.xattr.user.%d" % i, b"v" * 60) for i in range(4000)))
        + ustar(b"f", REG, b"x"),
        "sparse-segments": pax_header(
            (b"GNU.sparse.map", b",".join(b"%d,0" % i for i in range(120_000))),
            (b"GNU.sparse.size", b"200000"),
        )
        + ustar(b"f", REG, b""),
        "uid-huge": patched(108, b"\x80\0\0\0\xff\xff\xff\xff"),
    }


def corpus(canary: bytes) -> dict[str, bytes]:
    """Every archive by name; ``canary`` is the directory that the attacker wants to reach."""
    found: dict[str, bytes] = {}
    for encoding, make in ENCODINGS.items():
        for kind, flag in KINDS.items():
            for escape, name in escapes(canary).items():
                link = canary + b"/secret" if flag in (SYM, LINK) else b""
                found[f"{encoding}-{kind}-{escape}"] = make(name, flag, b"evil" if flag == REG else b"", link)
    for where, target in (("absolute", canary), ("relative", b"../../../../../.." + canary)):
        for what, data in through(target).items():
            found[f"through-{where}-{what}"] = data
    return {**found, **ordered(canary), **bombs()}


NAMES = list(corpus(b"/canary"))


def unpack(snapshotter: OverlaySnapshotter, data: bytes, path: Path, diff: bytes | None = None) -> str:
    """Unpack bytes as a layer; its chain id."""
    digest = f"sha256:{hashlib.sha256(data if diff is None else diff).hexdigest()}"
    path.write_bytes(data)
    spec = LayerSpec(
        blob_digest=digest, media_type="tar", diff_id=digest, chain_id=digest, parent_chain_id=None
    )
    with path.open("rb", buffering=0) as blob:
        snapshotter.unpack(spec, blob)
    return digest


REFUSED = {
    "pax-size-zero", "pax-size-smaller", "pax-size-on-dir", "pax-twice", "pax-key-twice",
    "pax-then-gnu", "pax-global-path", "dir-with-size", "symlink-with-size", "hardlink-with-content",
    "garbage-behind-end", "one-zero-block", "cut-in-data", "cut-in-header", "nul-in-pax-path",
    "nul-in-gnu-name", "type-unknown", "checksum", "sparse-overlap", "sparse-beyond", "path-5000",
    "name-256", "deep-1500", *(set(bombs()) - {"uid-huge"}),
}  # fmt: skip
ACCEPTED = {
    "ustar-file-absolute", "pax-file-absolute", "gnu-file-absolute", "through-absolute-final",
    "hardlink-to-itself", "not-utf8", "forged-overlay", "forged-trusted", "many-fields", "empty",
    "aufs",
}  # fmt: skip


@pytest.fixture
def canary() -> Iterator[Path]:
    """A directory outside the store that anybody may write to; it must not change in any way."""
    directory = Path(tempfile.mkdtemp(prefix="cy-"))
    directory.chmod(0o777)
    (directory / "secret").write_text("untouched")
    (directory / "secret").chmod(0o666)
    before = fingerprint(directory)
    yield directory
    after = fingerprint(directory)
    shutil.rmtree(directory)
    assert after == before, "the canary was touched"


def fingerprint(directory: Path) -> dict[str, tuple[object, ...]]:
    found = {}
    for path in [directory, *directory.rglob("*")]:
        s = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(s.st_mode) else b""
        found[str(path)] = (s.st_mode, s.st_uid, s.st_gid, s.st_nlink, s.st_mtime_ns, s.st_ctime_ns, content)
    return found


def require_explained(error: CasemateError) -> None:
    """Being refused is a right outcome, if it says why in one clean line."""
    assert error.why
    assert "Traceback" not in str(error)
    assert str(error).isprintable()


def assert_nothing_half_made(snapshotter: OverlaySnapshotter) -> None:
    layout = snapshotter._layout
    assert os.listdir(layout.staging) == []
    assert os.listdir(layout.trash) == []
    assert os.listdir(layout.empty) == []


@pytest.mark.parametrize("name", NAMES)
def test_hostile_archive_stays_inside_or_is_refused_by_name(name: str, tmp_path: Path, canary: Path) -> None:
    data = corpus(os.fsencode(canary))[name]
    snapshotter = OverlaySnapshotter(str(tmp_path / "store"))
    outside = set(os.listdir(tmp_path))
    began = time.monotonic()
    try:
        chain = unpack(snapshotter, data + END, tmp_path / "blob")
    except (Invalid, Corrupt, Exhausted) as error:
        assert name not in ACCEPTED
        require_explained(error)
        assert snapshotter.layers() == []
    else:
        assert name not in REFUSED
        assert snapshotter.has_layer(chain)
        snapshotter.remove_layer(chain)
        assert not snapshotter.has_layer(chain)
    assert time.monotonic() - began < 20
    assert_nothing_half_made(snapshotter)
    assert set(os.listdir(tmp_path)) == outside | {"blob"}


def test_corpus_is_as_large_as_promised() -> None:
    assert len(NAMES) >= 60
    assert set(NAMES) >= REFUSED


def bomb(kind: str, size_bytes: int) -> bytes:
    """A compressed archive with one file of zeros."""
    head = header(b"zeros", REG, size_bytes)
    if kind == "zstd":
        compressor = zstd.ZstdCompressor()
        pieces = [compressor.compress(head)]
        pieces += [compressor.compress(bytes(1 << 24)) for _ in range(size_bytes >> 24)]
        return b"".join(pieces) + compressor.flush()
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9) as file:
        file.write(head)
        for _ in range(size_bytes >> 24):
            file.write(bytes(1 << 24))
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_compression_bomb_ends_with_a_named_error_and_frees_the_disk(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bomb(kind, 1 << 26)
    monkeypatch.setattr("casemate.store.unpack.pipeline.FREE_RATIO_BYTES", 1 << 24)
    from casemate.store.unpack import pipeline

    source = io.BytesIO(data)
    with pytest.raises(Exhausted, match="grow"):
        for _ in pipeline.iter_decompressed(lambda: source.read(1 << 16)):
            pass
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_of_many_gigabytes_of_zeros_does_not_grow_the_parent(tmp_path: Path) -> None:
    data = bomb("zstd", 1 << 28)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    snapshotter = OverlaySnapshotter(str(tmp_path / "store"))
    with pytest.raises(Corrupt):
        unpack(snapshotter, data, tmp_path / "blob", diff=b"something else")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000
    assert_nothing_half_made(snapshotter)


def test_an_archive_of_endless_entries_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    from casemate.image.layer_tar import LayerReader, Limits

    limits = Limits()
    monkeypatch.setattr(limits, "entries", 1000)
    with pytest.raises(Exhausted, match="1000 entries"):
        for _ in LayerReader(lambda: ustar(b"f"), limits):
            pass


@pytest.mark.parametrize("damage", ["cut", "flip", "tail"])
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_damaged_compression_is_corrupt(kind: str, damage: str, tmp_path: Path) -> None:
    plain = ustar(b"f", REG, os.urandom(5000)) + END
    data = gzip.compress(plain) if kind == "gzip" else zstd.compress(plain)
    damaged = {
        "cut": data[:-6],
        "flip": data[:900] + bytes([data[900] ^ 255]) + data[901:],
        "tail": data + b"junk",
    }
    snapshotter = OverlaySnapshotter(str(tmp_path / "store"))
    with pytest.raises(CasemateError) as caught:
        unpack(snapshotter, damaged[damage], tmp_path / "blob", diff=plain)
    assert isinstance(caught.value, Corrupt)
    assert snapshotter.layers() == []


def test_content_that_is_not_what_the_image_promised_is_corrupt(tmp_path: Path) -> None:
    snapshotter = OverlaySnapshotter(str(tmp_path / "store"))
    with pytest.raises(Corrupt, match="uncompressed digest"):
        unpack(snapshotter, ustar(b"f", REG, b"x") + END, tmp_path / "blob", diff=b"other")
    assert_nothing_half_made(snapshotter)


def test_tree_deeper_than_any_path_is_removed(tmp_path: Path) -> None:
    """A container can nest directories without limit; the walker moves them up instead of descending."""
    snapshotter = OverlaySnapshotter(str(tmp_path / "store"))
    upper = snapshotter.create_root("deep", None, owner_base=None).upper
    assert upper is not None
    fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(3000):
        os.mkdir("d" * 40, dir_fd=fd)
        deeper = os.open("d" * 40, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = deeper
        if level % 500 == 0:
            os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
            os.symlink("/", "l", dir_fd=fd)
    os.close(fd)
    snapshotter.remove_root("deep")
    assert_nothing_half_made(snapshotter)
