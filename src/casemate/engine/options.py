"""What a caller may ask of a container: plain values, no behaviour.

Every option has docker's meaning and docker's default unless its line says otherwise. Values are already
parsed: sizes are
bytes, durations seconds, lists are lists. Nothing here is checked against an image or a host; that is done by
``create``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class Record:
    """A value with named, defaulted fields that turns into JSON and back.

    Only what differs from the default is kept.
    """

    __slots__: tuple[str, ...] = ()

    def __init__(self, **given: Any) -> None:
        names = self.__slots__
        for name in names:
            value = given.pop(name, self.default(name))
            setattr(self, name, value)
        if given:
            raise TypeError(f"{type(self).__name__} has no option {', '.join(sorted(given))}")

    def default(self, name: str) -> Any:
        """Value of field ``name`` when it is not given."""
        raise NotImplementedError(name)

    def changed(self) -> dict[str, Any]:
        """Fields that differ from their default, as JSON values."""
        found: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if value != self.default(name):
                found[name] = (
                    [v.changed() if isinstance(v, Record) else v for v in value]
                    if isinstance(value, list)
                    else value
                )
        return found


class TmpfsOption(Record):
    """One ``--tmpfs TARGET[:options]``."""

    __slots__ = ("options", "target")
    options: list[str]
    target: str

    def default(self, name: str) -> Any:
        """Value of field ``name`` when it is not given."""
        return [] if name == "options" else ""


class MountOption(Record):
    """One ``-v`` or ``--mount``.

    ``kind`` is bind, volume or tmpfs. ``create_source``: a missing bind source is made (what ``-v`` does and
    ``--mount`` refuses).
    ``options``: further words, such as ``nosuid``, ``noexec``, ``noidmap``, ``size=64m`` (tmpfs), ``nocopy``
    (volume).
    """

    __slots__ = ("create_source", "kind", "options", "read_only", "source", "target")
    kind: str
    source: str
    target: str
    read_only: bool
    create_source: bool
    options: list[str]

    def default(self, name: str) -> Any:
        """Value of field ``name`` when it is not given."""
        return {"kind": "bind", "read_only": False, "create_source": False, "options": []}.get(name, "")


_LISTS = frozenset(
    (
        "cap_add", "cap_drop", "devices", "dns", "dns_options", "dns_search", "env", "env_files",
        "extra_hosts", "groups", "mounts", "relax", "security_opt", "tmpfs",
    )
)  # fmt: skip
_DICTS = frozenset(("annotations", "labels", "sysctls", "ulimits"))
_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(
        [
            "auto_remove",
            "detach",
            "explain",
            "init",
            "interactive",
            "privileged",
            "publish_all",
            "read_only",
            "tty",
        ],
        False,
    ),
    "network": "none",
    "userns": "auto",
    "pull": "missing",
    "restart": "no",
}


class ContainerOptions(Record):
    """Everything ``create`` can be asked for: keyword arguments, all optional.

    None leaves the decision to the default profile.
    """

    __slots__ = (
        "annotations", "argv", "auto_remove", "cap_add", "cap_drop", "cidfile", "cpu_shares",
        "cpus", "cpuset_cpus", "detach", "devices", "dns", "dns_options", "dns_search",
        "domainname", "entrypoint", "env", "env_files", "explain", "extra_hosts", "groups", "hostname", "init",
        "interactive", "labels", "log_files", "log_max_bytes", "memory_bytes",
        "memory_reservation_bytes", "memory_swap_bytes", "mounts", "name", "network",
        "oom_score_adj", "pids_limit", "platform", "privileged", "publish_all", "pull", "read_only",
        "relax", "restart", "rootfs", "security_opt", "shm_size_bytes", "stop_signal",
        "stop_timeout_s", "sysctls", "tmpfs", "tty", "ulimits", "user", "userns", "workdir",
    )  # fmt: skip
    annotations: dict[str, str]
    argv: list[str] | None
    """Arguments after the image; None: the image's CMD."""
    auto_remove: bool
    cap_add: list[str]
    cap_drop: list[str]
    cidfile: str | None
    cpu_shares: int | None
    cpus: float | None
    cpuset_cpus: str | None
    detach: bool
    devices: list[str]
    """``/dev/x[:/dev/y[:rwm]]``"""
    dns: list[str]
    dns_options: list[str]
    dns_search: list[str]
    domainname: str | None
    entrypoint: list[str] | None
    """None: the image's; [] or [""]: none."""
    env: list[str]
    """``NAME=value``, or ``NAME`` to take the value from the caller's environment (absent there: not set)."""
    env_files: list[str]
    explain: bool
    """Each run is watched, so that ``Container.why`` can name the rule that refused something; slower."""
    extra_hosts: list[str]
    """``name:address``"""
    groups: list[str]
    hostname: str | None
    init: bool
    interactive: bool
    labels: dict[str, str]
    log_files: int | None
    """Log files kept, the current one included (default 3)."""
    log_max_bytes: int | None
    """Size at which a log file is rotated (default 10 MiB)."""
    memory_bytes: int | None
    memory_reservation_bytes: int | None
    memory_swap_bytes: int | None
    """Memory and swap together, as docker counts; -1 unlimited; None: no swap."""
    mounts: list[MountOption]
    name: str | None
    network: str
    """``none`` or ``host``."""
    oom_score_adj: int | None
    pids_limit: int | None
    """None: 2048; -1 or 0: unlimited."""
    platform: str | None
    privileged: bool
    publish_all: bool
    pull: str
    """``missing``, ``always`` or ``never``."""
    read_only: bool
    relax: list[str]
    """Named relaxations of the default wall: see ``casemate.engine.spec.confine.RELAXATIONS``."""
    restart: str
    rootfs: str | None
    """Directory to run instead of an image (the ``image`` argument of ``create`` is then only a label)."""
    security_opt: list[str]
    shm_size_bytes: int | None
    stop_signal: str | None
    stop_timeout_s: int | None
    sysctls: dict[str, str]
    tmpfs: list[TmpfsOption]
    tty: bool
    ulimits: dict[str, list[int]]
    """name -> [soft, hard]; -1 unlimited."""
    user: str | None
    userns: str
    """``auto`` (an own range of ids), ``host`` (no user namespace) or ``keep-id`` (rootless.

    The caller keeps its own id).
    """
    workdir: str | None

    def default(self, name: str) -> Any:
        """Value of field ``name`` when it is not given."""
        if name in _LISTS:
            return []
        if name in _DICTS:
            return {}
        return _DEFAULTS.get(name)


def options_from(document: dict[str, Any]) -> ContainerOptions:
    """``ContainerOptions`` from what ``changed`` gave; names of a newer version are ignored."""
    known = {name: value for name, value in document.items() if name in ContainerOptions.__slots__}
    known["mounts"] = [MountOption(**m) for m in known.get("mounts", ())]
    known["tmpfs"] = [TmpfsOption(**t) for t in known.get("tmpfs", ())]
    return ContainerOptions(**known)


class ExecOptions(Record):
    """What ``Container.exec`` may be asked for.

    ``detach``: the process outlives the caller, its output goes nowhere.
    """

    __slots__ = ("detach", "env", "env_files", "interactive", "privileged", "tty", "user", "workdir")
    detach: bool
    env: list[str]
    env_files: list[str]
    interactive: bool
    privileged: bool
    tty: bool
    user: str | None
    workdir: str | None

    def default(self, name: str) -> Any:
        """Value of field ``name`` when it is not given."""
        if name in {"env", "env_files"}:
            return []
        return None if name in {"user", "workdir"} else False


class Attach:
    """Where the caller's ends of a container's standard streams are.

    Output is written by the container's keeper straight to ``stdout_fd`` and ``stderr_fd`` (borrowed; None:
    not wanted; with a
    terminal everything goes to ``stdout_fd``). ``stdin``: whether ``Session.stdin_fd`` is wanted.
    ``rows``/``columns``: size of a terminal at start.
    """

    __slots__ = ("columns", "rows", "stderr_fd", "stdin", "stdout_fd")

    def __init__(
        self,
        *,
        stdin: bool = False,
        stdout_fd: int | None = 1,
        stderr_fd: int | None = 2,
        rows: int = 0,
        columns: int = 0,
    ) -> None:
        self.stdin = stdin
        self.stdout_fd = stdout_fd
        self.stderr_fd = stderr_fd
        self.rows = rows
        self.columns = columns


def stream_list(attach: Attach | None) -> Iterable[str]:
    """Names of the streams that ``attach`` wants, in docker's spelling."""
    if attach is None:
        return ()
    wanted = (
        ("stdin", attach.stdin),
        ("stdout", attach.stdout_fd is not None),
        ("stderr", attach.stderr_fd is not None),
    )
    return tuple(name for name, on in wanted if on)
