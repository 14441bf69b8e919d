"""What the rest of the runtime asks: a document that is what the specification describes, or why it is not."""

from __future__ import annotations

from casemate.errors import Invalid
from casemate.runtime.schema.accept import accepts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.schema.kinds import Rule

_AT_MOST = 50


def check_config(spec: Any) -> None:
    """Return for a config.json from which a container can be made. Raises: Invalid, with all faults and their paths."""
    from casemate.runtime.schema.config import CONFIG

    _check(spec, CONFIG, "read config.json", "")


def check_process(process: Any, *, what: str) -> None:
    """The same for a `process` object, as `exec --process` has in a file. Raises: Invalid."""
    from casemate.runtime.schema.process import PROCESS

    _check(process, PROCESS, "read", what)


def check_resources(resources: Any, *, what: str) -> None:
    """The same for a `resources` object, as `update --resources` has in a file. Raises: Invalid."""
    from casemate.runtime.schema.resources import RESOURCES

    _check(resources, RESOURCES, "read", what)


def _check(value: Any, rule: Rule, doing: str, subject: str) -> None:
    if accepts(value, rule):
        return
    from casemate.runtime.schema.explain import faults

    found = faults(value, rule)
    more = f"; and {len(found) - _AT_MOST} more" if len(found) > _AT_MOST else ""
    raise Invalid(doing, subject, "; ".join(found[:_AT_MOST]) + more)
