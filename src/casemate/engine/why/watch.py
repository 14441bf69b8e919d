"""Having a container watched: from its start, or for a while."""

from __future__ import annotations

import os
import time

from casemate.engine.life.states import container_dir
from casemate.kernel.fd import Fd
from casemate.kernel.lock import lock, try_lock
from casemate.runtime.witness.ledger import read_ledger
from casemate.runtime.witness.spawn import Watch, watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.request import ContainerRequest
    from casemate.store.containers import ContainerRow
    from casemate.store.store import Store

LEDGER = "witness"
_LAST_WORDS_S = 2.0
_READ_TRIES = 5
_GRACE_S = 2.0


def be_watched(request: ContainerRequest, *, place: int) -> None:
    """Let the start that ``request`` describes be watched from its first instruction; the ledger goes into ``place``."""
    what = _watch_of(request.spec, request.seccomp_cache_dir)

    def begin(pid: int) -> None:
        what.root = pid
        with _new_ledger(place) as ledger:
            watch(what, ledger.fileno())

    request.watcher = begin


def watch_running(store: Store, row: ContainerRow, seconds: float) -> None:
    """Watch every process of a running container until it ends, ``seconds`` at most.

    Raises: Conflict when it does not run, Denied.
    """
    from casemate.engine.life.running import running_process

    with running_process(store, row, "watch"):
        if _is_watched(store, row):
            time.sleep(seconds)
            return
        what = _watch_of(specification(store, row), f"{store.paths.cache}/seccomp")
        what.namespace = os.stat(f"/proc/{row.pid}/ns/pid").st_ino
        what.seconds = seconds
        with Fd(
            os.open(container_dir(store.paths, row.id), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        ) as place:
            with _new_ledger(place.fileno()) as ledger:
                watch(what, ledger.fileno())
            with _open_ledger(place.fileno()) as ledger:
                lock(ledger.fileno(), seconds + _GRACE_S, shared=True)


def last_ledger(store: Store, row: ContainerRow, *, ended: bool) -> dict[str, Any] | None:
    """What the last watch saw, None when nobody watched; after the container's end the last words are waited for."""
    try:
        place = os.open(container_dir(store.paths, row.id), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with Fd(place):
        try:
            ledger = _open_ledger(place)
        except FileNotFoundError:
            return None
    with ledger:
        if ended:
            lock(ledger.fileno(), _LAST_WORDS_S, shared=True)
        for _ in range(_READ_TRIES):
            found = read_ledger(ledger.fileno())
            if found is not None:
                return found
            time.sleep(0.01)
    return None


def specification(store: Store, row: ContainerRow) -> dict[str, Any]:
    """The OCI specification as a start would make it now, for what it says about confinement."""
    from casemate.engine.life.surroundings import look_around
    from casemate.engine.options import options_from
    from casemate.engine.spec.build import build_spec
    from casemate.engine.spec.confine import confinement
    from casemate.engine.spec.users import User
    from casemate.oci.quick_json import loads

    record = loads(row.config, what="container record")
    options = options_from(record["options"])
    around = look_around(store, row.id, options)
    wall = confinement(options, all_capabilities=around.all_capabilities)
    nobody = User(0, 0)
    return build_spec(record, options, wall=wall, user=nobody, around=around, etc_mounts=[])


def _watch_of(spec: dict[str, Any], cache_dir: str | None) -> Watch:
    from casemate.runtime.seccomp import compile_profile

    linux = spec["linux"]
    profile = linux.get("seccomp")
    program = compile_profile(profile, cache_dir=cache_dir).program if profile else b""
    head = {
        "masked": linux["maskedPaths"],
        "readonly": linux["readonlyPaths"],
        "root_readonly": bool(spec["root"]["readonly"]),
        "mounts": [
            {"destination": mount["destination"], "options": mount.get("options") or []}
            for mount in spec["mounts"]
        ],
    }
    return Watch(program=program, masked=linux["maskedPaths"], head=head)


def _new_ledger(place: int) -> Fd:
    """An empty ledger, locked for as long as somebody may write into it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    ledger = Fd(os.open(LEDGER, flags, 0o600, dir_fd=place))
    lock(ledger.fileno())
    return ledger


def _open_ledger(place: int) -> Fd:
    return Fd(os.open(LEDGER, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=place))


def _is_watched(store: Store, row: ContainerRow) -> bool:
    try:
        fd = os.open(f"{container_dir(store.paths, row.id)}/{LEDGER}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    with Fd(fd):
        return not try_lock(fd, shared=True)
