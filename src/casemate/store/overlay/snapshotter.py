"""core.snapshots.Snapshotter with extracted layers and overlayfs, for root and for ordinary users alike.

A layer's files are durable once ``settle`` has run; until then the layer counts only in the boot that wrote
it, because a power cut may have emptied any of its files. Its blob is durable from the start, so it is
unpacked again.
"""

from __future__ import annotations

import errno
import os

from casemate.core.snapshots import RootFs, Usage
from casemate.errors import AlreadyExists, CasemateError, Conflict, Corrupt, NotFound, Unsupported
from casemate.kernel.fd import Fd
from casemate.kernel.libc import LONG, checked, declare_c
from casemate.kernel.lock import lock
from casemate.kernel.procfs import boot_id
from casemate.oci.digest import short
from casemate.store.overlay.identity import own_identity
from casemate.store.overlay.layout import UNSYNCED, Layout, explain, read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, BinaryIO

    from casemate.core.snapshots import LayerSpec
    from casemate.store.overlay.identity import Identity
    from casemate.store.overlay.layout import Stage

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEFAULT_MODE = 0o755
_REFUSED = (errno.EPERM, errno.EACCES)
_syncfs = declare_c("syncfs", LONG)
MAX_LAYERS = 500
"""OVL_MAX_STACK of the kernel."""


class OverlaySnapshotter:
    """Layers and roots below one directory of one file system."""

    __slots__ = ("_identity", "_layout", "name")

    def __init__(self, directory: str) -> None:
        self.name = "overlay"
        self._layout = Layout(directory)
        self._layout.ensure()
        self._identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        """The ids that this process stores files with."""
        if self._identity is None:
            self._identity = own_identity()
        return self._identity

    # Layers

    def has_layer(self, chain_id: str) -> bool:
        """Tell whether the layer is committed, and was written safely before the machine last stopped."""
        path = self._layout.layer(chain_id)
        try:
            with open(f"{path}/{UNSYNCED}", encoding="ascii") as file:
                return file.read() == boot_id()
        except FileNotFoundError:
            return os.path.exists(path)

    def unpack(self, layer: LayerSpec, blob: BinaryIO) -> Usage:
        """Decompress, verify and commit one layer in a confined worker. Parallel calls share the processors.

        Raises: Corrupt, Exhausted, Invalid (hostile archive); nothing half-made is left.
        """
        if not self.has_layer(layer.chain_id):
            try:
                self._unpack(layer, blob.fileno())
            finally:
                self.empty_trash()
        found = self._layer(layer.chain_id)
        return Usage(found["size_bytes"], found["inodes"])

    def _unpack(self, layer: LayerSpec, blob_fd: int) -> None:
        with self._layout.stage() as stage:
            tree = f"{stage.path}/fs"
            os.mkdir(tree, _DEFAULT_MODE)
            os.chmod(tree, _DEFAULT_MODE)
            if self.identity.is_root:
                base = self.identity.stored_uid_base or 0
                os.chown(tree, base, base)
            job = {"job": "unpack", "id_limit": self.identity.id_limit, "diff_id": layer.diff_id}
            os.lseek(blob_fd, 0, os.SEEK_SET)
            try:
                result = self._run(job, [tree], source_fd=blob_fd)
            except CasemateError as error:
                error.add_note(f"layer {layer.diff_id}")
                raise
            described = {**result, "parent": layer.parent_chain_id, "diff_id": layer.diff_id}
            write_json(f"{stage.path}/layer.json", {**described, "blob": layer.blob_digest})
            with open(f"{stage.path}/{UNSYNCED}", "w", encoding="ascii") as file:
                file.write(boot_id())
            self._publish_layer(stage, layer.chain_id)

    def _publish_layer(self, stage: Stage, chain_id: str) -> None:
        """Give the layer its name, unless somebody has; replace one that a power cut may have damaged."""
        path = self._layout.layer(chain_id)
        with Fd(os.open(self._layout.layers, _DIRECTORY)) as guard:
            lock(guard.fileno())
            if not stage.publish(path) and not self.has_layer(chain_id):
                self._layout.discard(path)
                stage.publish(path)

    def _layer(self, chain_id: str) -> dict[str, Any]:
        """What is recorded of a layer. Raises: NotFound, Corrupt."""
        found = read_json(self._layout.layer(chain_id) + "/layer.json")
        if found is None or not self.has_layer(chain_id):
            raise NotFound("use layer", short(chain_id), "it is not unpacked", hint="pull the image again")
        return found

    def remove_layer(self, chain_id: str) -> None:
        """Remove a committed layer; absent is success."""
        if self._layout.discard(self._layout.layer(chain_id)):
            self.empty_trash()

    def layers(self) -> list[str]:
        """The chain ids of all committed layers."""
        return [f"sha256:{name}" for name in os.listdir(self._layout.layers)]

    def settle(self) -> None:
        """Make every committed layer safe against a power cut; quick when they already are.

        Call it after a pull.
        """
        marks = [f"{self._layout.layers}/{name}/{UNSYNCED}" for name in os.listdir(self._layout.layers)]
        marks = [mark for mark in marks if _read(mark) == boot_id()]
        if not marks:
            return
        _sync_file_system(self._layout.layers)
        for mark in marks:
            try:
                os.unlink(mark)
            except FileNotFoundError:
                continue

    # Roots

    def create_root(self, key: str, chain_id: str | None, *, owner_base: int | None) -> RootFs:
        """Create the writable top of a container; the existing one when it was made of the same layers.

        Raises: NotFound for a layer that is not unpacked, AlreadyExists for a key that is used otherwise.
        """
        path = self._layout.root(key)
        chain = self._chain(chain_id)
        described = {"layers": [layer["chain_id"] for layer in chain], "owner_base": owner_base}
        if owner_base is not None and not self.identity.is_root:
            raise Unsupported("create root file system", key, "only root can give it a uid range of its own")
        with self._layout.stage() as stage:
            self._make_upper(stage.path, chain, owner_base)
            write_json(f"{stage.path}/root.json", described)
            is_new = stage.publish(path)
        if not is_new:
            self.empty_trash()
            if read_json(f"{path}/root.json") != described:
                raise AlreadyExists("create root file system", key, "it exists with other layers or owners")
        return self._rootfs(path, described)

    def _make_upper(self, stage_path: str, chain: Sequence[dict[str, Any]], owner_base: int | None) -> None:
        """The upper and work directories, with the mode and owner that the image's root has."""
        mode, uid, gid = next((layer["root"] for layer in chain if layer["root"]), (_DEFAULT_MODE, 0, 0))
        try:
            for name in ("upper", "work"):
                os.mkdir(f"{stage_path}/{name}", _DEFAULT_MODE)
            if owner_base is not None:
                os.chown(f"{stage_path}/upper", owner_base + uid, owner_base + gid)
                os.chown(f"{stage_path}/work", owner_base, owner_base)
            os.chmod(f"{stage_path}/upper", mode & 0o7777)
        except OSError as error:
            raise explain(error, "create root file system", stage_path) from error

    def _chain(self, chain_id: str | None) -> list[dict[str, Any]]:
        """The records of a layer and all below it, topmost first, with inherited directories settled."""
        chain: list[dict[str, Any]] = []
        while chain_id is not None:
            layer = {**self._layer(chain_id), "chain_id": chain_id}
            chain.append(layer)
            chain_id = layer["parent"]
            if len(chain) > MAX_LAYERS:
                raise Conflict(
                    "create root file system", short(layer["chain_id"]), f"more than {MAX_LAYERS} layers"
                )
        for index in range(len(chain) - 2, -1, -1):
            if chain[index]["implicit"]:
                self._inherit(chain[index], chain[index + 1 :])
        return chain

    def _inherit(self, layer: dict[str, Any], lowers: Sequence[dict[str, Any]]) -> None:
        """Give directories that the layer's archive only implied the attributes they have below; once."""
        trees = [f"{self._layout.layer(found['chain_id'])}/fs" for found in (layer, *lowers)]
        self._run({"job": "inherit", "paths": layer["implicit"]}, trees)
        layer["implicit"] = []
        path = self._layout.layer(layer["chain_id"]) + "/layer.json"
        write_json(path, {name: value for name, value in layer.items() if name != "chain_id"})

    def rootfs(self, key: str) -> RootFs:
        """Return an existing root. Raises: NotFound, Corrupt when a layer below it was lost."""
        path = self._layout.root(key)
        described = read_json(f"{path}/root.json")
        if described is None:
            raise NotFound("use root file system", key, "it does not exist")
        for chain_id in described["layers"]:
            if not self.has_layer(chain_id):
                why = f"layer {short(chain_id)} was lost when the machine stopped"
                raise Corrupt("use root file system", key, why, hint="pull the image again")
        return self._rootfs(path, described)

    def _rootfs(self, path: str, described: dict[str, Any]) -> RootFs:
        return RootFs(
            "overlay",
            [f"{self._layout.layer(chain_id)}/fs" for chain_id in described["layers"]]
            or [self._layout.empty],
            upper=f"{path}/upper",
            work=f"{path}/work",
            stored_uid_base=self.identity.stored_uid_base,
            owner_base=described["owner_base"],
            userxattr=True,
        )

    def remove_root(self, key: str) -> None:
        """Delete the writable top; absent is success. When this returns its uid range may be released."""
        if self._layout.discard(self._layout.root(key)):
            self.empty_trash()

    def discard_root(self, key: str, *others: str) -> list[str]:
        """Put the writable top out of sight and leave its deletion to the caller; the paths to delete.

        ``others``: directories of the same file system that go the same way. Until the top is gone
        ``discarded_owners`` names its uid range, which must not be given to anybody.
        """
        path = self._layout.root(key)
        owner = (read_json(f"{path}/root.json") or {}).get("owner_base")
        discarded = [self._layout.discard(path, owner), *map(self._layout.discard, others)]
        return [found for found in discarded if found]

    def discarded_owners(self) -> set[int]:
        """First uids of the ranges that are not free yet, whatever the tables say."""
        return self._layout.discarded_owners()

    def roots(self) -> list[str]:
        """The keys of all roots."""
        return os.listdir(self._layout.roots)

    def usage(self, key: str) -> Usage:
        """Measure the writable top. Raises: NotFound."""
        path = self._layout.root(key) + "/upper"
        if not os.path.isdir(path):
            raise NotFound("measure root file system", key, "it does not exist")
        result = self._run({"job": "measure"}, [path])
        return Usage(result["size_bytes"], result["inodes"])

    # Cleaning up

    def sweep(self, live_layers: set[str], live_roots: set[str]) -> list[str]:
        """Remove everything half-made or not listed; return what was removed."""
        removed = self.retire(live_layers, live_roots)
        self.empty_trash()
        return removed

    def retire(self, live_layers: set[str], live_roots: set[str]) -> list[str]:
        """The quick half of ``sweep``: put out of sight what is not live or was left half-made.

        Layers below a live root are live.
        """
        kept = set(live_layers)
        for key in live_roots:
            described = read_json(self._layout.root(key) + "/root.json") or {"layers": []}
            kept.update(described["layers"])
        discard = self._layout.discard
        removed = [f"layer {c}" for c in self.layers() if c not in kept and discard(self._layout.layer(c))]
        removed += [
            f"root {k}" for k in self.roots() if k not in live_roots and discard(f"{self._layout.roots}/{k}")
        ]
        removed += [
            f"staging {n}" for n in self._layout.stale_stages() if discard(f"{self._layout.staging}/{n}")
        ]
        return removed

    def empty_trash(self) -> None:
        """Delete what was put out of sight, whoever put it there.

        Raises: Denied for what cannot be deleted.
        """
        for name in os.listdir(self._layout.trash):
            path = f"{self._layout.trash}/{name}"
            try:
                with Fd(os.open(path, _DIRECTORY)) as entry:
                    lock(entry.fileno())  # whoever has it is deleting it; then it is gone
                    self._run({"job": "remove", "name": name}, [self._layout.trash])
            except FileNotFoundError:
                continue
            except OSError as error:
                raise explain(error, "delete directory", path) from error

    def _run(
        self, job: dict[str, Any], trees: Sequence[str], *, source_fd: int | None = None
    ) -> dict[str, Any]:
        """Do a job on directories: archives always in a worker; other things here where this process may.

        An ordinary user may not touch files that its containers gave to subordinate uids: then a worker with
        the user's id map does it.
        """
        from casemate.store.unpack import jobs

        opened: list[int] = []
        try:
            for path in trees:
                opened.append(os.open(path, _DIRECTORY))  # noqa: PERF401 - what was opened is closed when one fails
            if source_fd is None:
                direct: Callable[..., dict[str, Any]] = jobs.run
                try:
                    return direct(job, -1, opened)
                except OSError as error:
                    if self.identity.is_root or error.errno not in _REFUSED:
                        raise
            from casemate.store.unpack.spawn import run_worker

            with Fd(os.open(self._layout.empty, _DIRECTORY)) as empty:
                id_map = self.identity.id_map
                return run_worker(job, opened, id_map=id_map, empty_fd=empty.fileno(), source_fd=source_fd)
        finally:
            for fd in opened:
                os.close(fd)


def _read(path: str) -> str:
    """A small text file, "" when it is absent."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _sync_file_system(path: str) -> None:
    """Write the whole file system that holds ``path`` to disk."""
    with Fd(os.open(path, _DIRECTORY)) as directory:
        checked(_syncfs(directory.fileno()), "syncfs", path)
