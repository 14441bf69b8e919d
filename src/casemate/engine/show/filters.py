"""Docker's ``ps --filter``."""

from __future__ import annotations

from casemate.engine.life.states import present_state
from casemate.errors import Invalid
from casemate.oci.quick_json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from casemate.engine.containers import Container

SHORTEST_ID = 4
STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


def matching(containers: Sequence[Container], filters: Mapping[str, Sequence[str]]) -> list[Container]:
    """Those that every key accepts; within one key any value will do (labels: all).

    Raises: Invalid for an unknown key or value.
    """
    kept = list(containers)
    for key, values in filters.items():
        if key in {"before", "since"}:
            kept = _in_time(kept, containers, key, values)
            continue
        if key not in _TESTS:
            raise Invalid(
                "filter containers",
                repr(key),
                "unknown filter",
                hint=f"known: {', '.join(sorted([*_TESTS, 'before', 'since']))}",
            )
        if key == "status" and not set(values) <= set(STATES):
            raise Invalid(
                "filter containers", repr(values), "unknown status", hint=f"known: {', '.join(STATES)}"
            )
        every = all if key == "label" else any
        kept = [container for container in kept if every(_TESTS[key](container, value) for value in values)]
    return kept


def _in_time(
    kept: list[Container], known: Sequence[Container], key: str, values: Sequence[str]
) -> list[Container]:
    for value in values:
        mark = next(
            (c.row.created_ns for c in known if value in {c.id, c.name} or c.id.startswith(value)), None
        )
        if mark is None:
            raise Invalid("filter containers", f"{key}={value}", "no such container")
        kept = [c for c in kept if (c.row.created_ns < mark if key == "before" else c.row.created_ns > mark)]
    return kept


def _label(container: Container, value: str) -> bool:
    labels = loads(container.row.config)["labels"]
    key, equals, text = value.partition("=")
    return key in labels and (not equals or labels[key] == text)


def _exited(container: Container, value: str) -> bool:
    present = present_state(container._store.paths, container.row)  # noqa: SLF001 - the two are one room
    return present.status == "exited" and str(present.exit_code) == value


def _ancestor(container: Container, value: str) -> bool:
    row = container.row
    image = loads(row.config)["image"]
    plain = value.removeprefix("sha256:")
    if len(plain) >= SHORTEST_ID and image["id"].removeprefix("sha256:").startswith(plain):
        return True
    return value in {row.image_name, row.image_name.partition(":")[0], row.image_digest}


def _volume(container: Container, value: str) -> bool:
    return any(
        value in {m.get("name"), m.get("source"), m["target"]} for m in loads(container.row.config)["mounts"]
    )


def _id(container: Container, value: str) -> bool:
    return container.id.startswith(value)


def _name(container: Container, value: str) -> bool:
    return value.removeprefix("/") in container.name


def _status(container: Container, value: str) -> bool:
    return present_state(container._store.paths, container.row).status == value  # noqa: SLF001 - the two are one room


def _network(container: Container, value: str) -> bool:
    return bool(loads(container.row.config)["network"]["name"] == value)


_TESTS: dict[str, Callable[[Container, str], bool]] = {
    "id": _id,
    "name": _name,
    "label": _label,
    "status": _status,
    "exited": _exited,
    "ancestor": _ancestor,
    "volume": _volume,
    "network": _network,
}
