"""The layer parser: what it reads, it reads as Python's tarfile does; what it cannot, it refuses by name."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casemate.errors import CasemateError, Corrupt, Invalid
from casemate.image import whiteout
from casemate.image.layer_tar import DIRECTORY, FILE, HARDLINK, SYMLINK, LayerReader
from casemate.image.tar_header import number
from casemate.image.tar_pax import PaxRecords

KINDS = {
    tarfile.REGTYPE: FILE,
    tarfile.DIRTYPE: DIRECTORY,
    tarfile.SYMTYPE: SYMLINK,
    tarfile.LNKTYPE: HARDLINK,
}
NAME_PART = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=60
)
PATHS = st.lists(NAME_PART.filter(lambda part: part not in (".", "..")), min_size=1, max_size=6).map("/".join)


def read(data: bytes, piece: int = 1 << 16) -> list[tuple[object, ...]]:
    """Every entry of an archive that arrives in pieces, with its content."""
    pieces = iter([data[start : start + piece] for start in range(0, len(data), piece)])
    reader = LayerReader(lambda: next(pieces, b""))
    return [
        (e.kind, e.path, e.link, e.mode, e.uid, e.gid, e.mtime_ns, e.size_bytes, b"".join(reader.data()))
        for e in reader
    ]


@st.composite
def members(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(draw(PATHS))
    info.type = draw(st.sampled_from(list(KINDS)))
    info.mode = draw(st.integers(0, 0o7777))
    info.uid, info.gid = draw(st.integers(0, 1 << 31)), draw(st.integers(0, 65535))
    info.mtime = draw(st.integers(-(1 << 31), 1 << 33))
    data = draw(st.binary(max_size=1500)) if info.type == tarfile.REGTYPE else b""
    info.size = len(data)
    if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        info.linkname = draw(PATHS)
    return info, data


@settings(max_examples=150, deadline=None, database=None)
@given(
    st.lists(members(), max_size=6),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.sampled_from([1, 511, 512, 700, 1 << 16]),
)
def test_what_tarfile_writes_is_read_back(
    wanted: list[tuple[tarfile.TarInfo, bytes]], pax: int, piece: int
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=pax, encoding="utf-8", errors="surrogateescape") as tar:
        for info, data in wanted:
            tar.addfile(info, io.BytesIO(data))
    assert read(out.getvalue(), piece) == [
        (
            KINDS[info.type],
            info.name.encode(),
            info.linkname.encode(),
            info.mode,
            info.uid,
            info.gid,
            int(info.mtime) * 10**9,
            len(data),
            data,
        )
        for info, data in wanted
    ]


@settings(max_examples=300, deadline=None, database=None)
@given(st.binary(max_size=4096))
def test_noise_is_refused_by_name(data: bytes) -> None:
    try:
        read(data)
    except CasemateError as error:
        assert error.why  # noqa: PT017 - both outcomes are right


@settings(max_examples=300, deadline=None, database=None)
@given(st.data())
def test_damage_anywhere_is_refused_or_read_but_never_crashes(data: st.DataObject) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("n" * 150)
        info.size, info.pax_headers = 700, {"SCHILY.xattr.user.a": "b", "mtime": "1.5"}
        tar.addfile(info, io.BytesIO(bytes(700)))
    archive = bytearray(out.getvalue()[:4096])
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(archive))
    except CasemateError:
        return


@settings(deadline=None, database=None)
@given(st.dictionaries(st.binary(min_size=1, max_size=30), st.binary(max_size=80), max_size=6))
def test_pax_records_survive_being_written(wanted: dict[bytes, bytes]) -> None:
    wanted = {key.replace(b"=", b"-").replace(b"\n", b"-"): value for key, value in wanted.items()}
    wanted = {key: value for key, value in wanted.items() if not key.startswith(b"GNU.sparse.")}  # may repeat
    text = b""
    for key, value in wanted.items():
        body = b" " + key + b"=" + value + b"\n"
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length += 1
        text += str(length).encode() + body
    assert PaxRecords(text).values == wanted


@pytest.mark.parametrize(
    ("field", "value"),
    [(b"0000644\0", 0o644), (b"   644 \0", 0o644), (b"\0" * 8, 0), (b"        ", 0),
     (b"\x80" + bytes(6) + b"\x07", 7),
     (b"\xff" * 8, -1), (b"644\0junk", 0o644)],
)  # fmt: skip
def test_numbers(field: bytes, value: int) -> None:
    assert number(field) == value


@pytest.mark.parametrize(
    "field", [b"-1\0", b"+1\0", b"0x10\0", b"1_0\0", b"8\0", b"9999999\0", b"1 1\0", b"\xb2\0"]
)
def test_what_is_no_number_is_refused(field: bytes) -> None:
    with pytest.raises(Invalid):
        number(field)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("./a", b"a"),
        ("/a/", b"a"),
        ("a//b", b"a/b"),
        (".//./a/./b", b"a/b"),
        ("./", b""),
        ("..a/b..", b"..a/b.."),
    ],
)
def test_names_are_normalised(name: str, path: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type = tarfile.DIRTYPE
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[: len(name) + 1] = name.encode() + b"\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    assert read(bytes(block))[0][1] == path


def test_times_are_exact_to_the_nanosecond() -> None:
    records = PaxRecords(
        b"30 mtime=1700000000.123456789\n30 atime=-1.5\n".replace(b"30 atime=-1.5", b"14 atime=-1.5")
    )
    assert records.time_ns(b"mtime") == 1_700_000_000_123_456_789
    assert records.time_ns(b"atime") == -1_500_000_000
    with pytest.raises(Invalid):
        PaxRecords(b"13 mtime=1e9\n").time_ns(b"mtime")


def test_an_archive_without_an_end_is_read_and_a_cut_one_is_corrupt() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("f")
        info.size = 600
        tar.addfile(info, io.BytesIO(bytes(600)))
    whole = out.getvalue()
    assert len(read(whole[: 512 + 1024])) == 1
    with pytest.raises(Corrupt):
        read(whole[: 512 + 600])


def test_whiteouts_are_told_apart() -> None:
    names = {b"f": 0, b".wh.f": 1, b".wh..wh..opq": 2, b".wh..wh.plnk": 3, b".wh.": 1, b"x.wh.f": 0}
    assert {name: whiteout.classify(name) for name in names} == names
    assert whiteout.hidden_name(b".wh.f") == b"f"
    assert whiteout.whiteout_name(b"f") == b".wh.f"
    for name in (b".wh.", b".wh..", b".wh..."):
        with pytest.raises(Invalid):
            whiteout.hidden_name(name)
    with pytest.raises(Invalid):
        whiteout.whiteout_name(b".wh.f")
