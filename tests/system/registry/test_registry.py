"""docker-registry and skopeo: what one side writes the other reads, digests equal."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from casemate.errors import NotFound
from casemate.oci.digest import digest_of as digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.system


PULL_AND_MEASURE = """
import resource, sys
from casemate.registry.fetch import fetch_image
from casemate.registry.open import open_sink, open_source
from casemate.registry.push import push_image
from casemate.registry.settings import Settings
from casemate.store.content import FileContentStore
content = FileContentStore(sys.argv[2]); content.ensure()
image = fetch_image(open_source(sys.argv[1], Settings()), content=content)
push_image(open_sink(sys.argv[1] + "-pushed", Settings()), image.manifest_digest, content=content, names=[])
archive = open_sink("oci-archive:" + sys.argv[2] + "/a.tar")
push_image(archive, image.manifest_digest, content=content, names=[])
# ru_maxrss survives exec and would show the parent's peak: VmHWM belongs to this program alone.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_what_skopeo_pushed_is_pulled_with_equal_digests(
    layout: Any, registry: Any, content: Any, skopeo: Callable[..., bytes], *, fetch: Callable[..., Any]
) -> None:
    skopeo("copy", "--dest-tls-verify=false", f"oci:{layout.path}:v1", f"docker://{registry.host}/a/b:v1")
    fetched = fetch(f"docker://{registry.host}/a/b:v1", content)
    assert fetched.manifest_digest == layout.digest
    for blob in content.iter_blobs():
        assert content.read(blob.digest, limit_bytes=1 << 20)


def test_docker_schema_2_is_pulled(
    layout: Any, registry: Any, content: Any, skopeo: Callable[..., bytes], *, fetch: Callable[..., Any]
) -> None:
    target = f"docker://{registry.host}/a:v2s2"
    skopeo("copy", "--dest-tls-verify=false", "--format", "v2s2", f"oci:{layout.path}:v1", target)
    fetched = fetch(target, content)
    assert fetched.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert len(fetched.layers) == 3


def test_multi_platform_index_gives_the_asked_platform(
    layout: Any, registry: Any, content: Any, skopeo: Callable[..., bytes], *, fetch: Callable[..., Any]
) -> None:
    target = f"docker://{registry.host}/multi:v1"
    skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{layout.path}:multi", target)
    fetched = fetch(target, content, platform="s390x")
    assert fetched.index_digest == layout.index_digest
    assert fetched.image_config.architecture == "s390x"
    with pytest.raises(NotFound, match="linux/s390x"):
        fetch(target, content, platform="riscv64")


def test_what_we_push_skopeo_reads_with_equal_digests(
    layout: Any,
    registry: Any,
    content: Any,
    skopeo: Callable[..., bytes],
    *,
    fetch: Callable[..., Any],
    push: Callable[..., None],
) -> None:
    fetch(f"oci:{layout.path}:v1", content)
    push(f"docker://{registry.host}/pushed:v1", content, layout.digest)
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/pushed:v1")
    assert digest(raw) == layout.digest
    fetched = fetch(f"docker://{registry.host}/pushed@{layout.digest}", content)
    assert fetched.manifest_digest == layout.digest


def test_index_is_pushed_with_all_its_platforms(
    layout: Any,
    registry: Any,
    content: Any,
    skopeo: Callable[..., bytes],
    *,
    fetch: Callable[..., Any],
    push: Callable[..., None],
) -> None:
    for platform in ("amd64", "s390x"):
        fetch(f"oci:{layout.path}:multi", content, platform=platform)
    target = f"docker://{registry.host}/multi:v1"
    push(target, content, layout.index_digest)
    assert digest(skopeo("inspect", "--raw", "--tls-verify=false", target)) == layout.index_digest
    skopeo("copy", "--all", "--src-tls-verify=false", target, f"dir:{layout.path.parent}/multi-dir")


def test_missing_image_is_not_found(registry: Any, content: Any, fetch: Callable[..., Any]) -> None:
    with pytest.raises(NotFound):
        fetch(f"docker://{registry.host}/nothing:v1", content)


@pytest.mark.slow
def test_200_mb_layer_is_pulled_and_pushed_in_flat_memory(
    registry: Any, tmp_path: Path, skopeo: Callable[..., bytes], make_layout: Callable[..., Any]
) -> None:
    big = make_layout(tmp_path / "big", layers=1, size=200 << 20)
    target = f"docker://{registry.host}/big:v1"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{big.path}:v1", target)
    shutil.rmtree(big.path)
    done = subprocess.run(
        [sys.executable, "-c", PULL_AND_MEASURE, target, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 80 << 10, f"{int(done.stdout) >> 10} MiB"
    shutil.rmtree(tmp_path / "store")
