"""An ordinary user's containers: many ids through newuidmap, files that belong to them, limits that nobody enforces."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from casemate.engine.options import ContainerOptions, MountOption
from casemate.kernel.userns import rootless_map

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casemate.engine.engine import Engine

pytestmark = [pytest.mark.system, pytest.mark.rootless]

DIRECTORY, FILE = tarfile.DIRTYPE, tarfile.REGTYPE
WWW = 33


def owned_layer(*members: tuple[str, bytes, int, int]) -> bytes:
    """A layer of (name, type, mode, owner); a file holds its own name."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, kind, mode, owner in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid = kind, mode, owner, owner
            content = name.encode() if kind == FILE else b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


@pytest.fixture
def image(engine: Engine, busybox_layer: bytes, write_archive: Callable[..., str], tmp_path: Path) -> str:
    """An image with a closed directory of www-data's, which is also a volume."""
    closed = owned_layer(
        ("srv", DIRECTORY, 0o755, 0), ("srv/www", DIRECTORY, 0o700, WWW), ("srv/www/secret", FILE, 0o600, WWW)
    )
    config = {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Volumes": {"/srv/www": {}}}
    engine.images.load(
        write_archive(tmp_path / "o.tar", [busybox_layer, closed], config=config, name="o:latest")
    )
    return "o"


def host_owners(top: str) -> set[int]:
    return {
        os.lstat(os.path.join(base, name)).st_uid
        for base, names, files in os.walk(top)
        for name in (*names, *files)
    }


def test_the_users_map_has_the_subordinate_ids_of_newuidmap(run: Callable[..., Any]) -> None:
    lines = [line.split() for line in run("cat", "/proc/self/uid_map").out.splitlines()]
    assert lines == [[str(n) for n in (r.inside, r.outside, r.count)] for r in rootless_map().uids]
    assert len(lines) == 2, "the lane gives the user a range in /etc/subuid"


def test_a_program_can_become_every_user_of_the_range(run: Callable[..., Any]) -> None:
    assert run("sh", "-c", "id -u; id -g", user="65536:1").out.split() == ["65536", "1"]


def test_files_keep_the_owners_that_the_image_gave_them(run: Callable[..., Any], image: str) -> None:
    shown = run("stat", "-c", "%u:%g %a", "/srv", "/srv/www", "/srv/www/secret", image=image)
    assert shown.out.splitlines() == ["0:0 755", f"{WWW}:{WWW} 700", f"{WWW}:{WWW} 600"], shown.err
    assert run("cat", "/srv/www/secret", image=image, user=f"{WWW}:{WWW}").out == "srv/www/secret"
    assert "denied" in run("cat", "/srv/www/secret", image=image, user="1000:1000").err


def test_a_volume_is_filled_with_the_images_owners_and_can_be_removed(
    engine: Engine, run: Callable[..., Any], image: str
) -> None:
    mount = MountOption(kind="volume", source="site", target="/srv/www")
    assert run("true", image=image, mounts=[mount]).code == 0
    path = f"{engine.store.paths.volumes}/site/_data"
    assert os.stat(path).st_uid == rootless_map().host_uid(WWW)
    with pytest.raises(PermissionError):
        os.listdir(path)
    assert run("cat", "/srv/www/secret", image=image, mounts=[mount], user="33:33").out == "srv/www/secret"
    from casemate.engine.volumes import remove_volume

    remove_volume(engine.store, "site")
    assert os.listdir(engine.store.paths.volumes) == []


def test_what_other_users_wrote_goes_with_the_container(engine: Engine, run: Callable[..., Any]) -> None:
    script = (
        "mkdir -p /a/b/c /tmp/d; echo x >/a/b/c/f; chown -R 1000:1000 /a; chmod 0 /a/b/c/f /a/b/c /a/b /a"
    )
    assert run("busybox", "sh", "-c", script).code == 0
    assert engine.store.snapshots.roots() == []
    assert os.listdir(f"{engine.store.paths.overlay}/trash") == []
    box = engine.containers.create("busybox", ContainerOptions(argv=["busybox", "sh", "-c", script]))
    box.start()
    assert box.wait() == 0
    box.remove()
    assert engine.store.snapshots.roots() == []
    assert os.listdir(f"{engine.store.paths.overlay}/trash") == []


def test_an_image_of_many_owners_is_collected(engine: Engine, image: str) -> None:
    assert len(host_owners(f"{engine.store.paths.overlay}/layers")) == 2
    engine.images.remove(image)
    engine.store.gc()
    assert len(engine.store.snapshots.layers()) == 1, "only busybox is left"
    assert os.listdir(f"{engine.store.paths.overlay}/trash") == []


def test_keep_id_keeps_the_users_number_inside_and_on_its_files(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    mount = MountOption(source=str(tmp_path), target="/given")
    shown = run("sh", "-c", "id -u; id -g; touch /given/mine", userns="keep-id", mounts=[mount])
    assert shown.out.split() == [str(os.geteuid()), str(os.getegid())], shown.err
    assert (tmp_path / "mine").stat().st_uid == os.geteuid()


def test_keep_id_lets_root_be_asked_for(run: Callable[..., Any], tmp_path: Path) -> None:
    mount = MountOption(source=str(tmp_path), target="/given")
    (tmp_path / "mine").write_text("x")
    shown = run("sh", "-c", "id -u; stat -c %u /given/mine", userns="keep-id", user="0", mounts=[mount])
    assert shown.out.split() == ["0", str(os.geteuid())], shown.err


def test_the_hosts_user_namespace_is_refused_with_a_sentence(engine: Engine) -> None:
    from casemate.errors import Invalid

    with pytest.raises(Invalid, match="ordinary user"):
        engine.containers.create("busybox", ContainerOptions(userns="host", argv=["true"])).start()


def test_limits_without_control_groups_are_listed_as_not_enforced(engine: Engine) -> None:
    box = engine.containers.create(
        "busybox", ContainerOptions(argv=["true"], memory_bytes=64 << 20, pids_limit=9)
    )
    box.start()
    assert box.wait() == 0
    names = " ".join(box.inspect()["Casemate"]["NotEnforced"])
    assert "memory" in names
    assert "pids" in names
