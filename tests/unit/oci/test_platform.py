"""Platforms: synonyms, variants and which image runs where."""

from __future__ import annotations

import pytest

from casemate.errors import Invalid
from casemate.oci.platform import Platform, host_platform, parse_platform, platform_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("arm64/v9", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/i686", "linux/386"),
        ("Linux/AMD64", "linux/amd64"),
        ("macos/arm64", "darwin/arm64"),
    ],
)
def test_platform_is_normalised(text: str, expected: str) -> None:
    assert str(parse_platform(text)) == expected


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "a/b/c/d", "beos/amd64/v1", "linux/amd 64", "linux/\n", "x" * 40]
)
def test_malformed_platform_is_invalid(text: str) -> None:
    with pytest.raises(Invalid):
        parse_platform(text)


def test_linux_alone_means_this_architecture() -> None:
    assert parse_platform("linux") == host_platform()


@pytest.mark.parametrize(
    ("wanted", "offered", "rank"),
    [
        ("linux/amd64", "linux/amd64", 0),
        ("linux/amd64", "linux/arm64", None),
        ("linux/amd64", "windows/amd64", None),
        ("linux/amd64", "linux/amd64/v2", None),
        ("linux/amd64/v3", "linux/amd64/v2", 1),
        ("linux/amd64/v3", "linux/amd64", 2),
        ("linux/amd64/v2", "linux/amd64/v3", None),
        ("linux/arm/v7", "linux/arm/v6", 1),
        ("linux/arm/v7", "linux/arm/v5", 2),
        ("linux/arm/v6", "linux/arm/v7", None),
        ("linux/arm64", "linux/arm64/v9", 1),
        ("linux/arm64/v9", "linux/arm64", 1),
        ("linux/arm64/v9", "linux/arm64/v8", 1),
        ("linux/riscv64", "linux/riscv64", 0),
    ],
)
def test_older_variants_run_newer_do_not(wanted: str, offered: str, rank: int | None) -> None:
    assert parse_platform(wanted).rank_of(parse_platform(offered)) == rank


@pytest.mark.parametrize(
    "found", [{}, {"os": "linux"}, {"os": 1, "architecture": "amd64"}, {"os": "", "architecture": ""}]
)
def test_incomplete_platform_is_none(found: dict[str, object]) -> None:
    assert platform_of(found) is None


def test_platform_in_json_is_read_back() -> None:
    platform = Platform("linux", "arm", "v6")
    assert platform_of(platform.to_json()) == platform
