"""Links and races where something is mounted: what is mounted goes inside the root or nowhere, never onto the host."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root]  # the user's half becomes that user itself

MOUNTED = (
    *("etc/hosts", "etc/resolv.conf", "etc/hostname", "etc/mtab", "etc"),
    *("dev", "dev/null", "dev/pts", "dev/shm", "dev/console", "dev/ptmx", "proc", "sys"),
)
LINKS = ("absolute", "relative", "dangling", "magic")
LOOK = (
    "for f in /etc/hosts /etc/hostname /etc/resolv.conf /etc/mtab /dev/null; do cat $f; done;"
    " echo x > /etc/hosts; echo x > /etc/hostname; echo x > /dev/null; ls /dev /dev/pts /proc/sys /sys;"
    " touch /dev/shm/new /etc/new; chmod 777 /etc/hosts /dev/null /etc /dev; true"
)


def link_to(canary: Any, place: str, kind: str) -> str:
    """Where the link points: the canary's file, or its directory where a directory is mounted."""
    is_directory = place in {"etc", "dev", "dev/pts", "dev/shm", "proc", "sys"}
    target = canary.place if is_directory else canary.file
    return {
        "absolute": target,
        "relative": "../" * 12 + target[1:],
        "dangling": f"{canary.place}/new",
        "magic": f"/proc/self/root{target}",
    }[kind]


@pytest.mark.parametrize("place", MOUNTED)
def test_a_link_where_the_runtime_mounts_never_leads_to_the_host(  # noqa: PLR0917 - fixtures
    box: Any, busybox_layer: bytes, make_layer: Callable[..., bytes], canary: Any, place: str
) -> None:
    os.chmod(canary.directory, 0o777)
    os.chmod(canary.file, 0o666)
    os.chmod(canary.place, 0o777)
    canary.renew()
    for kind in LINKS:
        parent = {os.path.dirname(place): None} if "/" in place else {}
        removed = {"etc/.wh.group": b"", "etc/.wh.passwd": b"", ".wh.etc": b""} if place == "etc" else {}
        layers = [busybox_layer, *([make_layer(removed)] if removed else [])]
        layers.append(make_layer({**parent, place: link_to(canary, place, kind)}))
        loaded = box.load("links", layers)
        assert loaded.code == 0, loaded
        before = box.print_of_store()
        answer = box("run", "--rm", "links", "sh", "-c", LOOK)
        canary.check(answer, box("run", "--rm", "--read-only", "links", "sh", "-c", LOOK))
        assert answer.code in {0, 125}, answer
        assert box.print_of_store() == before


@pytest.mark.parametrize("place", ["etc/hosts", "dev/null", "dev/pts", "dev/shm", "dev/console"])
def test_exec_follows_no_link_that_the_container_made_since(box: Any, canary: Any, place: str) -> None:
    """The container replaces what it can by links; another program started in it touches nothing outside."""
    name = box.fine("run", "-d", "--cap-add", "SYS_ADMIN", "busybox", "sleep", "60").strip()
    links = f"umount -l /{place}; rm -rf /{place}; ln -s {canary.file} /{place}; ln -s {canary.directory} /out; ls -l /{place}"
    first = box("exec", name, "sh", "-c", links)
    second = box("exec", name, "sh", "-c", f"cat /{place}; echo x > /{place}; ls -l /out/")
    third = box("exec", "-w", "/out", name, "sh", "-c", "pwd; cat file; echo x > file")
    fourth = box("exec", "-u", "user", name, "sh", "-c", LOOK)
    box.fine("rm", "-f", name)
    canary.check(first, second, third, fourth)


@pytest.mark.parametrize("kind", LINKS)
def test_a_volume_on_a_link_is_mounted_inside(  # noqa: PLR0917 - fixtures
    box: Any, busybox_layer: bytes, make_layer: Callable[..., bytes], canary: Any, kind: str
) -> None:
    layers = [busybox_layer, make_layer({"data": link_to(canary, "etc", kind)})]
    assert box.load("volume", layers, config={"Volumes": {"/data": {}}}).code == 0
    write = "echo x > /data/written; chmod 777 /data; cat /data/file"
    canary.check(
        box("run", "--rm", "volume", "sh", "-c", write),
        box("run", "--rm", "-v", "/data/below", "volume", "sh", "-c", write),
        box("run", "--rm", "--tmpfs", "/data", "volume", "sh", "-c", write),
        box("run", "--rm", "-v", "/data", "volume", "sh", "-c", write),
    )


def test_a_new_volume_is_filled_without_following_links(
    box: Any, busybox_layer: bytes, make_layer: Callable[..., bytes], canary: Any
) -> None:
    inside = {"data": None, "data/file": canary.file, "data/sub": canary.directory, "data/up": "../" * 12}
    assert box.load("fill", [busybox_layer, make_layer(inside)], config={"Volumes": {"/data": {}}}).code == 0
    answer = box(
        "run", "--rm", "fill", "sh", "-c", "cat /data/file /data/sub/file; ls -l /data; echo x > /data/file"
    )
    canary.check(answer)
    assert "No such file" in answer.err, answer


@pytest.fixture
def shared(box: Any) -> Iterator[str]:
    """A directory of the host that two containers share, writable for both."""
    path = tempfile.mkdtemp(prefix="shared-", dir=box.directory)
    os.chmod(path, 0o777)
    yield path
    shutil.rmtree(path)


FLIPS = 4000
STARTS = 12


def test_a_mount_target_that_is_swapped_meanwhile_never_leads_outside(
    box: Any, canary: Any, shared: str
) -> None:
    """One container flips a directory and a link to the host in a volume; others are started with mounts below it."""
    os.chmod(canary.directory, 0o777)
    os.chmod(canary.place, 0o777)
    canary.renew()
    flip = (
        f"cd /v; mkdir real; mkdir real/place; ln -s {canary.directory} link; i=0; mv real a;"
        f" while [ $i -lt {FLIPS} ]; do mv a real; mv link a; mv a link; mv real a; i=$((i+1)); done"
    )
    name = box.fine("run", "-d", "-v", f"{shared}:/v", "busybox", "sh", "-c", flip).strip()
    for number in range(STARTS):
        target = ("/v/a/place", "/v/a/place/deep", "/v/a/new")[number % 3]
        answer = box(
            "run", "--rm", "-v", f"{shared}:/v", "--tmpfs", target, "busybox",
            "sh", "-c", f"echo x > {target}/written; cat /v/a/file; grep -c canary /proc/self/mountinfo",
        )  # fmt: skip
        canary.check(answer)
        assert answer.code in {0, 1, 125}, answer
    box.fine("rm", "-f", name)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        assert canary.directory not in file.read()
