"""What is to be written where: the common form of both versions' settings, and their executor."""

from __future__ import annotations

import errno
import os

from casemate.errors import Denied, Invalid, Unsupported
from casemate.kernel.libc import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_WRONG_ORDER = (errno.EINVAL, errno.EBUSY)
_NOT_HERE = (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV, errno.ENXIO)


class Setting:
    """One value of one control file.

    ``name`` is the field of ``linux.resources`` that it comes from; ``choices`` are (file, text) pairs of
    which the first file that exists is written. ``optional``: without any such file it holds anyway.
    """

    __slots__ = ("choices", "controller", "name", "optional")

    def __init__(self, name: str, controller: str, *choices: tuple[str, str], optional: bool = False) -> None:
        self.name = name
        self.controller = controller
        self.choices = choices
        self.optional = optional

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Setting) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, str, tuple[tuple[str, str], ...], bool]:
        return self.name, self.controller, self.choices, self.optional

    def __repr__(self) -> str:
        return f"Setting({self.name!r}, {self.controller!r}, {', '.join(map(repr, self.choices))})"


def write_file(directory: str, name: str, text: str) -> None:
    """Write a control file in one write(2); it must exist.

    Raises: KernelError with the file's path.
    """
    path = f"{directory}/{name}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, "open", path) from None
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, "write", f"{path} <- {text!r}") from None
    finally:
        os.close(fd)


def read_file(directory: str, name: str, *, limit_bytes: int = 1 << 20) -> str:
    """The text of a control file, read to its end.

    Raises: KernelError with the file's path.
    """
    path = f"{directory}/{name}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, "open", path) from None
    parts: list[bytes] = []
    size = 0
    try:
        while size < limit_bytes and (part := os.read(fd, 65536)):
            parts.append(part)
            size += len(part)
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, "read", path) from None
    finally:
        os.close(fd)
    return b"".join(parts).decode(errors="replace")


def find_text(directory: str, name: str) -> str | None:
    """The text of a control file without the final newline; None when it cannot be read."""
    try:
        return read_file(directory, name).rstrip("\n")
    except KernelError:
        return None


def find_number(directory: str, name: str) -> int | None:
    """The number in a control file; None when it is missing, or says ``max``."""
    text = find_text(directory, name)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def write_settings(settings: Iterable[Setting], directory_of: Callable[[str], str | None]) -> list[str]:
    """Write every setting; the names of those that this machine has no file for.

    Some pairs only fit in one order, which depends on what is set now (a v1 memory limit may not exceed
    memory+swap, nor may a quota its parent's share of the period): what is refused is tried once more after
    all others.
    Raises: Invalid when the kernel refuses a value, Denied when the caller may not set it.
    """
    absent: list[str] = []
    again: list[Setting] = []
    for setting in settings:
        try:
            if not _write_one(setting, directory_of(setting.controller)) and not setting.optional:
                absent.append(setting.name)
        except KernelError as error:
            if error.errno not in _WRONG_ORDER:
                raise explain(setting, error) from None
            again.append(setting)
    for setting in again:
        try:
            _write_one(setting, directory_of(setting.controller))
        except KernelError as error:
            raise explain(setting, error) from None
    return absent


def _write_one(setting: Setting, directory: str | None) -> bool:
    if directory is None:
        return False
    for file, text in setting.choices:
        try:
            write_file(directory, file, text)
        except KernelError as error:
            if error.errno not in _NOT_HERE:
                raise
            continue
        return True
    return False


def refuse_absent(names: list[str]) -> None:
    """Nothing for an empty list.

    Raises: Unsupported, naming every limit.
    """
    if names:
        raise Unsupported(
            "limit the container",
            ", ".join(dict.fromkeys(names)),
            "this kernel has no control file for it",
            hint="casemate doctor shows which controllers there are; leave the limit out to go on without it",
        )


def explain(setting: Setting, error: KernelError) -> Invalid | Denied:
    """The user's error for a refused setting."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Denied("limit the container", setting.name, error)
    hint = ""
    if error.errno == errno.EBUSY and setting.controller == "memory":
        hint = "the container uses more memory than this; stop it or choose a higher limit"
    return Invalid("limit the container", setting.name, error, hint=hint)
