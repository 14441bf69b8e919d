"""Sparse files in tar archives: where the stored bytes belong.

Four encodings mean the same: a map of (offset, length) in order, whose lengths add up to the bytes stored.
Source: GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

from casemate.errors import Exhausted, Invalid
from casemate.image.tar_header import BLOCK, number
from casemate.image.tar_pax import SPARSE_OFFSET, decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casemate.image.tar_pax import PaxRecords

MAX_SEGMENTS = 100_000
_OLD_IN_HEADER, _OLD_IN_BLOCK = 4, 21
_HEADER_MAP_AT, _HEADER_MORE_AT, _REAL_SIZE_AT = 386, 482, 483
_BLOCK_MORE_AT = 504
_FIELD = 12


class SparseMap:
    """Segments (offset, length) in ascending order, and the size of the whole file in bytes."""

    __slots__ = ("real_size_bytes", "segments")

    def __init__(self, segments: list[tuple[int, int]], real_size_bytes: int, *, stored_bytes: int) -> None:
        """Check the map.

        Raises: Invalid when segments overlap, leave the file or do not fit what is stored.
        """
        position = total = 0
        for offset, length in segments:
            if offset < position or length < 0:
                raise Invalid("read layer", "", "the map of a sparse file is out of order")
            position = offset + length
            total += length
        if position > real_size_bytes or total != stored_bytes:
            raise Invalid("read layer", "", "the map of a sparse file does not fit its size")
        self.segments = tuple(segment for segment in segments if segment[1])
        self.real_size_bytes = real_size_bytes


def read_old_gnu(block: bytes, take: Callable[[int], bytes]) -> tuple[list[tuple[int, int]], int]:
    """Segments and real size of a type S header; further map blocks are taken from the stream."""
    segments = list(_pairs(block, _HEADER_MAP_AT, _OLD_IN_HEADER))
    real_size_bytes = number(block[_REAL_SIZE_AT : _REAL_SIZE_AT + _FIELD])
    more = block[_HEADER_MORE_AT]
    while more:
        block = take(BLOCK)
        segments.extend(_pairs(block, 0, _OLD_IN_BLOCK))
        _limit(len(segments))
        more = block[_BLOCK_MORE_AT]
    return segments, real_size_bytes


def _pairs(block: bytes, start: int, count: int) -> Iterator[tuple[int, int]]:
    """The used pairs of one part of an old GNU map."""
    for at in range(start, start + count * 2 * _FIELD, 2 * _FIELD):
        if block[at] == 0:
            return
        yield number(block[at : at + _FIELD]), number(block[at + _FIELD : at + 2 * _FIELD])


def read_pax_map(records: PaxRecords) -> list[tuple[int, int]] | None:
    """Segments of format 0.0 or 0.1, None when the records hold no map. Raises: Invalid."""
    listed = records.get(b"GNU.sparse.map")
    if listed is not None:
        numbers = [decimal(part, b"GNU.sparse.map") for part in listed.split(b",", 2 * MAX_SEGMENTS + 1)]
    elif records.sparse_pairs:
        keys = [key for key, _ in records.sparse_pairs]
        if any((key == SPARSE_OFFSET) is bool(index % 2) for index, key in enumerate(keys)):
            raise Invalid("read layer", "", "the map of a sparse file is out of order")
        numbers = [decimal(value, key) for key, value in records.sparse_pairs]
    elif records.get(b"GNU.sparse.numblocks") == b"0":
        return []
    else:
        return None
    if len(numbers) % 2:
        raise Invalid("read layer", "", "the map of a sparse file has an odd number of values")
    _limit(len(numbers) // 2)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def read_map_in_data(take: Callable[[int], bytes], stored_bytes: int) -> tuple[list[tuple[int, int]], int]:
    """Segments of format 1.0, which stand before the data, and how many bytes of it they used.

    Raises: Invalid.
    """
    used = 0
    pending = b""
    numbers: list[int] = []
    wanted = 1
    while len(numbers) < wanted:
        line, found, rest = pending.partition(b"\n")
        if not found:
            used += BLOCK
            if used > stored_bytes or len(pending) > BLOCK:
                raise Invalid("read layer", "", "the map of a sparse file is cut off")
            pending += take(BLOCK)
            continue
        pending = rest
        numbers.append(decimal(line, b"sparse map"))
        if len(numbers) == 1:
            _limit(numbers[0])
            wanted = 1 + 2 * numbers[0]
    return list(zip(numbers[1::2], numbers[2::2], strict=True)), used


def _limit(segments: int) -> None:
    """Raise Exhausted for more segments than any honest file has."""
    if segments > MAX_SEGMENTS:
        raise Exhausted("read layer", "", f"a sparse file has more than {MAX_SEGMENTS} segments")
