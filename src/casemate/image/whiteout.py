"""Whiteouts: how a layer says that something of the layers below is gone.

``.wh.NAME`` hides NAME; ``.wh..wh..opq`` hides everything that lower layers have in its directory. Other
names beginning with ``.wh..wh.`` are AUFS's own files and mean nothing.
Source: OCI image-spec, "Layer Filesystem Changeset".
"""

from __future__ import annotations

from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"
_META_PREFIX = b".wh..wh."

NONE: Final = 0
HIDES_NAME: Final = 1
HIDES_BELOW: Final = 2
IGNORED: Final = 3


def classify(name: bytes) -> int:
    """What the last component of a path means: NONE, HIDES_NAME, HIDES_BELOW or IGNORED."""
    if not name.startswith(PREFIX):
        return NONE
    if name == OPAQUE:
        return HIDES_BELOW
    return IGNORED if name.startswith(_META_PREFIX) else HIDES_NAME


def hidden_name(name: bytes) -> bytes:
    """The name that ``.wh.NAME`` hides. Raises: Invalid when that is no name of a file."""
    hidden = name[len(PREFIX) :]
    if hidden in (b"", b".", b".."):
        raise Invalid("read layer", "", f"the whiteout {name!r} names no file")
    return hidden


def whiteout_name(name: bytes) -> bytes:
    """The name of the entry that hides ``name``.

    Raises: Invalid for a name that would itself be a whiteout.
    """
    if name.startswith(PREFIX):
        raise Invalid("write layer", "", f"a file named {name!r} cannot be stored in a layer")
    return PREFIX + name
