"""Write the bundle that ``quickstart`` reads: what it had, plus what this run had to look for."""

from __future__ import annotations
import __future__

import ast
import marshal
import os
import sys
from _imp import extension_suffixes

from casemate.quickstart import HEADER_BYTES, MAGIC, PACKAGE, PATH, Bundle, interpreter_stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

    from casemate.quickstart import Found

OPTIMIZE = 2
"""Without docstrings, which nothing on the quick path reads and which are a third of the bytes."""
EXTENSION_SUFFIXES = tuple(extension_suffixes())
LIBRARY = os.path.dirname(os.__file__) + "/"
"""The standard library's own modules in Python are kept too; nobody else's are."""


def renew(bundle: Bundle) -> None:
    """Replace the bundle by one that has this run's modules too; do nothing where that is impossible."""
    entries: dict[str, Found] = {}
    code = []
    offset = 0
    for name, file in sorted({**_known(bundle), **_imported()}.items()):
        made = _place(file) if file.endswith(EXTENSION_SUFFIXES) else _compiled(file)
        if made is None:
            continue
        mtime_ns, size, data = made
        is_package = os.path.basename(file) == "__init__.py"
        entries[name] = (is_package, file.removeprefix(PACKAGE + "/"), mtime_ns, size, offset, len(data))
        code.append(data)
        offset += len(data)
    index = marshal.dumps((entries, bundle.profiles))
    size = HEADER_BYTES + len(index) + offset
    header = MAGIC + interpreter_stamp() + size.to_bytes(8, "little") + len(index).to_bytes(4, "little")
    _replace(b"".join((header, index, *code)))


def _known(bundle: Bundle) -> dict[str, str]:
    """The modules of the present bundle and their files."""
    return {name: os.path.join(PACKAGE, found[1]) for name, found in bundle.index.items()}


def _imported() -> dict[str, str]:
    """The modules of this run that lie in Python source of ours or of the standard library, and their files."""
    files = {}
    for name, module in list(sys.modules.items()):
        file = getattr(getattr(module, "__spec__", None), "origin", None) or ""
        ours = name.startswith("casemate.") and file.startswith(PACKAGE + "/")
        theirs = file.startswith(LIBRARY) and "/site-packages/" not in file and "/dist-packages/" not in file
        if (ours and file.endswith(".py")) or (theirs and file.endswith((".py", *EXTENSION_SUFFIXES))):
            files[name] = file
    return files


def _place(path: str) -> tuple[int, int, bytes] | None:
    """(mtime, size, no code) of an extension module; None when there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, b""


def _compiled(path: str) -> tuple[int, int, bytes] | None:
    """(mtime, size, marshalled code) of a source file; None when there is none."""
    try:
        with open(path, "rb") as file:
            status, source = os.fstat(file.fileno()), file.read()
    except OSError:
        return None
    tree = ast.parse(source, path)
    flags = 0
    for statement in list(tree.body):
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            # The statement imports a module that nobody uses; what it asks of the compiler is kept.
            for feature in statement.names:
                flags |= getattr(__future__, feature.name).compiler_flag
            tree.body.remove(statement)
    code: CodeType = compile(tree, path, "exec", flags=flags, dont_inherit=True, optimize=OPTIMIZE)
    return status.st_mtime_ns, status.st_size, marshal.dumps(code)


def _replace(data: bytes) -> None:
    """Write the file beside its place and rename it there."""
    temporary = f"{PATH}.{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError:
        return
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.rename(temporary, PATH)
    except OSError:
        os.unlink(temporary)
