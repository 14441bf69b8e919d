"""A bundle directory: its config.json, its root file system, and the request that starts it."""

from __future__ import annotations

import os

from casemate.cgroups.manager import limit, open_manager, refuse_missing
from casemate.core.snapshots import RootFs
from casemate.errors import Invalid, NotFound
from casemate.runtime.cli.args import FLAG, VALUE
from casemate.runtime.cli.record import check_id, create_record, read_file, write_file
from casemate.runtime.compile import validate
from casemate.runtime.request import ContainerRequest
from casemate.runtime.schema.document import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.cgroups.manager import Cgroup
    from casemate.runtime.cli.args import Arguments
    from casemate.runtime.cli.main import Settings
    from casemate.runtime.cli.record import Record
    from casemate.runtime.request import KeeperOptions, Stdio

OPTIONS = {
    "bundle": VALUE,
    "console-socket": VALUE,
    "pidfd-socket": VALUE,
    "pid-file": VALUE,
    "preserve-fds": VALUE,
    "no-pivot": FLAG,
    "no-new-keyring": FLAG,
}
SHORT = {"b": "bundle"}


class Bundle:
    """What one command knows about the container it makes."""

    __slots__ = (
        "arguments",
        "cgroup",
        "directory",
        "id",
        "notes",
        "raw",
        "record",
        "rootfs",
        "settings",
        "spec",
    )

    def __init__(
        self, settings: Settings, arguments: Arguments, *, raw: bytes, directory: str, container_id: str
    ) -> None:
        self.settings = settings
        self.arguments = arguments
        self.raw = raw
        self.spec: dict[str, Any] = read(raw, what=f"{directory}/config.json")
        validate.check(self.spec)
        self.directory = directory
        self.id = container_id
        self.rootfs = os.path.realpath(os.path.join(directory, self.spec["root"]["path"]))
        self.cgroup: Cgroup | None = None
        self.notes: list[str] = []
        self.record: Record

    @property
    def linux(self) -> dict[str, Any]:
        """The `linux` object of the spec."""
        found: dict[str, Any] = self.spec.get("linux") or {}
        return found

    def hook_state(self) -> dict[str, Any] | None:
        """What hooks in the container's namespaces are told beside pid and status; None when there are no hooks."""
        if not self.spec.get("hooks"):
            return None
        return {
            "ociVersion": self.spec["ociVersion"],
            "id": self.id,
            "bundle": self.directory,
            "annotations": self.spec.get("annotations") or {},
        }


def open_bundle(settings: Settings, arguments: Arguments) -> Bundle:
    """Return the bundle of --bundle (default: here). Raises: NotFound, Invalid."""
    arguments.expect(1, 1)
    if arguments.flag("no-pivot"):
        raise Invalid(
            "read command line", "--no-pivot", "a container without pivot_root could reach the host's files"
        )
    directory = os.path.realpath(arguments.value("bundle") or ".")
    try:
        raw = read_file(f"{directory}/config.json")
    except OSError as error:
        raise NotFound("open bundle", f"{directory}/config.json", error.strerror) from error
    return Bundle(
        settings, arguments, raw=raw, directory=directory, container_id=check_id(arguments.operands[0])
    )


def prepare(bundle: Bundle) -> None:
    """Claim the id, then make the control group with its limits: in that order, so that `delete` knows what to undo."""
    path = group_path(bundle.settings.root, bundle.id, bundle.spec, systemd=bundle.settings.systemd_cgroup)
    data = {
        "ociVersion": bundle.spec["ociVersion"],
        "bundle": bundle.directory,
        "rootfs": bundle.rootfs,
        "cgroup_path": path,
        "systemd": bundle.settings.systemd_cgroup,
        "annotations": bundle.spec.get("annotations") or {},
        "hooks": [stage for stage, hooks in (bundle.spec.get("hooks") or {}).items() if hooks],
    }
    resources = with_devices(bundle.linux.get("resources") or {})
    manager = open_manager(rootless=bundle.settings.rootless, systemd=bundle.settings.systemd_cgroup)
    refuse_missing(manager, path, resources)
    bundle.record = create_record(bundle.settings.root, bundle.id, data)
    write_file(f"{bundle.record.directory}/config.json", bundle.raw)
    bundle.cgroup = manager.create(path, resources=resources)
    bundle.notes += limit(manager, bundle.cgroup, resources)


def group_path(root: str, container_id: str, spec: dict[str, Any], *, systemd: bool = False) -> str:
    """Return the control group of a container; when its spec names none, ids are unique only below one --root."""
    path = (spec.get("linux") or {}).get("cgroupsPath")
    if path:
        return str(path)
    from binascii import crc32

    name = f"{crc32(os.path.realpath(root).encode()):08x}-{container_id}"
    return f":casemate-oci:{name}" if systemd else f"casemate-oci/{name}"


def with_devices(resources: dict[str, Any]) -> dict[str, Any]:
    """Return the resources; a device list gets what every container needs (runtime-spec: the runtime's own devices)."""
    rules = resources.get("devices")
    if not rules:
        return resources
    from casemate.runtime.default_profile import DEVICE_RULES

    nodes = [{"allow": True, "type": kind, "access": "m"} for kind in "cb"]  # making a node is not opening it
    return {**resources, "devices": [*rules, *nodes, *[rule for rule in DEVICE_RULES if rule["allow"]]]}


def request_for(
    bundle: Bundle,
    stdio: Stdio,
    *,
    keeper: KeeperOptions | None,
    gate_fd: int | None,
    hook_report_fd: int | None = None,
) -> ContainerRequest:
    """Return the request that starts the bundle."""
    return ContainerRequest(
        bundle.id,
        bundle.spec,
        RootFs("bind", [bundle.rootfs]),
        bundle_dir=bundle.directory,
        cgroup=bundle.cgroup,
        stdio=stdio,
        keeper=keeper,
        seccomp_cache_dir=f"{bundle.settings.root}/.seccomp",
        gate_fd=gate_fd,
        on_child=bundle.record.set_child,
        hooks=_create_hooks(bundle),
        hook_state=bundle.hook_state(),
        hook_report_fd=hook_report_fd,
        keyring=not bundle.arguments.flag("no-new-keyring"),
    )


def _create_hooks(bundle: Bundle) -> Any:
    """Return what runs the hooks of the runtime's namespaces while the child waits, None without any."""
    hooks = bundle.spec.get("hooks") or {}
    if not hooks.get("prestart") and not hooks.get("createRuntime"):
        return None

    def run(pid: int) -> None:
        from casemate.runtime.cli.hooks import run_create_hooks

        run_create_hooks(bundle.spec, bundle.record.state() | {"pid": pid, "status": "creating"})

    return run


def undo(bundle: Bundle) -> None:
    """Remove what was made for a container that could not be started; poststop hooks follow if hooks had been reached."""
    from casemate.runtime.cli.record import remove_directory

    if bundle.spec.get("hooks") and bundle.record.pid:
        from casemate.runtime.cli.delete import delete_record

        delete_record(bundle.settings, bundle.record)
        return
    if bundle.cgroup is not None:
        bundle.cgroup.kill()
        bundle.cgroup.remove()
    remove_directory(bundle.record.directory)
