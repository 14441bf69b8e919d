"""Logs are read as the keeper writes them, also when it was killed in the middle."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from casemate.engine.life.logs import LogLine, last_lines, read_log

if TYPE_CHECKING:
    from pathlib import Path


def write(directory: Path, suffix: str, pieces: list[tuple[int, int, bytes]], rest: bytes = b"") -> None:
    data, index = b"", b""
    for time_ns, stream, piece in pieces:
        index += struct.pack("<QQIHH", time_ns, len(data), len(piece), stream, 0)
        data += piece
    (directory / f"log{suffix}").write_bytes(data + rest)
    (directory / f"log.index{suffix}").write_bytes(index)


def read(directory: Path, **options: int) -> list[tuple[int, int, bytes]]:
    found = read_log(str(directory), is_running=lambda: False, **options)
    return [(piece.time_ns, piece.stream, piece.data) for piece in found]


def test_rotated_files_come_first(tmp_path: Path) -> None:
    write(tmp_path, ".2", [(1, 1, b"a\n")])
    write(tmp_path, ".1", [(2, 2, b"b\n")])
    write(tmp_path, "", [(3, 1, b"c\n")])
    assert read(tmp_path) == [(1, 1, b"a\n"), (2, 2, b"b\n"), (3, 1, b"c\n")]


def test_output_without_a_record_is_kept(tmp_path: Path) -> None:
    write(tmp_path, "", [(1, 2, b"a\n")], rest=b"lost?")
    (tmp_path / "log.index").write_bytes((tmp_path / "log.index").read_bytes() + b"half a record")
    assert read(tmp_path) == [(1, 2, b"a\n"), (0, 1, b"lost?")]


def test_container_that_never_ran_has_an_empty_log(tmp_path: Path) -> None:
    assert read(tmp_path) == []


def test_tail_counts_lines_not_pieces() -> None:
    pieces = [LogLine(1, 1, b"a\nb"), LogLine(2, 1, b"b\nc\n"), LogLine(3, 2, b"d")]
    text = lambda count: b"".join(piece.data for piece in last_lines(pieces, count))  # noqa: E731 - short
    assert [text(count) for count in (0, 1, 2, 3, 9)] == [b"", b"d", b"c\nd", b"bb\nc\nd", b"a\nbb\nc\nd"]


def test_times_bound_what_is_read(tmp_path: Path) -> None:
    write(tmp_path, "", [(10, 1, b"a\n"), (20, 1, b"b\n"), (30, 1, b"c\n")])
    assert [data for _, _, data in read(tmp_path, since_ns=15, until_ns=25)] == [b"b\n"]
