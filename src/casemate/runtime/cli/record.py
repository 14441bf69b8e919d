"""The state of a container between two commands: one directory, one small JSON file that is replaced atomically.

What is needed to remove everything is written before anything is made, so that `delete --force` can clean up after a command
that was killed at any moment. Whether the container runs is never stored: the kernel is asked.
"""

from __future__ import annotations

import os
import time

from casemate.errors import AlreadyExists, CasemateError, Corrupt, Invalid, NotFound, Unsupported
from casemate.kernel import procfs
from casemate.oci.quick_json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.cgroups.manager import Cgroup
    from casemate.kernel.fd import Fd

_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_LONGEST_ID = 1024
_LIMIT = 16 << 20
FIFO = "exec.fifo"
_STATE = "state.json"
_VERSION = 1
"""Of state.json: whoever changes what a field means raises it, and what is there is refused by name."""


def check_id(text: str) -> str:
    """Return the id. Raises: Invalid for what runc refuses: other characters, empty, `.`, `..`."""
    if not text or len(text) > _LONGEST_ID or set(text) - _ID_CHARACTERS or text in (".", ".."):
        raise Invalid("read container id", repr(text), "it consists of letters, digits and _+-.")
    return text


class Record:
    """The stored facts about one container. ``data`` is the JSON object."""

    __slots__ = ("data", "directory", "id")

    def __init__(self, root: str, container_id: str, data: dict[str, Any]) -> None:
        self.id = container_id
        self.directory = f"{root}/{container_id}"
        self.data = data

    @property
    def pid(self) -> int:
        """The first process, 0 while there is none."""
        return int(self.data.get("pid") or 0)

    @property
    def bundle(self) -> str:
        """The bundle's directory."""
        return str(self.data.get("bundle", ""))

    @property
    def fifo(self) -> str:
        """The file that the program waits on until start."""
        return f"{self.directory}/{FIFO}"

    @property
    def hook_fifo(self) -> str:
        """The file from which `start` reads how the startContainer hooks ended."""
        return f"{self.directory}/hooks.fifo"

    def save(self) -> None:
        """Replace the stored state in one step."""
        temporary = f"{self.directory}/{_STATE}.{os.getpid()}"
        write_file(temporary, dumps(self.data).encode())
        os.rename(temporary, f"{self.directory}/{_STATE}")

    def spec(self) -> dict[str, Any]:
        """The config.json that the container was made from."""
        from casemate.runtime.schema.document import read

        found: dict[str, Any] = read(read_file(f"{self.directory}/config.json"), what="config.json")
        return found

    def may_have_hooks(self, *stages: str) -> bool:
        """Whether config.json has hooks of one of the stages; also true where the record does not say."""
        known = self.data.get("hooks")
        return known is None or any(stage in known for stage in stages)

    def set_child(self, pid: int) -> None:
        """Remember the first process by pid and start time, so that a reused pid is never taken for it."""
        self.data["pid"] = pid
        self.data["start_time"] = procfs.start_time(pid)
        self.data["boot_id"] = procfs.boot_id()
        self.save()

    def is_alive(self) -> bool:
        """Whether the first process still is, and is not a zombie."""
        if not self.pid or self.data.get("boot_id") != procfs.boot_id():
            return False
        if procfs.start_time(self.pid) != self.data.get("start_time"):
            return False
        return procfs.process_state(self.pid) not in (None, "Z", "X")

    def open_first(self) -> Fd | None:
        """Return a pidfd of the first process, never of a stranger with its old number; None when it has ended."""
        from casemate.kernel.pidfd import open_same

        if not self.pid or self.data.get("boot_id") != procfs.boot_id():
            return None
        return open_same(self.pid, int(self.data.get("start_time") or 0))

    def status(self) -> str:
        """The status of the runtime-spec, and "paused"."""
        if not self.pid:
            return "creating" if self._maker_alive() else "stopped"
        if not self.is_alive():
            return "stopped"
        if os.path.exists(self.fifo):
            return "created"
        group = self.cgroup()
        return "paused" if group is not None and group.is_frozen() else "running"

    def _maker_alive(self) -> bool:
        maker = self.data.get("maker") or {}
        started = procfs.start_time(maker.get("pid") or 0)
        return started is not None and started == maker.get("start_time")

    def cgroup(self) -> Cgroup | None:
        """The control group, None when it is gone or never was."""
        path = self.data.get("cgroup_path")
        try:
            return self.open_cgroup(path) if path else None
        except NotFound:
            return None

    def open_cgroup(self, path: str) -> Cgroup:
        """Return a group of the manager that made the container's. Raises: NotFound."""
        from casemate.cgroups.manager import open_manager

        # A group below the container's own is named by its directories, whoever made the outer one.
        systemd = bool(self.data.get("systemd")) and path == self.data.get("cgroup_path")
        return open_manager(rootless=os.geteuid() != 0, systemd=systemd).open(path)

    def state(self) -> dict[str, Any]:
        """The state object of the runtime-spec, with runc's additions."""
        status = self.status()
        annotations = self.data.get("annotations")
        return {
            "ociVersion": self.data.get("ociVersion", "1.0.2"),
            "id": self.id,
            "pid": self.pid if status not in ("stopped", "creating") else 0,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.data.get("rootfs", ""),
            "created": self.data.get("created", ""),
            **({"annotations": annotations} if annotations else {}),
            "owner": "",
        }


def create_record(root: str, container_id: str, data: dict[str, Any]) -> Record:
    """Claim the id by making its directory. Raises: AlreadyExists."""
    os.makedirs(root, mode=0o711, exist_ok=True)
    _check_owner(root)
    record = Record(root, container_id, data)
    try:
        os.mkdir(record.directory, 0o711)
    except FileExistsError:
        raise AlreadyExists(
            "create container",
            container_id,
            "container with given ID already exists",
            hint=f"casemate-oci delete {container_id}, with --force when it runs or was left half-made",
        ) from None
    own = os.getpid()
    data["version"] = _VERSION
    data["maker"] = {"pid": own, "start_time": procfs.start_time(own)}
    data["created"] = _now()
    record.save()
    return record


def load_record(root: str, container_id: str) -> Record:
    """Return a container's record. Raises: NotFound, Corrupt, Unsupported when another version wrote it."""
    check_id(container_id)
    hint = f"casemate-oci delete --force {container_id} removes what is left of it"
    try:
        data = loads(read_file(f"{root}/{container_id}/{_STATE}"), what=_STATE)
    except FileNotFoundError:
        raise NotFound("find container", container_id, "container does not exist") from None
    except Invalid as error:
        raise Corrupt("read the state of container", container_id, error.why, hint=hint) from None
    if not isinstance(data, dict):
        raise Corrupt("read the state of container", container_id, "it is not an object", hint=hint)
    if data.get("version") != _VERSION:
        why = f"another version wrote it ({data.get('version', 'without a number')}, not {_VERSION})"
        raise Unsupported("read the state of container", container_id, why, hint=hint)
    if _well_typed(data) != data:
        wrong = ", ".join(sorted(data.keys() - _well_typed(data).keys()))
        raise Corrupt("read the state of container", container_id, f"wrong values: {wrong}", hint=hint)
    return Record(root, container_id, data)


_TYPES = {
    "pid": int,
    "start_time": int,
    "boot_id": str,
    "bundle": str,
    "cgroup_path": str,
    "systemd": bool,
    "maker": dict,
    "hooks": list,
    "annotations": dict,
}


def _well_typed(data: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in data.items()
        if value is None or isinstance(value, _TYPES.get(name, object))
    }


def salvage_record(root: str, container_id: str) -> Record:
    """Return what can still be known of a container whose state is broken, missing or another version's: for its removal."""
    record = Record(root, check_id(container_id), {})
    try:
        found = loads(read_file(f"{record.directory}/{_STATE}"), what=_STATE)
        record.data = _well_typed(found) if isinstance(found, dict) else {}
    except (OSError, CasemateError):
        record.data = {}
    if "cgroup_path" not in record.data:
        from casemate.runtime.cli.bundle import group_path

        try:
            spec = record.spec()
            record.data["cgroup_path"] = group_path(root, container_id, spec)
        except (OSError, CasemateError, AttributeError):  # no config.json, or none that is one
            record.data["cgroup_path"] = group_path(root, container_id, {})
    record.data.setdefault("bundle", "")
    return record


def remove_directory(directory: str) -> None:
    """Delete the record's files and directory; absent is success. The state goes last: until then it can be tried again."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in sorted(names, key=lambda name: name == _STATE):
        path = f"{directory}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):  # not ours, but in the way
            remove_directory(path)
            continue
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return


def read_file(path: str) -> bytes:
    """Return a file's content, at most 16 MiB. Raises: OSError, Invalid."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, min(size, _LIMIT) + 1)
        while chunk := os.read(fd, 1 << 20):
            data += chunk
            if len(data) > _LIMIT:
                raise Invalid("read", path, "it is larger than 16 MiB")
    finally:
        os.close(fd)
    return data


def write_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Write a new file, or replace the content of one that is there and not a link."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _check_owner(root: str) -> None:
    about = os.stat(root)
    if about.st_uid != os.geteuid() or about.st_mode & 0o022:
        raise Invalid("use state directory", root, "it belongs to somebody else or others may write to it")


def _now() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e9):09d}Z"
