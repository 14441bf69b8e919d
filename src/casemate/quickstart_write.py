"""Write the bundle that ``quickstart`` reads: what it had, plus what this run had to look for."""

from __future__ import annotations

import marshal
import os
import sys

from casemate.quickstart import HEADER_BYTES, MAGIC, PATH, Bundle, interpreter_stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

OPTIMIZE = 2
"""Without docstrings, which nothing on the quick path reads and which are a third of the bytes."""


def renew(bundle: Bundle) -> None:
    """Replace the bundle by one that has this run's modules too; do nothing where that is impossible."""
    names = {name for name in (*bundle.index, *bundle.missed) if name in sys.modules or name in bundle.index}
    entries, code = {}, []
    offset = 0
    for name in sorted(names):
        made = _compiled(name)
        if made is None:
            continue
        is_package, mtime_ns, size, data = made
        entries[name] = (is_package, mtime_ns, size, offset, len(data))
        code.append(data)
        offset += len(data)
    index = marshal.dumps(entries)
    header = MAGIC + interpreter_stamp() + len(index).to_bytes(HEADER_BYTES - 12, "little")
    _replace(b"".join((header, index, *code)))


def _compiled(name: str) -> tuple[bool, int, int, bytes] | None:
    """(is a package, mtime, size, marshalled code) of a module's present source; None when there is none."""
    stem = os.path.join(os.path.dirname(__file__), *name.split(".")[1:])
    for path, is_package in ((stem + ".py", False), (stem + "/__init__.py", True)):
        try:
            with open(path, "rb") as file:
                status, source = os.fstat(file.fileno()), file.read()
        except OSError:
            continue
        code: CodeType = compile(source, path, "exec", dont_inherit=True, optimize=OPTIMIZE)
        return is_package, status.st_mtime_ns, status.st_size, marshal.dumps(code)
    return None


def _replace(data: bytes) -> None:
    """Write the file beside its place and rename it there."""
    temporary = f"{PATH}.{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError:
        return
    try:
        os.write(fd, data)
        os.rename(temporary, PATH)
    except OSError:
        os.unlink(temporary)
    finally:
        os.close(fd)
