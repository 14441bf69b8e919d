"""Images come from and go to archives, layouts and directories by the names that skopeo uses."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system

CASEMATE = os.path.join(os.path.dirname(sys.executable), "casemate")


def casemate(store: Path, *words: str) -> str:
    environment = {**os.environ, "CASEMATE_ROOT": f"{store}/root", "CASEMATE_RUN_ROOT": f"{store}/run"}
    answer = subprocess.run([CASEMATE, *words], env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive", "oci", "dir"])
def test_an_image_saved_and_copied_by_skopeo_comes_back_with_its_layers(
    tmp_path: Path, transport: str
) -> None:
    archive, target = f"{tmp_path}/image.tar", f"{tmp_path}/copy"
    casemate(tmp_path / "one", "image", "bootstrap", "busybox")
    casemate(tmp_path / "one", "save", "--format", "oci-archive", "-o", archive, "busybox")
    where = {"oci": f"oci:{target}:busybox", "docker-archive": f"docker-archive:{target}:busybox:latest"}
    destination = where.get(transport, f"{transport}:{target}")
    copy = ["skopeo", "--insecure-policy", "copy", "-q", f"oci-archive:{archive}", destination]
    subprocess.run(copy, check=True)

    name = casemate(tmp_path / "two", "pull", "-q", destination.removesuffix(":busybox:latest")).strip()

    assert casemate(tmp_path / "two", "run", "--rm", name, "echo", "back") == "back\n"
