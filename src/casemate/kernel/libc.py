"""The door to the C library: prototypes made once, results checked, failures that name call and object.

Everything else in this room is a typed face on what is declared here. ctypes passes a plain ``int`` as a
32-bit value to a function without prototype and lets everybody change shared prototypes, so neither is ever
done: each ``declare`` makes a function object of its own whose arguments are all of register width.

ctypes costs 2 ms to import, and most commands end without any of these calls: it is imported by the first call.
"""

from __future__ import annotations

import os

from casemate.kernel.sysnum import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Types of arguments, by their names in ctypes.
LONG = "c_long"
POINTER = "c_void_p"
STRING = "c_char_p"

_libc: Any = None


class KernelError(OSError):
    """A system call failed: ``call`` says which, ``subject`` on what object.

    ``str()`` reads ``open_tree(/nope): No such file or directory``; ``errno`` and ``strerror`` are those of
    OSError. The class is not split by errno as OSError is: compare ``errno``.
    """

    def __init__(self, number: int, call: str, subject: object = "") -> None:
        super().__init__(number, os.strerror(number))
        self.call = call
        self.subject = os.fsdecode(subject) if isinstance(subject, bytes) else str(subject)

    def __str__(self) -> str:
        return f"{self.call}({self.subject}): {self.strerror}"

    def __reduce__(self) -> tuple[type[KernelError], tuple[int | None, str, str]]:
        return (KernelError, (self.errno, self.call, self.subject))


def declare(name: str, *argtypes: str) -> Callable[..., int]:
    """A raw system call as a function with its own prototype; it returns -1 and sets errno on failure.

    The C function ``syscall`` is variadic. On both supported machines its arguments travel in the same
    registers as those of a prototyped function, provided that each has register width: use LONG, POINTER and
    STRING only. A system call that this machine has no number for answers ENOSYS when it is called, not when
    it is declared.
    """
    try:
        nr = number(name)
    except OSError:
        nr = -1
    function: Callable[..., int] | None = None

    def call(*arguments: Any) -> int:
        nonlocal function
        if function is None:
            function = _bound("syscall", (LONG, *argtypes), LONG)
        return function(nr, *arguments)

    return call


def declare_c(name: str, *argtypes: str) -> Callable[..., int]:
    """A function of the C library itself that returns an int, with its own prototype."""
    function: Callable[..., int] | None = None

    def call(*arguments: Any) -> int:
        nonlocal function
        if function is None:
            function = _bound(name, argtypes, "c_int")
        return function(*arguments)

    return call


def _bound(name: str, argtypes: tuple[str, ...], restype: str) -> Callable[..., int]:
    """A function object of the C library that nobody else has."""
    global _libc  # noqa: PLW0603 - the library is opened once
    import ctypes

    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
    function: Any = _libc[name]
    function.argtypes = [getattr(ctypes, kind) for kind in argtypes]
    function.restype = getattr(ctypes, restype)
    result: Callable[..., int] = function
    return result


def c_path(path: str | bytes) -> bytes:
    """The bytes of a path for a STRING argument.

    Raises: ValueError for a NUL in it: C would see a shorter path than the one that was checked.
    """
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError("embedded null byte in a path")
    return encoded


def checked(result: int, call: str, subject: object = "") -> int:
    """``result`` unless it is -1.

    Raises: KernelError with the errno that the call left, the call's name and its object.
    """
    if result == -1:
        raise KernelError(last_errno(), call, subject)
    return result


def last_errno() -> int:
    """The errno that the last call declared here left in this thread."""
    import ctypes

    return ctypes.get_errno()
