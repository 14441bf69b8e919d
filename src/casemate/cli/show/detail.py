"""Documents (inspect, info, version) as JSON or by a template."""

from __future__ import annotations

from casemate.cli.streams import put, put_foreign, safe_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# keys below which the keys are data
MAPS = (
    "Labels",
    "Ports",
    "Networks",
    "Volumes",
    "ExposedPorts",
    "Sysctls",
    "Tmpfs",
    "Annotations",
    "Options",
    "Config",
    "Data",
    "Casemate",
)


def show_documents(documents: Sequence[dict[str, Any]], layout: str) -> None:
    """Write documents: an indented JSON array, ``json`` a compact one.

    Else one line of the template for each.
    """
    if layout in ("", "json"):
        put(as_json(documents, compact=layout == "json"))
        return
    from casemate.cli.template.evaluate import Template  # only when asked for

    template = Template(layout)
    for document in documents:
        put_foreign(template.execute(open_maps(document)) + "\n")


def show_document(document: dict[str, Any], layout: str) -> None:
    """Write one document by ``json`` or a template."""
    if layout == "json":
        import json  # only when asked for

        put(safe_json(json.dumps(document, separators=(",", ":"), ensure_ascii=False)) + "\n")
        return
    show_documents([document], layout)


def as_json(documents: Sequence[dict[str, Any]], *, compact: bool) -> str:
    """Return a JSON array with docker's layout: four spaces, or none."""
    import json  # only for documents

    if compact:
        return safe_json(json.dumps(documents, separators=(",", ":"), ensure_ascii=False)) + "\n"
    return safe_json(json.dumps(documents, indent=4, ensure_ascii=False)) + "\n"


def open_maps(value: Any, *, is_map: bool = False) -> Any:
    """Return a document in which maps whose keys are data lack no key (a template prints ``<no value>``)."""
    from casemate.cli.template.evaluate import OpenMap  # only with a template

    if isinstance(value, dict):
        converted = {
            key: open_maps(item, is_map=key in MAPS and isinstance(item, dict) and key != "Config")
            for key, item in value.items()
        }
        return OpenMap(converted) if is_map else converted
    return [open_maps(item) for item in value] if isinstance(value, list) else value
