"""Start quickly: the code of a command's modules comes from one file instead of a hundred and fifty.

Finding, checking and reading a ``.pyc`` costs CPython about 0.1 ms a module. The bundle is a second ``.pyc``
cache beside the first, under the same rules: written into the package's ``__pycache__`` by whoever may write
there, replaced atomically, and used for a module only while its source has the recorded modification time and
size. Without a bundle, or when anything about it is odd, the ordinary import system does everything.

Format: 16 bytes of header (magic, stamp of the interpreter, length of the index), the marshalled index
``{module: (is_package, mtime_ns, size, offset, length)}``, then the marshalled code objects.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys
from _frozen_importlib import ModuleSpec
from _imp import source_hash as _source_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType

MAGIC = b"CMQ1"
HEADER_BYTES = 16
PACKAGE = os.path.dirname(__file__)
CACHE = f"{PACKAGE}/__pycache__"
PATH = f"{CACHE}/quickstart.{sys.implementation.cache_tag}"
STALE = 3
"""So many modules imported the slow way make a new bundle worth writing."""
GARBAGE = 50_000
"""Net allocations before the first collection of cycles: a short command never collects, a long one does."""
ends_at_once = False
"""Whether this process is one command, which leaves to the kernel what the kernel tidies up anyway."""


def interpreter_stamp() -> bytes:
    """8 bytes that differ between interpreters whose code objects differ."""
    return _source_hash(0, f"{sys.version} {sys.flags.optimize}".encode())


class Bundle:
    """The bundle as a finder and loader of modules (importlib's ``MetaPathFinder`` and ``Loader``)."""

    __slots__ = ("fd", "index", "missed", "start")

    def __init__(self) -> None:
        self.index: dict[str, tuple[bool, int, int, int, int]] = {}
        self.fd = -1
        self.start = 0
        self.missed: dict[str, str] = {}

    def open(self) -> None:
        """Open the bundle and read its index; a missing, foreign or damaged one stays empty."""
        try:
            self.fd = os.open(PATH, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return
        header = os.pread(self.fd, HEADER_BYTES, 0)
        length = int.from_bytes(header[12:HEADER_BYTES], "little")
        if header[:4] == MAGIC and header[4:12] == interpreter_stamp():
            self.index = marshal.loads(os.pread(self.fd, length, HEADER_BYTES))  # noqa: S302 - as trusted as a .pyc
            self.start = HEADER_BYTES + length

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """A module of ours, if the bundle has its present source; None leaves it to the next finder."""
        del path, target
        if name[:9] != "casemate.":
            return None
        found = self.index.get(name)
        file = f"{PACKAGE}/{name[9:].replace('.', '/')}"
        if found is None:
            self.missed[name] = file
            return None
        file += "/__init__.py" if found[0] else ".py"
        try:
            status = os.stat(file)
        except OSError:
            return None
        if (status.st_mtime_ns, status.st_size) != found[1:3]:
            self.missed[name] = file
            return None
        spec = ModuleSpec(name, self, origin=file, is_package=found[0])  # type: ignore[arg-type] # a Loader by shape
        spec.has_location = True
        if found[0]:
            spec.submodule_search_locations = [os.path.dirname(file)]
        return spec

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Leave the making of the module object to importlib."""
        del spec

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        _, _, _, offset, length = self.index[module.__name__]
        data = os.pread(self.fd, length, self.start + offset)
        code: CodeType = marshal.loads(data)  # noqa: S302 - as trusted as a .pyc
        exec(code, module.__dict__)  # noqa: S102 - this is what a loader does


def command(target: str) -> int:
    """Install the bundle, run ``main`` of the module ``target``, and renew a bundle that missed too much.

    Does not return when all went well: taking an interpreter apart costs 4 ms and helps nobody.
    """
    global ends_at_once  # noqa: PLW0603 - a fact about the process
    ends_at_once = True
    gc.set_threshold(GARBAGE)
    bundle = Bundle()
    bundle.open()
    sys.meta_path.insert(0, bundle)
    module = __import__(target, fromlist=("main",))
    try:
        status: int = module.main()
    finally:
        if sum(name in sys.modules for name in bundle.missed) >= STALE and os.access(CACHE, os.W_OK):
            from casemate.quickstart_write import renew

            renew(bundle)
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return status  # the interpreter's own end reports it
    os._exit(status)


def stand_in_for_functools() -> ModuleType:
    """A module with ``lru_cache(maxsize)(function)`` alone: what functools makes of its own C code, unadorned."""
    from _functools import _lru_cache_wrapper  # type: ignore[import-not-found]  # the C module has no stub

    is_typed, no_statistics = False, None
    stand_in = type(sys)("functools")
    stand_in.__dict__["lru_cache"] = lambda size: (
        lambda function: _lru_cache_wrapper(function, size, is_typed, no_statistics)
    )
    return stand_in


def casemate() -> int:
    """Entry point of the command ``casemate``."""
    return command("casemate.cli.main")


def casemate_oci() -> int:
    """Entry point of the command ``casemate-oci``."""
    return command("casemate.runtime.cli.main")
