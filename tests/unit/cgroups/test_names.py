"""No cgroup path names another place than it seems to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.cgroups.names import expand_slice, parse_path
from casemate.errors import Invalid


@pytest.mark.parametrize(
    ("path", "parts", "absolute"),
    [
        ("casemate/abc", ("casemate", "abc"), False),
        ("/a/b", ("a", "b"), True),
        ("/a//b/", ("a", "b"), True),
        ("machine.slice:libpod:1234", ("machine.slice", "libpod-1234.scope"), True),
        ("system.slice::x", ("system.slice", "x.scope"), True),
        (":docker:abc", ("system.slice", "docker-abc.scope"), True),
        ("-.slice:p:n", ("p-n.scope",), True),
        ("a-b-c.slice:p:n", ("a.slice", "a-b.slice", "a-b-c.slice", "p-n.scope"), True),
        ("user.slice:x:my.slice", ("user.slice", "my.slice"), True),
        ("kubepods/pod:1:2", ("kubepods", "pod:1:2"), False),
        ("größe/ü", ("größe", "ü"), False),
    ],
)
def test_the_three_forms(path: str, parts: tuple[str, ...], absolute: bool) -> None:  # noqa: FBT001 - table
    parsed = parse_path(path)
    assert (parsed.parts, parsed.absolute) == (parts, absolute)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "..",
        "../x",
        "a/../b",
        "/..",
        "a/./b",
        ".",
        "a\nb",
        "a/\n",
        "a\0b",
        "\x1b[2J",
        "a\u2028b",
        "\ud800",
        "cgroup.procs",
        "a/cgroup.kill/b",
        "x" * 256,
        "ü" * 128,
        "/".join("a" * 33),
        "..:a:b",
        "a.slice:..:..",
        "no:prefix:name",
        "a--b.slice:p:n",
        "-a.slice:p:n",
        ".slice:p:n",
        "a.slice:p:",
        "a.slice:p\n:n",
        "a.slice:p:" + "n" * 250,
        "a.slice:cgroup.x:n",
    ],
)
def test_hostile_paths_are_refused(path: str) -> None:
    with pytest.raises(Invalid):
        parse_path(path)


@given(st.text())
def test_what_is_accepted_is_safe_to_join(text: str) -> None:
    try:
        parsed = parse_path(text)
    except Invalid:
        return
    for part in parsed.parts:
        assert part not in ("", ".", "..")
        assert "/" not in part
        assert part.isprintable()
        assert 0 < len(part.encode()) <= 255


def test_the_root_slice_has_no_directory() -> None:
    assert expand_slice("-.slice", "") == ()
