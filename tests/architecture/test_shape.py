"""Rooms stay small and say what they are: sizes, names, docstrings, and documents that name real files."""

from __future__ import annotations

import ast
import os
import re
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_MODULES_IN_A_FOLDER = 20


def tracked(suffix: str, *folders: str) -> list[str]:
    answer = subprocess.run(
        ["git", "ls-files", "-z", "--", *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [
        name
        for name in answer.stdout.split("\0")
        if name.endswith(suffix) and os.path.exists(os.path.join(ROOT, name))
    ]


def text_of(name: str) -> str:
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


SOURCES = tracked(".py", "src", "tests", "tools", "bench") + tracked(".c", "src") + tracked(".h", "src")


def test_modules_stay_short() -> None:
    too_long = {name: lines for name in SOURCES if (lines := text_of(name).count("\n")) > MAX_MODULE_LINES}

    assert too_long == {}


def test_functions_stay_short() -> None:
    too_long = {}
    for name in tracked(".py", "src"):
        for node in ast.walk(ast.parse(text_of(name))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                lines = node.end_lineno - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    too_long[f"{name}:{node.name}"] = lines

    assert too_long == {}


def test_no_module_is_a_drawer_for_anything() -> None:
    bad = [name for name in SOURCES if os.path.basename(name).rpartition(".")[0] in FORBIDDEN_NAMES]

    assert bad == []


def test_folders_stay_small() -> None:
    counts: dict[str, int] = {}
    for name in tracked(".py", "src"):
        counts[os.path.dirname(name)] = counts.get(os.path.dirname(name), 0) + 1

    assert {folder: n for folder, n in counts.items() if n > MAX_MODULES_IN_A_FOLDER} == {}


def test_package_files_hold_only_a_docstring() -> None:
    for name in tracked("__init__.py", "src"):
        body = ast.parse(text_of(name)).body
        rest = [node for node in body[1:] if not isinstance(node, ast.Assign)]

        assert isinstance(body[0], ast.Expr), name
        assert rest == [], name


@pytest.mark.parametrize(
    "document", [*tracked(".md", "docs", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")]
)
def test_documents_name_files_that_exist(document: str) -> None:
    named = re.findall(r"`((?:src|tests|docs|bench|tools|examples)/[\w./-]+)`", text_of(document))
    named += [
        f"src/casemate/{name}"
        for name in re.findall(
            r"`((?:kernel|cgroups|oci|core|image|store|runtime|network|registry|engine|cli)/[\w/]+\.py)`",
            text_of(document),
        )
    ]

    assert [name for name in named if not os.path.exists(os.path.join(ROOT, name))] == []
