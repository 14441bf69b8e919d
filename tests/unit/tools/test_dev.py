"""The developer's front door says what it does and what is missing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


@pytest.fixture
def dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", os.path.join(ROOT, "tools", "dev.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_help_lists_every_task(dev: ModuleType) -> None:
    answer = subprocess.run([f"{ROOT}/dev", "--help"], capture_output=True, text=True, check=True)

    for task, function in dev.TASKS.items():
        assert f"  {task}" in answer.stdout
        assert function.__doc__.strip() in answer.stdout


def test_an_unknown_task_is_an_error_that_names_the_tasks() -> None:
    answer = subprocess.run([f"{ROOT}/dev", "fly"], capture_output=True, text=True, check=False)

    assert answer.returncode == 2
    assert "demo" in answer.stderr


def test_an_ordinary_user_is_shown_the_line_that_installs_what_is_missing(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(dev, "package_groups", lambda: {"run": ["no-such-package-of-casemate"]})

    with pytest.raises(SystemExit) as caught:
        dev.ensure_packages("run")

    assert caught.value.code == 1
    assert (
        "sudo apt-get install -y --no-install-recommends no-such-package-of-casemate"
        in capsys.readouterr().out
    )


def test_nothing_is_installed_twice(dev: ModuleType) -> None:
    assert dev.missing_packages(["dpkg"]) == []


def test_every_package_group_that_a_task_needs_exists(dev: ModuleType) -> None:
    assert {"run", "build", "images", "peers", "tests", "bench", "lab"} <= set(dev.package_groups())
