"""Where durable and volatile state lives, and that nobody but its owner can look into it."""

from __future__ import annotations

import errno
import os
import stat

from casemate.errors import Denied, Exhausted, Invalid

_PRIVATE = 0o700


class StorePaths:
    """The state root (survives a reboot) and the run root (does not), both absolute.

    Everything below either is reachable only through a directory of mode 0700 that the caller owns; modes
    further down may therefore be what an image wants.
    """

    __slots__ = ("root", "run_root")

    def __init__(self, root: str, run_root: str) -> None:
        for path in (root, run_root):
            if not os.path.isabs(path):
                raise Invalid("use state directory", path, "the path is not absolute")
        self.root = root.rstrip("/") or "/"
        self.run_root = run_root.rstrip("/") or "/"

    @property
    def database(self) -> str:
        """The SQLite file with names, containers, ranges and leases."""
        return self.root + "/casemate.db"

    @property
    def content(self) -> str:
        """Blobs by digest, and blobs on their way in."""
        return self.root + "/content"

    @property
    def overlay(self) -> str:
        """Unpacked layers and the writable roots above them."""
        return self.root + "/overlay"

    @property
    def containers(self) -> str:
        """One directory a container: its logs, exit record and generated files. The engine fills it."""
        return self.root + "/containers"

    @property
    def volumes(self) -> str:
        """One directory a named volume. The engine fills it."""
        return self.root + "/volumes"

    @property
    def cache(self) -> str:
        """Files that may be deleted at any time, such as compiled seccomp programs."""
        return self.root + "/cache"

    def ensure(self) -> None:
        """Make both roots private directories of the caller; cheap when they already are.

        Raises: Denied when a root belongs to somebody else or is a symbolic link in a shared place.
        """
        _ensure_private(self.root)
        _ensure_private(self.run_root)


def default_paths() -> StorePaths:
    """The paths that the environment and the caller's uid choose.

    ``CASEMATE_ROOT`` and ``CASEMATE_RUN_ROOT`` win; then root's fixed places; then the XDG directories.
    Source: XDG Base Directory Specification.
    """
    environ = os.environ
    euid = os.geteuid()
    root = environ.get("CASEMATE_ROOT", "")
    run_root = environ.get("CASEMATE_RUN_ROOT", "")
    if not root:
        root = "/var/lib/casemate" if euid == 0 else _xdg_data_home() + "/casemate"
    if not run_root:
        run_root = "/run/casemate" if euid == 0 else _rootless_run_root(euid)
    return StorePaths(root, run_root)


def _xdg_data_home() -> str:
    """XDG_DATA_HOME, or its default below the home directory.

    A relative value is ignored, as the specification says.
    """
    chosen = os.environ.get("XDG_DATA_HOME", "")
    if chosen.startswith("/"):
        return chosen.rstrip("/")
    home = os.environ.get("HOME", "")
    if not home.startswith("/"):
        raise Invalid(
            "find state directory", "", "HOME is not set", hint="set CASEMATE_ROOT to a directory of yours"
        )
    return home.rstrip("/") + "/.local/share"


def _rootless_run_root(euid: int) -> str:
    """The user's runtime directory, or a private directory in /tmp where no login manager made one."""
    chosen = os.environ.get("XDG_RUNTIME_DIR", "")
    if chosen.startswith("/") and os.path.isdir(chosen):
        return chosen.rstrip("/") + "/casemate"
    return f"/tmp/casemate-{euid}"  # noqa: S108 - created 0700 and checked by _ensure_private


def _ensure_private(path: str) -> None:
    """Make ``path`` a directory that only the caller can enter, creating missing parents."""
    try:
        status = os.stat(path, follow_symlinks=not path.startswith("/tmp/"))  # noqa: S108 - /tmp links are others' bait
    except FileNotFoundError:
        _create(path)
        status = os.stat(path, follow_symlinks=False)
    except OSError as error:
        raise Denied("use state directory", path, error.strerror) from error
    if not stat.S_ISDIR(status.st_mode):
        raise Denied("use state directory", path, "it is not a directory")
    if status.st_uid != os.geteuid():
        raise Denied(
            "use state directory",
            path,
            f"it belongs to uid {status.st_uid}, not to uid {os.geteuid()}",
            hint="set CASEMATE_ROOT and CASEMATE_RUN_ROOT to directories of yours",
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        os.chmod(path, _PRIVATE)


def _create(path: str) -> None:
    """Create ``path`` 0700 and its missing parents 0755."""
    parent = os.path.dirname(path)
    try:
        if not os.path.isdir(parent):
            os.makedirs(parent, exist_ok=True)
        os.mkdir(path, _PRIVATE)
        os.chmod(path, _PRIVATE)  # mkdir may have inherited a set-group-id bit or lost bits to the umask
    except FileExistsError:
        return
    except OSError as error:
        category = Exhausted if error.errno in (errno.ENOSPC, errno.EDQUOT) else Denied
        raise category("create state directory", path, error.strerror, hint="set CASEMATE_ROOT") from error
