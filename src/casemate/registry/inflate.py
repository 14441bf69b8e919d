"""Decompression of whole archives. Layers are decompressed elsewhere, in a confined process."""

from __future__ import annotations

import io

from casemate.errors import Corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\x00", "xz"), (b"BZh", "bzip2"))


def compression_of(start: bytes) -> str:
    """Return the name of the compression whose magic number ``start`` begins with, "" for none."""
    return next((name for magic, name in _MAGIC if start.startswith(magic)), "")


def inflated(file: BinaryIO, kind: str, *, what: str) -> BinaryIO:
    """Return a reader of the decompressed ``file`` (owned from now on). ``kind`` is "gzip" or "zstd"."""
    return io.BufferedReader(_Inflated(file, kind, what), buffer_size=256 << 10)


class _Inflated(io.RawIOBase):
    def __init__(self, file: BinaryIO, kind: str, what: str) -> None:
        self._file = file
        self._what = what
        self._plain: BinaryIO
        if kind == "gzip":
            from isal import igzip

            self._plain = igzip.IGzipFile(fileobj=file, mode="rb")  # type: ignore[no-untyped-call,assignment]
        else:
            from backports import zstd

            self._plain = zstd.ZstdFile(file, mode="rb")  # type: ignore[assignment]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the stubs say Buffer
        try:
            data = self._plain.read(len(buffer))
        except (OSError, EOFError, ValueError) as error:
            raise Corrupt("decompress archive", self._what, error) from None
        except Exception as error:
            if type(error).__name__ in {"IsalError", "ZstdError", "error"}:
                raise Corrupt("decompress archive", self._what, error) from None
            raise
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
