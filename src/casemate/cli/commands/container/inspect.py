"""``casemate inspect``, ``container inspect``, ``image inspect``."""

from __future__ import annotations

from casemate.cli import failure
from casemate.cli.opening import container, image, open_engine
from casemate.cli.show.detail import show_documents
from casemate.cli.suggest import did_you_mean
from casemate.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.cli.args import Parsed
    from casemate.engine.engine import Engine


def run(parsed: Parsed) -> int:
    """Show documents of what is found, and say what is not (exit code 1)."""
    noun = parsed.path.partition(" ")[0]
    kind = parsed.text("type") or (noun if noun in ("container", "image") else "")
    documents: list[dict[str, Any]] = []
    missing: list[NotFound] = []
    with open_engine() as engine:
        for name in parsed.operands:
            try:
                documents.append(_document(engine, name, kind))
            except NotFound as error:
                missing.append(error)
    if documents or not parsed.text("format"):
        show_documents(documents, parsed.text("format"))
    for absent in missing:
        failure.show(absent)
    return 1 if missing else 0


def _document(engine: Engine, name: str, kind: str) -> dict[str, Any]:
    """Return docker's document of a container, or of an image when there is no such container."""
    if kind == "image":
        return image(engine, name).inspect()
    if kind == "container":
        return container(engine, name).inspect()
    try:
        return engine.containers.get(name).inspect()
    except NotFound:
        pass
    try:
        return engine.images.get(name).inspect()
    except NotFound:
        known = [box.name for box in engine.containers.list(all=True)]
        known += [
            f"{row['Repository']}:{row['Tag']}" for one in engine.images.list() for row in one.summary()
        ]
        raise NotFound(
            "inspect",
            name,
            "there is no container and no image of this name",
            hint=did_you_mean(name, known, otherwise="casemate ps -a and casemate images list what there is"),
        ) from None
