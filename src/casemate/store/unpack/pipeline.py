"""From a compressed blob to chunks of the archive: decompressed and hashed on threads beside the extraction.

Decompressors and hashes release the interpreter's lock, so on two processors they cost the extraction almost
nothing.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading

from casemate.errors import Corrupt, Exhausted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol, Self

    class Decoder(Protocol):
        """What isal's and zstd's decompressors have in common."""

        @property
        def eof(self) -> bool:
            """Whether the member or frame has ended."""

        @property
        def needs_input(self) -> bool:
            """Whether all input so far has been used."""

        @property
        def unused_data(self) -> bytes:
            """What follows the end."""

        def decompress(self, data: bytes, max_length: int = -1) -> bytes:
            """At most so many bytes of output."""


READ_BYTES = 256 << 10
CHUNK_BYTES = 512 << 10
_QUEUED_CHUNKS = 8
_ZSTD_WINDOW_LOG = 27
"""128 MiB, the largest window that zstd itself accepts without being told to."""

FREE_RATIO_BYTES = 2 << 30
MAX_RATIO = 250
"""Past 2 GiB of output, so many bytes may come out of one byte: more is a bomb, not a layer."""
OUTPUT_LIMIT_BYTES = 72 << 30


class Pipeline:
    """Chunks of the uncompressed archive; use as a context manager, and ``finish`` before its end."""

    __slots__ = ("_chunks", "_failure", "_hash", "_hashes", "_stop", "_threads", "_whole")

    def __init__(self, blob_fd: int) -> None:
        self._chunks: queue.Queue[bytes] = queue.Queue(_QUEUED_CHUNKS)
        self._hashes: queue.Queue[bytes] = queue.Queue(_QUEUED_CHUNKS)
        self._hash = hashlib.sha256()
        self._failure: BaseException | None = None
        self._stop = False
        self._whole = False
        self._threads = [
            threading.Thread(target=self._produce, args=(blob_fd,), daemon=True),
            threading.Thread(target=self._digest, daemon=True),
        ]

    def next_chunk(self) -> bytes:
        """The next piece of the archive, b"" at its end. Raises: Corrupt, Exhausted from decompression."""
        if self._whole:
            return b""
        chunk = self._chunks.get()
        if not chunk:
            self._whole = True
            if self._failure is not None:
                raise self._failure
        return chunk

    def finish(self) -> str:
        """The digest of the whole uncompressed archive, which must have been read to its end."""
        while self.next_chunk():
            pass
        self._threads[1].join()
        return f"sha256:{self._hash.hexdigest()}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads, also when the archive was not read to its end."""
        self._stop = True
        while self._threads[0].is_alive():
            try:
                self._chunks.get(timeout=0.05)
            except queue.Empty:
                continue
        for thread in self._threads:
            thread.join()

    def _produce(self, blob_fd: int) -> None:
        """Fill both queues; end them with an empty chunk."""
        try:
            for chunk in iter_decompressed(lambda: os.read(blob_fd, READ_BYTES)):
                if self._stop:
                    break
                self._hashes.put(chunk)
                self._chunks.put(chunk)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that reads
            self._failure = error
        self._hashes.put(b"")
        self._chunks.put(b"")

    def _digest(self) -> None:
        """Hash what was decompressed."""
        while chunk := self._hashes.get():
            self._hash.update(chunk)


def iter_decompressed(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Chunks of what ``read`` delivers, decompressed as its first bytes say: gzip, zstd, or not at all.

    The media type is not asked, because registries mislabel; the digest of the result decides anyway.
    Raises: Corrupt for damaged or cut compression, Exhausted for a bomb.
    """
    data = read()
    while len(data) < 4 and (more := read()):  # noqa: PLR2004 - the longest magic number
        data += more
    make = decoder_for(data)
    if make is None:
        while data:
            yield data
            data = read()
        return
    yield from _decode(data, read, make)


def _decode(data: bytes, read: Callable[[], bytes], make: Callable[[], Decoder]) -> Iterator[bytes]:
    """Decompress members or frames one after the other."""
    consumed = produced = 0
    decoder = make()
    while data:
        consumed += len(data)
        while data or not (decoder.needs_input or decoder.eof):
            chunk = _step(decoder, data)
            data = b""
            produced += len(chunk)
            if produced > min(OUTPUT_LIMIT_BYTES, FREE_RATIO_BYTES + MAX_RATIO * consumed):
                raise Exhausted("decompress layer", "", f"{consumed} bytes grow to more than {produced}")
            if chunk:
                yield chunk
            if decoder.eof:
                data = decoder.unused_data
                if data:
                    decoder = make()
                break
        if decoder.eof and not data and (data := read()):
            decoder = make()
            continue
        data = data or read()
    if not decoder.eof:
        raise Corrupt("decompress layer", "", "the compressed data is cut off")


def _step(decoder: Decoder, data: bytes) -> bytes:
    """One bounded step of decompression."""
    try:
        return decoder.decompress(data, CHUNK_BYTES)
    except (ArithmeticError, AttributeError, TypeError):
        raise
    except Exception as error:
        raise Corrupt("decompress layer", "", f"the compressed data is damaged: {error}") from error


def decoder_for(data: bytes) -> Callable[[], Decoder] | None:
    """A maker of decoders for the format that ``data`` begins with, None for uncompressed data."""
    if data.startswith(b"\x1f\x8b"):
        return _gzip_decoder
    if data.startswith(b"\x28\xb5\x2f\xfd") or (data[1:4] == b"\x2a\x4d\x18" and data[0] & 0xF0 == 0x50):  # noqa: PLR2004
        return _zstd_decoder
    return None


def _gzip_decoder() -> Decoder:
    from isal import igzip_lib

    decoder: Decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return decoder


def _zstd_decoder() -> Decoder:
    from backports.zstd import DecompressionParameter, ZstdDecompressor

    return ZstdDecompressor(options={DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})
