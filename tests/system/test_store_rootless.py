"""The suites of the store hold for an ordinary user too: with subordinate ids, and with none at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.needs_root, pytest.mark.slow]

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NOBODY = 65534
SUITES = ("tests/conformance", "tests/system/test_store_hostile.py", "tests/unit/store")
SELECT = (
    "not through-relative and not gnu- and not ustar-"  # one encoding shows it: names are the parser's work
)


@pytest.fixture
def home() -> Iterator[str]:
    """A directory that belongs to nobody, the user."""
    directory = tempfile.mkdtemp(prefix="casemate-nobody-")
    os.chown(directory, NOBODY, NOBODY)
    yield directory
    shutil.rmtree(directory)


def as_nobody(home: str, argv: list[str], *, subids: bool) -> subprocess.CompletedProcess[str]:
    """Run as the user nobody; in a mount namespace that gives it subordinate ids or takes them away."""
    line = "nobody:200000:65536\n" if subids else ""
    with open(f"{home}/subids", "w", encoding="ascii") as file:
        file.write(line)
    script = (
        f"mount --bind {home}/subids /etc/subuid && mount --bind {home}/subids /etc/subgid &&"
        ' exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"'
    )
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8"}
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *argv],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.parametrize("subids", [True, False], ids=["subordinate-ids", "single-id"])
def test_suites_pass_as_an_ordinary_user(home: str, *, subids: bool) -> None:
    argv = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        f"--basetemp={home}/t",
    ]
    done = as_nobody(home, [*argv, "-k", SELECT, *SUITES], subids=subids)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


OWNERS = """
import hashlib, io, os, sys, tarfile
from casemate.core.snapshots import LayerSpec
from casemate.store.overlay.snapshotter import OverlaySnapshotter
out = io.BytesIO()
with tarfile.open(fileobj=out, mode="w") as tar:
    for name, uid in (("root", 0), ("www", 33), ("closed", 1000)):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, 0o700, uid, uid
        tar.addfile(info)
        info = tarfile.TarInfo(name + "/f")
        info.uid = info.gid = uid
        tar.addfile(info)
data = out.getvalue()
digest = "sha256:" + hashlib.sha256(data).hexdigest()
path = sys.argv[1]
open(path + "/blob", "wb").write(data)
snapshotter = OverlaySnapshotter(path + "/overlay")
spec = LayerSpec(blob_digest=digest, media_type="t", diff_id=digest, chain_id=digest, parent_chain_id=None)
with open(path + "/blob", "rb", buffering=0) as blob:
    snapshotter.unpack(spec, blob)
lower = snapshotter.create_root("c", digest, owner_base=None).lowers[0]
print({name: os.stat(f"{lower}/{name}").st_uid for name in ("root", "www", "closed")})
snapshotter.sweep(set(), set())
print(os.listdir(path + "/overlay/layers"), os.listdir(path + "/overlay/trash"))
"""


@pytest.mark.parametrize(
    ("subids", "owners"),
    [
        (True, {"root": 65534, "www": 200032, "closed": 200999}),
        (False, {"root": 65534, "www": 65534, "closed": 65534}),
    ],
)  # fmt: skip
def test_owners_are_the_users_own_ids_and_can_be_removed_again(
    home: str, owners: dict[str, int], *, subids: bool
) -> None:
    done = as_nobody(home, [sys.executable, "-B", "-c", OWNERS, home], subids=subids)
    assert done.stdout.splitlines() == [str(owners), "[] []"], done.stderr
