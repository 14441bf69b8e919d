"""What a registry's replies mean: errors by their status and message, and where a partial reply begins.

Source: OCI distribution-spec 1.1, "Error Codes"; RFC 9110, 14 (range requests).
"""

from __future__ import annotations

from casemate.errors import (
    Corrupt,
    Denied,
    Exhausted,
    Invalid,
    NotFound,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from casemate.oci.quoting import quoted
from casemate.oci.strict_json import loads_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from casemate.errors import CasemateError
    from casemate.registry.http import Reply

_OK, _RANGE_NOT_SATISFIABLE = 200, 416
_BAD_REQUESTS = frozenset((400, 413, 415, 422))


def refused(reply: Reply, registry: str, doing: str, subject: str) -> CasemateError:
    """Return the error that ``reply`` means to someone who was ``doing`` ("pull"); reads the rest of it."""
    said = _message(reply.error_text())
    why = f"{registry} answered {reply.status}" + (f": {said}" if said else "")
    match reply.status:
        case 401:
            return Unauthorized(doing, subject, why, hint=f"log in first: casemate login {registry}")
        case 403:
            return Denied(doing, subject, why, hint=f"the login for {registry} may not do this")
        case 404:
            return NotFound(doing, subject, why, hint="check the name and the tag")
        case 429:
            return Unavailable(doing, subject, why, hint="wait, or log in for a higher limit")
        case status if status in _BAD_REQUESTS:
            return Invalid(doing, subject, why)
    return Unavailable(doing, subject, why)


def first_byte(reply: Reply, position: int) -> int:
    """Return how many bytes of the reply to skip so that what follows starts at ``position``.

    Raises: Unsupported when the registry cannot send the rest, Corrupt when it sends another range than asked
    for.
    """
    if reply.status == _RANGE_NOT_SATISFIABLE:
        reply.close()
        raise Unsupported("resume", reply.origin, "the registry does not send the rest of a blob")
    if reply.status == _OK:  # the whole blob, Range or not
        return position
    stated = reply.headers.get("Content-Range", "")
    if not stated.startswith(f"bytes {position}-"):
        reply.close()
        raise Corrupt(
            "resume", reply.origin, f"bytes from {position} were asked for, sent are {quoted(stated)}"
        )
    return 0


def _message(body: bytes) -> str:
    """Return the message of the distribution protocol's error format, "" when ``body`` is something else."""
    try:
        first = loads_object(body, what="error")["errors"][0]
        text = first.get("message") or first.get("code")
    except (Invalid, Exhausted, LookupError, TypeError, AttributeError):
        return ""
    return quoted(text).strip("'\"") if isinstance(text, str) else ""
