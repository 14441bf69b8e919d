"""Run something watched, and pick a reason out of what `why` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from casemate.engine.options import ContainerOptions

if TYPE_CHECKING:
    from casemate.engine.engine import Engine


def explained(engine: Engine, *argv: str, image: str = "busybox", **options: Any) -> dict[str, Any]:
    """Run a program to its end, watched; what `why` says of it afterwards. The container is removed."""
    options.setdefault("explain", True)
    container = engine.containers.create(image, ContainerOptions(argv=list(argv), **options))
    try:
        container.start()
        container.wait()
        return container.why()
    finally:
        container.remove(force=True, volumes=True)


def reasons(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [found for found in document["Findings"] if not found["Usual"]]


def only(document: dict[str, Any], rule: str) -> dict[str, Any]:
    found = [reason for reason in reasons(document) if reason["Rule"] == rule]
    assert found, document
    return found[0]
