"""The bytes of an uncompressed archive as they arrive, in pieces, without copying them more than once."""

from __future__ import annotations

from casemate.errors import Corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ByteStream:
    """Sequential reading over chunks of any size; ``next_chunk`` returns b"" at the end."""

    __slots__ = ("_chunk", "_next_chunk", "_position")

    def __init__(self, next_chunk: Callable[[], bytes]) -> None:
        self._next_chunk = next_chunk
        self._chunk = memoryview(b"")
        self._position = 0

    def take(self, size_bytes: int) -> bytes:
        """Exactly so many bytes. Raises: Corrupt when the stream ends before."""
        start = self._position
        end = start + size_bytes
        if end <= len(self._chunk):
            self._position = end
            return bytes(self._chunk[start:end])
        return b"".join(self.pieces(size_bytes))

    def take_block(self, size_bytes: int) -> bytes:
        """As ``take``, but b"" at the end of the stream."""
        if self._position == len(self._chunk) and not self._refill():
            return b""
        return self.take(size_bytes)

    def pieces(self, size_bytes: int) -> Iterator[memoryview]:
        """Views that together are exactly so many bytes. Raises: Corrupt when the stream ends before."""
        left = size_bytes
        while left:
            available = len(self._chunk) - self._position
            if not available:
                if not self._refill():
                    raise Corrupt("read layer", "", "the archive is cut off")
                continue
            count = min(available, left)
            start = self._position
            self._position += count
            left -= count
            yield self._chunk[start : start + count]

    def skip(self, size_bytes: int) -> None:
        """Pass over so many bytes. Raises: Corrupt when the stream ends before."""
        end = self._position + size_bytes
        if end <= len(self._chunk):
            self._position = end
            return
        for _ in self.pieces(size_bytes):
            pass

    def require_zeros(self) -> None:
        """Read to the end. Raises: Corrupt when anything but zeros follows."""
        while True:
            rest = self._chunk[self._position :]
            if rest and bytes(rest).strip(b"\0"):
                raise Corrupt("read layer", "", "data follows the end of the archive")
            self._position = len(self._chunk)
            if not self._refill():
                return

    def _refill(self) -> bool:
        """Fetch the next chunk; False at the end."""
        self._chunk = memoryview(self._next_chunk())
        self._position = 0
        return len(self._chunk) > 0
