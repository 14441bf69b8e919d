"""What the engine and the command line ask of the runtime: plain values, no behaviour."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from casemate.cgroups.manager import Cgroup
    from casemate.core.snapshots import RootFs
    from casemate.kernel.userns import IdMap


class Stdio:
    """Where the standard streams of the program go.

    Direct: ``stdout_fd`` and ``stderr_fd`` (and an int ``stdin``) become the program's own descriptors. Relayed: with a keeper or
    ``relay``, the keeper reads pipes or the terminal and writes to its log and to ``client_out``/``client_err`` (None: nobody).
    ``stdin`` is "null", "pipe" (the write end is returned) or a descriptor. ``console_socket`` receives the terminal's master
    and then the runtime does not relay it. ``inherit``: descriptors that the program shall have from number 3 on.
    """

    __slots__ = (
        "client_err",
        "client_out",
        "console_size",
        "console_socket",
        "inherit",
        "relay",
        "stderr_fd",
        "stdin",
        "stdout_fd",
        "tty",
    )

    def __init__(  # noqa: PLR0913 - a plain value
        self,
        *,
        tty: bool = False,
        stdin: str | int = "null",
        client_out: int | None = None,
        client_err: int | None = None,
        console_size: tuple[int, int] | None = None,
        console_socket: int | None = None,
        stdout_fd: int | None = None,
        stderr_fd: int | None = None,
        inherit: Sequence[int] = (),
        relay: bool = False,
    ) -> None:
        self.tty = tty
        self.stdin = stdin
        self.client_out = client_out
        self.client_err = client_err
        self.console_size = console_size
        self.console_socket = console_socket
        self.stdout_fd = stdout_fd
        self.stderr_fd = stderr_fd
        self.inherit = tuple(inherit)
        self.relay = relay


class KeeperOptions:
    """What the detached keeper does; descriptors are borrowed. ``mode`` is plan.KEEP, plan.WAIT or plan.LEAVE.

    ``durable``: the exit record outlives a power cut, for which its reader waits. ``discard``: nobody wants the output, so
    the program writes it to /dev/null; only a terminal is still kept.
    """

    __slots__ = (
        "discard",
        "durable",
        "exit_argv",
        "exit_dir_fd",
        "listen_fd",
        "lock_fd",
        "log_dir_fd",
        "log_files",
        "log_max_bytes",
        "mode",
        "pidfile_fd",
    )

    def __init__(  # noqa: PLR0913 - a plain value
        self,
        *,
        exit_dir_fd: int | None = None,
        log_dir_fd: int | None = None,
        lock_fd: int | None = None,
        listen_fd: int | None = None,
        pidfile_fd: int | None = None,
        log_max_bytes: int = 0,
        log_files: int = 1,
        exit_argv: Sequence[str] = (),
        mode: int = 2,
        discard: bool = False,
        durable: bool = True,
    ) -> None:
        self.durable = durable
        self.exit_dir_fd = exit_dir_fd
        self.log_dir_fd = log_dir_fd
        self.lock_fd = lock_fd
        self.listen_fd = listen_fd
        self.pidfile_fd = pidfile_fd
        self.log_max_bytes = log_max_bytes
        self.log_files = log_files
        self.exit_argv = tuple(exit_argv)
        self.mode = mode
        self.discard = discard


class ContainerRequest:
    """One container to start.

    ``spec`` is the OCI config.json; ``rootfs`` what becomes its ``/``; relative paths of the spec count from ``bundle_dir``.
    ``id_map`` maps the new user namespace (None: the spec's own mappings, or none). ``gate_fd``: the program waits for one byte
    from it before it is executed; ``hold`` makes such a gate, opened by ``Running.release``. ``on_child`` is called with the
    pid as soon as the child exists, ``hooks`` while it waits before pivot_root, both before its
    program runs. ``hook_state``: the state object (without pid and status) for hooks that run in the
    container's namespaces; those of startContainer report to ``hook_report_fd`` when they run behind a gate.
    ``keeper`` None: the parent stays only as long as this process does.
    ``init``: the first process is an init of ours that reaps and passes signals on to the program.
    ``watcher`` is called with the pid when the first process is ready to execute the program, and may be watched with ptrace.
    """

    __slots__ = (
        "bundle_dir",
        "cgroup",
        "gate_fd",
        "hold",
        "hook_report_fd",
        "hook_state",
        "hooks",
        "id",
        "id_map",
        "init",
        "keeper",
        "keyring",
        "landlock",
        "on_child",
        "rootfs",
        "seccomp_cache_dir",
        "spec",
        "stdio",
        "watcher",
    )

    def __init__(  # noqa: PLR0913 - a plain value
        self,
        id: str,  # noqa: A002 - the spec's own word
        spec: dict[str, Any],
        rootfs: RootFs,
        *,
        bundle_dir: str = "/",
        cgroup: Cgroup | None = None,
        stdio: Stdio | None = None,
        keeper: KeeperOptions | None = None,
        seccomp_cache_dir: str | None = None,
        landlock: bool = False,
        id_map: IdMap | None = None,
        hold: bool = False,
        gate_fd: int | None = None,
        on_child: Any = None,
        hooks: Any = None,
        hook_state: dict[str, Any] | None = None,
        hook_report_fd: int | None = None,
        keyring: bool = True,
        init: bool = False,
        watcher: Any = None,
    ) -> None:
        self.watcher = watcher
        self.init = init
        self.id = id
        self.spec = spec
        self.rootfs = rootfs
        self.bundle_dir = bundle_dir
        self.cgroup = cgroup
        self.stdio = stdio or Stdio()
        self.keeper = keeper
        self.seccomp_cache_dir = seccomp_cache_dir
        self.landlock = landlock
        self.id_map = id_map
        self.hold = hold
        self.gate_fd = gate_fd
        self.on_child = on_child
        self.hooks = hooks
        self.hook_state = hook_state
        self.hook_report_fd = hook_report_fd
        self.keyring = keyring


class ExecRequest:
    """One more program in a running container: ``process`` is OCI `process`, ``spec`` the container's config.json.

    ``pidfd`` is the container's first process; it stays open with the caller. ``pid`` is only used to compare namespaces.
    """

    __slots__ = (
        "bundle_dir",
        "cgroup",
        "id",
        "keeper",
        "keyring",
        "landlock",
        "pid",
        "pidfd",
        "process",
        "seccomp_cache_dir",
        "spec",
        "stdio",
    )

    def __init__(  # noqa: PLR0913 - a plain value
        self,
        *,
        id: str,  # noqa: A002 - the spec's own word
        pid: int,
        pidfd: int,
        process: dict[str, Any],
        spec: dict[str, Any],
        cgroup: Cgroup | None = None,
        stdio: Stdio | None = None,
        keeper: KeeperOptions | None = None,
        seccomp_cache_dir: str | None = None,
        landlock: bool = False,
        keyring: bool = True,
        bundle_dir: str = "/",
    ) -> None:
        self.bundle_dir = bundle_dir
        self.id = id
        self.pid = pid
        self.pidfd = pidfd
        self.process = process
        self.spec = spec
        self.cgroup = cgroup
        self.stdio = stdio or Stdio()
        self.keeper = keeper
        self.seccomp_cache_dir = seccomp_cache_dir
        self.landlock = landlock
        self.keyring = keyring
