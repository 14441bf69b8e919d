"""What to make: a name such as ``debian:bookworm`` turned into a recipe, checked before anything runs.

A recipe is the whole input of a build: equal recipes give equal images, so the cache compares their keys.
"""

from __future__ import annotations

import hashlib
import os

from casemate.errors import Invalid, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = 1
"""Raised when the way of building changes, so that cached images are made anew."""
EPOCH = 1686355200
"""2023-06-10, Debian 12: no file of an image is dated later unless SOURCE_DATE_EPOCH says so."""
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_NAME = 64

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_PACKAGE = _LOWER | frozenset("0123456789+.-")
_SUITE = _LOWER | frozenset("0123456789-")
_LATEST = "stable"


class Recipe:
    """One image to make: ``kind`` is busybox or debian, ``include`` are further Debian packages, sorted."""

    __slots__ = ("epoch", "include", "kind", "reference", "slim", "suite")

    def __init__(
        self, kind: str, reference: str, *, suite: str, slim: bool, include: tuple[str, ...]
    ) -> None:
        self.kind = kind
        self.reference = reference
        self.suite = suite
        self.slim = slim
        self.include = include
        self.epoch = source_date_epoch()

    def key(self, *inputs: str) -> str:
        """Hex digest of the recipe and of ``inputs`` (such as the digest of a program that is copied in)."""
        parts = (
            VERSION,
            self.kind,
            self.suite,
            self.slim,
            self.include,
            self.epoch,
            os.uname().machine,
            *inputs,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def source_date_epoch() -> int:
    """Seconds since 1970 that bound all times in the image (reproducible-builds.org, SOURCE_DATE_EPOCH)."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return EPOCH
    if not text.isdecimal() or not text.isascii():
        raise Invalid("read SOURCE_DATE_EPOCH", repr(text), "it is not a number of seconds")
    return int(text)


def parse_recipe(reference: str, include: Sequence[str] = ()) -> Recipe:
    """The recipe for ``busybox[:TAG]`` or ``debian[:SUITE[-slim]]``.

    Raises: Unsupported for any other name, Invalid for a suite or package that is not one.
    """
    name, _, tag = reference.partition(":")
    packages = tuple(sorted({package for package in include if package}))
    for package in packages:
        require_word("include package", package, _PACKAGE)
    if name == "busybox":
        if packages:
            raise Invalid(
                "bootstrap", reference, "busybox is one program: it takes no packages", hint="use debian"
            )
        return Recipe("busybox", f"busybox:{tag or 'latest'}", suite="", slim=False, include=())
    if name != "debian":
        hint = "casemate image bootstrap debian:bookworm, or busybox; for anything else: casemate pull"
        raise Unsupported(
            "bootstrap", reference, "only debian and busybox can be made without a registry", hint=hint
        )
    suite = tag.removesuffix("-slim")
    suite = _LATEST if suite in {"", "latest"} else suite
    require_word("bootstrap suite", suite, _SUITE)
    slim = tag.endswith("-slim")
    return Recipe("debian", f"debian:{tag or 'latest'}", suite=suite, slim=slim, include=packages)


def require_word(doing: str, word: str, allowed: frozenset[str]) -> None:
    """Raise Invalid unless ``word`` can be nothing but a name: it becomes an argument of another program."""
    if (
        not word
        or len(word) > MAX_NAME
        or word[0] not in _LOWER | frozenset("0123456789")
        or set(word) - allowed
    ):
        raise Invalid(doing, repr(word), "it is not a Debian name", hint="lower-case letters, digits, + . -")
