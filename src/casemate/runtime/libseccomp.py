"""libseccomp by ctypes: only what compiling a filter needs. Nothing is loaded into this process's own seccomp state.

Source: seccomp_init(3), seccomp_rule_add(3), seccomp_export_bpf(3).
"""

from __future__ import annotations

import ctypes
import errno
import os

from casemate.errors import Internal, Invalid, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_ATTRIBUTE_OPTIMIZE = 8  # seccomp.h: SCMP_FLTATR_CTL_OPTIMIZE
_BINARY_TREE = 2
_NOT_A_CALL = -1  # __NR_SCMP_ERROR
_BPF_MAXINSNS = 4096


class _Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


class Library:
    """The shared library, with its prototypes made once."""

    def __init__(self) -> None:
        """Raise Unsupported when libseccomp is not installed."""
        try:
            self._c = library = ctypes.CDLL("libseccomp.so.2")
        except OSError as error:
            raise Unsupported(
                "compile seccomp profile",
                "libseccomp.so.2",
                error,
                hint="install it: apt install libseccomp2",
            ) from error
        library.seccomp_init.restype = ctypes.c_void_p
        library.seccomp_init.argtypes = [ctypes.c_uint32]
        library.seccomp_release.argtypes = [ctypes.c_void_p]
        library.seccomp_release.restype = None
        library.seccomp_arch_resolve_name.argtypes = [ctypes.c_char_p]
        library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
        library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        library.seccomp_arch_native.restype = ctypes.c_uint32
        library.seccomp_arch_remove.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        library.seccomp_merge.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
        library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
        library.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
        library.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p,
            ctypes.c_uint32,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.POINTER(_Comparison),
        ]
        library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]

    def new(self, default: int, architectures: Sequence[bytes], *, optimize: bool = True) -> int:
        """Return a new filter for ``architectures`` and no others.

        ``optimize``: a filter that has rules; libseccomp up to 2.5.4 makes nonsense of a tree without any.
        """
        context = self._c.seccomp_init(default)
        if not context:
            raise Invalid("compile seccomp profile", f"{default:#x}", "libseccomp refuses the default action")
        tokens = [self._c.seccomp_arch_resolve_name(name) for name in architectures]
        native = self._c.seccomp_arch_native()
        for name, token in zip(architectures, tokens, strict=True):
            result = self._c.seccomp_arch_add(context, token)
            if result not in (0, -errno.EEXIST):
                raise Unsupported("compile seccomp profile", name.decode(), os.strerror(-result))
        if native not in tokens:
            self._c.seccomp_arch_remove(context, native)
        # A tree instead of a list: a filter of 300 calls is decided in 9 comparisons. Older libraries refuse; so be it.
        if optimize:
            self._c.seccomp_attr_set(context, _ATTRIBUTE_OPTIMIZE, _BINARY_TREE)
        return int(context)

    def merge(self, context: int, other: int) -> None:
        """Move the architectures of ``other`` with their rules into ``context``; ``other`` is gone then. Raises: Internal."""
        result = self._c.seccomp_merge(context, other)
        if result < 0:
            raise Internal("compile seccomp profile", "seccomp_merge", os.strerror(-result))

    def release(self, context: int) -> None:
        """Free a filter."""
        self._c.seccomp_release(context)

    def number(self, name: str) -> int | None:
        """Return the native number of a call (negative: libseccomp's pseudo number), None when the name is unknown."""
        number = int(self._c.seccomp_syscall_resolve_name(name.encode()))
        return None if number == _NOT_A_CALL else number

    def number_in(self, architecture: bytes, name: str) -> int | None:
        """Return the number of a call in another architecture, as ``number`` does."""
        token = self._c.seccomp_arch_resolve_name(architecture)
        number = int(self._c.seccomp_syscall_resolve_name_arch(token, name.encode()))
        return None if number == _NOT_A_CALL else number

    def add(
        self,
        context: int,
        *,
        name: str,
        number: int,
        action: int,
        conditions: Sequence[tuple[int, int, int, int]],
    ) -> None:
        """Add one rule. Raises: Invalid with libseccomp's reason."""
        array = (_Comparison * max(1, len(conditions)))()
        for place, (index, operation, first, second) in enumerate(conditions):
            array[place] = _Comparison(index, operation, first, second)
        result = self._c.seccomp_rule_add_array(context, action, number, len(conditions), array)
        if result == -errno.EEXIST:
            return
        if result == -errno.EDOM and number < 0:
            return  # a call of another architecture only
        if result < 0:
            raise Invalid("compile seccomp profile", name, os.strerror(-result))

    def export(self, context: int) -> bytes:
        """Return the filter as an array of `struct sock_filter`."""
        fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            result = self._c.seccomp_export_bpf(context, fd)
            if result < 0:
                raise Internal("compile seccomp profile", "seccomp_export_bpf", os.strerror(-result))
            program = os.pread(fd, (_BPF_MAXINSNS + 1) * 8, 0)
        finally:
            os.close(fd)
        if len(program) > _BPF_MAXINSNS * 8:
            raise Invalid(
                "compile seccomp profile", f"{len(program) // 8} instructions", "the kernel takes 4096"
            )
        return program


def library_file() -> str:
    """Return path, size and modification time of the library that this process has loaded, on two lines; "" when none is."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            path = line[line.find("/") :].rstrip("\n") if "/" in line else ""
            if "/libseccomp.so" in path:
                about = os.stat(path)
                return f"{path}\n{about.st_size} {about.st_mtime_ns}"
    return ""
