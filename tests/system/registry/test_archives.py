"""Archives and directories between casemate, skopeo, podman and docker: digests equal."""

from __future__ import annotations

import gzip
import json
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from casemate.registry.fetch import fetch_image
from casemate.registry.open import Archive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.system


def _podman(root_dir: str, *arguments: str) -> str:
    root = [f"--root={root_dir}/root", f"--runroot={root_dir}/run", "--storage-driver=vfs"]
    done = subprocess.run(["podman", *root, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


DOCKER_LOADS = """
cd "$1"
umount /sys/fs/cgroup/unified 2>/dev/null
ip link set lo up
dockerd --data-root "$1/root" --exec-root "$1/exec" -H "unix://$1/sock" --pidfile "$1/pid" --iptables=false \\
    --bridge=none --storage-driver=vfs >"$1/log" 2>&1 &
daemon=$!
docker="docker -H unix://$1/sock"
tries=0
until $docker version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { cat "$1/log"; exit 1; }
    sleep 0.1
done
$docker load -q -i "$2" >&2 || exit 1
$docker images --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}}'
$docker save -o "$1/saved.tar" demo:v1
kill $daemon
wait
"""


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive", "dir"])
def test_every_file_transport_goes_through_skopeo_and_back(  # noqa: PLR0913 - both ends and their tools
    layout: Any,
    content: Any,
    tmp_path: Path,
    transport: str,
    *,
    skopeo: Callable[..., bytes],
    fetch: Callable[..., Any],
    push: Callable[..., None],
) -> None:
    fetch(f"oci:{layout.path}:v1", content)
    ours, theirs = f"{transport}:{tmp_path}/ours", f"{transport}:{tmp_path}/theirs"
    name = "docker.io/library/demo:v1"
    push(ours, content, layout.digest, names=[name])
    skopeo("copy", ours, f"dir:{tmp_path}/dir")
    skopeo("copy", f"oci:{layout.path}:v1", theirs + (f":{name}" if transport.endswith("r-archive") else ""))
    fetched = fetch(theirs, content)
    config = json.loads((tmp_path / "dir/manifest.json").read_bytes())["config"]["digest"]
    assert config == fetched.config_digest  # the image id, whatever happened to the manifest
    if transport != "docker-archive":  # that format keeps no manifest
        assert fetched.manifest_digest == layout.digest


def test_docker_archive_of_skopeo_gives_the_same_image_id_and_layers(
    layout: Any, content: Any, tmp_path: Path, skopeo: Callable[..., bytes], *, fetch: Callable[..., Any]
) -> None:
    archive = f"docker-archive:{tmp_path}/image.tar"
    skopeo("copy", f"oci:{layout.path}:v1", f"{archive}:demo:v1")
    skopeo("copy", archive, f"dir:{tmp_path}/dir")
    fetched = fetch(archive, content)
    theirs = json.loads((tmp_path / "dir/manifest.json").read_bytes())
    assert fetched.config_digest == theirs["config"]["digest"]
    assert [layer.digest for layer in fetched.layers] == [layer["digest"] for layer in theirs["layers"]]
    assert [layer.digest for layer in fetched.layers] == fetched.image_config.diff_ids


def test_archive_is_reproducible_and_compressed_ones_load(
    layout: Any, content: Any, tmp_path: Path, fetch: Callable[..., Any], *, push: Callable[..., None]
) -> None:
    fetch(f"oci:{layout.path}:v1", content)
    for name in ("one", "two"):
        push(f"docker-archive:{tmp_path}/{name}", content, layout.digest, names=["demo:v1", "other/x:2"])
    one = (tmp_path / "one").read_bytes()
    assert one == (tmp_path / "two").read_bytes()
    (tmp_path / "packed").write_bytes(gzip.compress(one, 1))
    archive = Archive(str(tmp_path / "packed"))
    names = ["docker.io/library/demo:v1", "docker.io/other/x:2"]
    assert [found for found, _ in archive.images] == [names]
    assert fetch_image(archive.images[0][1], content=content).manifest_digest == layout.digest
    archive.close()


@pytest.mark.needs_root
@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_podman_loads_what_we_save_under_its_name(
    layout: Any,
    content: Any,
    tmp_path: Path,
    transport: str,
    *,
    fetch: Callable[..., Any],
    push: Callable[..., None],
) -> None:
    fetched = fetch(f"oci:{layout.path}:v1", content)
    push(f"{transport}:{tmp_path}/image.tar", content, layout.digest, names=["docker.io/library/demo:v1"])
    with tempfile.TemporaryDirectory(prefix="cm-", dir="/tmp") as short:
        _podman(short, "load", "-i", f"{tmp_path}/image.tar")
        form = "{{.Id}} {{.Repository}}:{{.Tag}}"
        image_id, name = _podman(short, "images", "--no-trunc", "--format", form).split()
    assert image_id.removeprefix("sha256:") == fetched.config_digest.removeprefix("sha256:")
    assert name == "docker.io/library/demo:v1"


@pytest.mark.slow
@pytest.mark.needs_root
def test_docker_loads_what_we_save_and_we_load_what_docker_saves(
    layout: Any, content: Any, tmp_path: Path, fetch: Callable[..., Any], *, push: Callable[..., None]
) -> None:
    fetched = fetch(f"oci:{layout.path}:v1", content)
    push(f"docker-archive:{tmp_path}/image.tar", content, layout.digest, names=["docker.io/library/demo:v1"])
    with tempfile.TemporaryDirectory(prefix="cm-", dir="/tmp") as short:
        done = subprocess.run(
            [
                "unshare",
                "-mnpf",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                DOCKER_LOADS,
                "sh",
                short,
                f"{tmp_path}/image.tar",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        archive = Archive(f"{short}/saved.tar")
        names, source = archive.images[0]
        loaded = fetch_image(source, content=content)
        archive.close()
    assert done.stdout.split() == [fetched.config_digest, "demo:v1"]
    assert (names, loaded.config_digest) == (["docker.io/library/demo:v1"], fetched.config_digest)
