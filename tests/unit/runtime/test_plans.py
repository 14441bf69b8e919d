"""Plans are pure: the same specification gives the same operations, which are compared as text without root.

Written anew with CASEMATE_UPDATE_GOLDEN=1; the difference is part of the review.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casemate.core.snapshots import RootFs
from casemate.kernel.userns import IdMap, IdRange
from casemate.runtime import container
from casemate.runtime.cli.spec import default_spec
from casemate.runtime.request import ContainerRequest, Stdio

GOLDEN = Path(__file__).parents[2] / "golden/plan"


@pytest.fixture
def golden_spec() -> dict:
    spec = default_spec(rootless=False)
    spec["process"]["args"] = ["/bin/true"]
    spec["process"]["rlimits"] = []
    spec["linux"]["seccomp"] = None
    spec["linux"]["maskedPaths"] = ["/proc/kallsyms", "/sys/firmware"]
    spec["mounts"] = [mount for mount in spec["mounts"] if mount["type"] != "cgroup"]
    return spec


def describe(request: ContainerRequest, tmp: Path) -> str:
    plan = container.plan_container(request)
    try:
        return "\n".join(plan.describe()).replace(str(tmp), "TMP") + "\n"
    finally:
        plan.close()


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("CASEMATE_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.needs_root
def test_the_plan_of_a_bundle(golden_spec: dict, tmp_path: Path) -> None:
    golden_spec["process"]["terminal"] = False
    check(
        "bundle.txt", describe(ContainerRequest("c", golden_spec, RootFs("bind", [str(tmp_path)])), tmp_path)
    )


@pytest.mark.needs_root
def test_the_plan_of_an_overlay_in_a_range_of_its_own(
    golden_spec: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from casemate.runtime.compile import rootfs

    monkeypatch.setattr(rootfs, "_kernel", lambda: (6, 18))
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    golden_spec["linux"]["namespaces"].append({"type": "user"})
    span = [IdRange(0, 1 << 30, 65536)]
    layers = RootFs(
        "overlay",
        [str(tmp_path / "lower")],
        upper=str(tmp_path / "upper"),
        work=str(tmp_path / "work"),
        stored_uid_base=0,
        owner_base=1 << 30,
    )
    request = ContainerRequest(
        "c", golden_spec, layers, id_map=IdMap(span, span), stdio=Stdio(tty=True, console_size=(24, 80))
    )
    check("overlay_terminal.txt", describe(request, tmp_path))
    monkeypatch.setattr(rootfs, "_kernel", lambda: (6, 1))
    check("overlay_linux_6_1.txt", describe(request, tmp_path))
