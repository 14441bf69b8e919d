"""Start quickly: the code of a command's modules comes from one file instead of a hundred and fifty.

Finding, checking and reading a ``.pyc`` costs CPython about 0.1 ms a module. The bundle is a second ``.pyc``
cache beside the first, under the same rules: written into the package's ``__pycache__`` by whoever may write
there, replaced atomically, and used for a module only while its source has the recorded modification time and
size. Without a bundle, or when anything about it is odd, the ordinary import system does everything.

For each verb the bundle also remembers in which order an earlier run had finished its modules. Their bodies
are run in that order before the command begins, so that each finds what it imports already there.

The standard library's extension modules are remembered by their place alone: that saves searching for them.

Format: 24 bytes of header (magic, stamp of the interpreter, lengths of file and index), the marshalled index
``({module: (is_package, file, mtime_ns, size, offset, length)}, {"target: verb": [module, ...]})``, then the
marshalled code objects. A file's name is relative to the package, or absolute in the standard library.
"""
# No __future__ import here: it would read a file, and this module is the one that saves reading files.

import gc
import marshal
import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader
from _imp import source_hash as _source_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

    Found = tuple[bool, str, int, int, int, int]

MAGIC = b"CMQ2"
HEADER_BYTES = 24
PACKAGE = os.path.dirname(__file__)
CACHE = f"{PACKAGE}/__pycache__"
PATH = f"{CACHE}/quickstart.{sys.implementation.cache_tag}"
STALE = 3
"""So many modules imported the slow way make a new bundle worth writing."""
LEARN_EVERY = 64
"""One start in so many runs without its profile and learns it anew: what a verb needs changes with its use."""
GARBAGE = 50_000
"""Net allocations before the first collection of cycles: a short command never collects, a long one does."""
ends_at_once = False
"""Whether this process is one command, which leaves to the kernel what the kernel tidies up anyway."""
verb = ""
"""The verb that this process carries out, once it is known: profiles are kept for each."""


def interpreter_stamp() -> bytes:
    """8 bytes that differ between interpreters whose code objects differ."""
    return _source_hash(0, f"{sys.version} {sys.flags.optimize}".encode())


class Bundle:
    """The bundle as a finder and loader of modules (importlib's ``MetaPathFinder`` and ``Loader``)."""

    __slots__ = ("done", "fd", "index", "missed", "profiles", "start")

    def __init__(self) -> None:
        self.index: dict[str, Found] = {}
        self.profiles: dict[str, list[str]] = {}
        self.fd = -1
        self.start = 0
        self.missed: list[str] = []
        self.done: list[str] = []

    def open(self) -> None:
        """Open the bundle and read its index; a missing, foreign or damaged one stays empty."""
        try:
            self.fd = os.open(PATH, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return
        header = os.pread(self.fd, HEADER_BYTES, 0)
        size = int.from_bytes(header[12:20], "little")
        length = int.from_bytes(header[20:24], "little")
        if header[:12] == MAGIC + interpreter_stamp() and size == os.fstat(self.fd).st_size:
            read = os.pread(self.fd, length, HEADER_BYTES)
            self.index, self.profiles = marshal.loads(read)  # noqa: S302 - as trusted as a .pyc
            self.start = HEADER_BYTES + length

    def profile(self, target: str, words: "Sequence[str]") -> "list[str]":
        """The modules that the command line ``words`` needed before, in the order in which they were done."""
        for at, word in enumerate(words):
            for name in (" ".join(words[at : at + 2]), word):
                known = self.profiles.get(f"{target}: {name}")
                if known:
                    return known
        return []

    def preload(self, names: "Sequence[str]") -> None:
        """Run the bodies of the modules ``names``; stop at the first whose source has changed.

        A package that imports its own modules is done after them; they wait for it and come the ordinary way.
        """
        modules = sys.modules
        new = type(sys)
        for name in names:
            parent, _, child = name.rpartition(".")
            if name in modules or (parent and parent not in modules):
                continue
            spec = self.find_spec(name)
            if spec is None:
                return
            if not self.index[name][5]:
                continue  # the ordinary import makes extension modules
            module = new(name)
            module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
            if spec.submodule_search_locations is None:
                module.__package__ = parent
            else:
                module.__package__ = name
                module.__path__ = spec.submodule_search_locations
            modules[name] = module
            if parent:
                setattr(modules[parent], child, module)
            self.exec_module(module)

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        """A module of the bundle, if it has its present source; None leaves it to the next finder."""
        del path, target
        found = self.index.get(name)
        if found is None:
            if name[:9] == "casemate.":
                self.missed.append(name)
            return None
        file = found[1] if found[1][0] == "/" else f"{PACKAGE}/{found[1]}"
        try:
            status = os.stat(file)
        except OSError:
            return None
        if (status.st_mtime_ns, status.st_size) != found[2:4]:
            self.missed.append(name)
            return None
        loader = self if found[5] else ExtensionFileLoader(name, file)
        spec = ModuleSpec(name, loader, origin=file)  # type: ignore[arg-type] # a Loader by shape
        spec.has_location = True
        if found[0]:
            spec.submodule_search_locations = [os.path.dirname(file)]
        return spec

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Leave the making of the module object to importlib."""
        del spec

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's code."""
        found = self.index[module.__name__]
        data = os.pread(self.fd, found[5], self.start + found[4])
        code: CodeType = marshal.loads(data)  # noqa: S302 - as trusted as a .pyc
        exec(code, module.__dict__)  # noqa: S102 - this is what a loader does
        self.done.append(module.__name__)


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
    profile = bundle.profile(target, sys.argv[1:]) if os.getpid() % LEARN_EVERY else []
    bundle.preload(profile)
    module = __import__(target, fromlist=("main",))
    try:
        status: int = module.main()
    finally:
        _renew(bundle, f"{target}: {verb}" if verb and not profile else "")
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return status  # the interpreter's own end reports it
    os._exit(status)


def _renew(bundle: Bundle, learned: str) -> None:
    """Write a new bundle if this one missed too much, or if this run had no profile and has ``learned`` one."""
    missed = {name for name in bundle.missed if name in sys.modules}
    outdated = [key for key, names in bundle.profiles.items() if not missed.isdisjoint(names)]
    is_new = bool(learned) and bundle.profiles.get(learned) != bundle.done
    if not (len(missed) >= STALE or outdated or is_new) or not os.access(CACHE, os.W_OK):
        return
    for key in outdated:  # what has changed may need other modules now
        del bundle.profiles[key]
    if is_new and not missed:  # else the code first, and the order at the next start
        bundle.profiles[learned] = list(bundle.done)  # before the writer's own modules join the list
    from casemate.quickstart_write import renew

    renew(bundle)


def stand_in_for_functools() -> "ModuleType":
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
