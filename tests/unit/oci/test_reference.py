"""Image references read as docker reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.errors import Invalid, Unsupported
from casemate.oci.reference import is_image_id, parse_reference

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:bookworm", "docker.io/library/debian:bookworm", "debian:bookworm"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("index.docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("ann/app", "docker.io/ann/app:latest", "ann/app:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        ("[fd00::1]/app", "[fd00::1]/app:latest", "[fd00::1]/app:latest"),
        ("Registry/app", "Registry/app:latest", "Registry/app:latest"),
        ("r.io/a.b_c__d-e---f/g", "r.io/a.b_c__d-e---f/g:latest", "r.io/a.b_c__d-e---f/g:latest"),
        (f"app@{DIGEST}", f"docker.io/library/app@{DIGEST}", f"app@{DIGEST}"),
        (f"app:1@{DIGEST}", f"docker.io/library/app:1@{DIGEST}", f"app:1@{DIGEST}"),
        ("app:" + "t" * 128, "docker.io/library/app:" + "t" * 128, "app:" + "t" * 128),
        ("app:_A.b-C", "docker.io/library/app:_A.b-C", "app:_A.b-C"),
        (HEX + "/app", f"docker.io/{HEX}/app:latest", HEX + "/app:latest"),
    ],
)
def test_reference_gets_dockers_defaults(text: str, canonical: str, familiar: str) -> None:
    reference = parse_reference(text)
    assert (reference.canonical(), reference.familiar()) == (canonical, familiar)
    assert parse_reference(reference.familiar()) == reference
    assert parse_reference(reference.canonical()) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":tag",
        "@",
        "app@",
        "app:",
        "app:-x",
        "app:.x",
        "app:" + "t" * 129,
        "app:a:b",
        "App",
        "app/Sub",
        "/app",
        "app/",
        "a//b",
        "a..b",
        "a___b",
        "a._b",
        "_a",
        "a_",
        "-a/b",
        "../../etc/passwd",
        "r.io/../x",
        "r.io:port/x",
        "r.io:99999/x",
        "r.io:/x",
        ":5000/x",
        "-r.io/x",
        "r..io/x",
        "[::1/x",
        "[]/x",
        "[::1]x/y",
        "app name",
        "app\n",
        "app\0",
        "äpp",
        "app:tàg",
        "http://r.io/app",
        HEX,
        "app@sha256:abc",
        f"app@sha256:{HEX.upper()}",
        f"app@{DIGEST}@{DIGEST}",
        "app@sha256:../../x",
        "a" * 256,
        "r.io/" + "a/" * 130 + "a",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_reference(text)


def test_other_algorithm_is_unsupported_by_name() -> None:
    with pytest.raises(Unsupported, match="sha256"):
        parse_reference("app@sha512:" + "a" * 128)


def test_upper_case_name_gets_a_hint() -> None:
    with pytest.raises(Invalid) as caught:
        parse_reference("Debian")
    assert "lower case" in caught.value.hint


@given(st.text(alphabet="aA0._-/:@[]%\n é", max_size=40))
def test_every_text_is_a_stable_reference_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except (Invalid, Unsupported):
        return
    assert parse_reference(reference.canonical()).canonical() == reference.canonical()
    assert ".." not in reference.repository
    assert "\n" not in reference.canonical()


@pytest.mark.parametrize(
    ("text", "expected"), [(HEX, True), (DIGEST, True), (HEX[:12], False), (HEX.upper(), False)]
)
def test_image_ids_are_told_from_names(text: str, *, expected: bool) -> None:
    assert is_image_id(text) is expected
