"""Digests are canonical or refused."""

from __future__ import annotations

import pytest

from casemate.errors import Invalid, Unsupported
from casemate.oci.digest import digest_of, from_hex, hex_of, is_digest, require_digest, short

GOOD = "sha256:" + "0a" * 32


def test_canonical_digest_passes_unchanged() -> None:
    assert require_digest(GOOD) == GOOD
    assert hex_of(GOOD) == "0a" * 32
    assert from_hex("0a" * 32) == GOOD
    assert short(GOOD) == "0a0a0a0a0a0a"
    assert is_digest(digest_of(b""))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0a" * 32,
        "sha256:",
        "sha256:../../x",
        "sha256:" + "0A" * 32,
        "SHA256:" + "0a" * 32,
        "sha256:" + "0a" * 31,
        "sha256:" + "0a" * 33,
        "sha256:" + "0a" * 31 + "0g",
        "sha256:" + "0a" * 31 + "/a",
        "sha256:" + "0a" * 32 + "\n",
        " sha256:" + "0a" * 32,
        "sha256:" + "\u0660" * 64,
        "md5:" + "0" * 32,
        None,
        5,
        b"sha256:" + b"0a" * 32,
    ],
)
def test_anything_else_is_invalid(text: object) -> None:
    assert not is_digest(text)
    with pytest.raises(Invalid):
        require_digest(text)


def test_error_shows_no_control_characters() -> None:
    with pytest.raises(Invalid) as caught:
        require_digest("sha256:\x1b[2J\n")
    assert str(caught.value).isprintable()


def test_sha512_is_unsupported_by_name() -> None:
    with pytest.raises(Unsupported):
        require_digest("sha512:" + "0" * 128)
