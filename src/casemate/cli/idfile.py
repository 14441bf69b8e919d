"""``--cidfile``: a file that holds the id of the container made."""

from __future__ import annotations

import os

from casemate.errors import AlreadyExists, Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class IdFile:
    """A context manager around making the container: the file is claimed before, removed if nothing was made.

    An empty path is no file. Raises: AlreadyExists (as docker: it may name another container), Invalid.
    """

    __slots__ = ("fd", "path", "written")

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = -1
        self.written = False

    def __enter__(self) -> Self:
        if self.path:
            try:
                self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                hint = "remove the file when its container is not needed"
                raise AlreadyExists(
                    "write the id file", self.path, "it is there already", hint=hint
                ) from None
            except OSError as error:
                raise Invalid("write the id file", self.path, (error.strerror or "").lower()) from None
        return self

    def write(self, container_id: str) -> None:
        """Write the id."""
        if self.fd >= 0:
            os.write(self.fd, container_id.encode())
            self.written = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            if not self.written:
                os.unlink(self.path)
