"""Recipes are checked before anything runs, and equal recipes give equal images."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from casemate.core.transport import Descriptor
from casemate.engine.bootstrap.busybox import find_busybox, write_rootfs
from casemate.engine.bootstrap.recipe import EPOCH, parse_recipe
from casemate.engine.bootstrap.source import KEY_LABEL, BuiltSource, compress_layer
from casemate.errors import Invalid, Unsupported


def test_debian_without_a_tag_is_the_stable_suite() -> None:
    recipe = parse_recipe("debian")

    assert (recipe.kind, recipe.suite, recipe.reference) == ("debian", "stable", "debian:latest")


def test_slim_is_a_property_not_part_of_the_suite() -> None:
    recipe = parse_recipe("debian:bookworm-slim")

    assert (recipe.suite, recipe.slim) == ("bookworm", True)


def test_order_of_packages_does_not_change_the_key() -> None:
    one = parse_recipe("debian:bookworm", ["python3", "git"])
    other = parse_recipe("debian:bookworm", ["git", "python3", "git"])

    assert one.key() == other.key()
    assert one.key() != parse_recipe("debian:bookworm", ["git"]).key()


@pytest.mark.parametrize(
    "package", ["-o", "--setup-hook=id", "a b", "a\nb", "a;id", "../x", "A", "a" * 65, "=1"]
)
def test_a_package_that_could_be_an_option_is_refused(package: str) -> None:
    with pytest.raises(Invalid, match="include package"):
        parse_recipe("debian:bookworm", [package])


@pytest.mark.parametrize("suite", ["-o", "book/worm", "Bookworm", "a b", "../x"])
def test_a_suite_that_could_be_an_option_is_refused(suite: str) -> None:
    with pytest.raises(Invalid, match="bootstrap suite"):
        parse_recipe(f"debian:{suite}")


def test_an_unknown_distribution_is_refused_with_a_way_out() -> None:
    with pytest.raises(Unsupported) as caught:
        parse_recipe("alpine:3")

    assert "casemate pull" in caught.value.hint


def test_busybox_takes_no_packages() -> None:
    with pytest.raises(Invalid, match="one program"):
        parse_recipe("busybox", ["git"])


def test_source_date_epoch_must_be_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")

    with pytest.raises(Invalid, match="SOURCE_DATE_EPOCH"):
        parse_recipe("busybox")


def busybox_tar() -> bytes:
    out = io.BytesIO()
    write_rootfs(out, find_busybox(), EPOCH)
    return out.getvalue()


def test_a_busybox_layer_is_reproducible_and_complete() -> None:
    data = busybox_tar()

    assert data == busybox_tar()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getmember("bin/sh").linkname == "busybox"
        assert tar.getmember("tmp").mode == 0o1777
        assert {member.mtime for member in tar} == {EPOCH}


def test_a_built_source_describes_exactly_what_it_serves(tmp_path: object) -> None:
    layer = compress_layer(io.BytesIO(busybox_tar()), f"{tmp_path}/layer")
    recipe = parse_recipe("busybox")
    source = BuiltSource(recipe, "key", layer)

    manifest = json.loads(source.manifest()[0])
    config_of = manifest["config"]
    config = json.loads(b"".join(source.iter_blob(Descriptor("", config_of["digest"], config_of["size"]))))
    blob = b"".join(source.iter_blob(Descriptor("", layer.digest, layer.size_bytes)))

    assert config["rootfs"]["diff_ids"] == [layer.diff_id]
    assert config["config"]["Labels"][KEY_LABEL] == "key"
    assert len(blob) == manifest["layers"][0]["size"]
