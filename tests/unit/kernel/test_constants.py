"""The constants and system call numbers are those of the installed kernel headers."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys

import pytest

from casemate.kernel import capabilities, sysnum
from casemate.kernel import const as const_package

CONST_DIRECTORY = os.path.dirname(const_package.__file__)
MODULES = sorted(name[:-3] for name in os.listdir(CONST_DIRECTORY) if name.endswith(".py") and name[0] != "_")
UNDECLARED = re.compile(r"(\w+)\W undeclared|undeclared identifier '(\w+)'")
GROUP = re.compile(r"# ((?:linux|sys)/\w+\.h), since ([\d.]+)")


def compiler() -> list[str]:
    if shutil.which("cc"):
        return ["cc"]
    pytest.importorskip("ziglang", reason="no C compiler")
    return [sys.executable, "-m", "ziglang", "cc"]


def compile_c(source: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*compiler(), "-x", "c", "-w", *options, "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=False)


def header_version() -> tuple[int, ...]:
    text = compile_c("#include <linux/version.h>\n", "-E", "-dM").stdout
    code = int(re.search(r"LINUX_VERSION_CODE (\d+)", text).group(1))  # type: ignore[union-attr]
    return code >> 16, code >> 8 & 0xFF


def groups(module: str) -> list[tuple[str, str, tuple[int, ...]]]:
    """(name, header, since) of every constant of a module."""
    with open(f"{CONST_DIRECTORY}/{module}.py", encoding="utf-8") as file:
        source = file.read()
    lines = source.splitlines()
    found = []
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign):
            continue
        above = next(m for m in (GROUP.match(lines[i]) for i in range(node.lineno - 2, -1, -1)) if m)
        name = node.targets[0].id  # type: ignore[attr-defined]
        found.append((name, above[1], tuple(int(part) for part in above[2].split("."))[:2]))
    return found


@pytest.mark.parametrize("module", MODULES)
def test_every_constant_has_a_header_and_a_first_version(module: str) -> None:
    values = importlib.import_module(f"casemate.kernel.const.{module}")
    public = {name for name in vars(values) if name.isupper()}
    assert public == {name for name, _, _ in groups(module)}


@pytest.mark.parametrize("module", MODULES)
def test_constants_are_those_of_the_installed_headers(module: str) -> None:
    values = importlib.import_module(f"casemate.kernel.const.{module}")
    installed = header_version()
    for header in sorted({header for _, header, _ in groups(module)}):
        wanted = {name: since for name, h, since in groups(module) if h == header}
        include = f"#include <{header}>\n"
        if header == "linux/mount.h":
            include += "#include <fcntl.h>\n"  # OPEN_TREE_CLOEXEC is O_CLOEXEC
        probe = include + "".join(f"long long p_{n}(void) {{ return {n}; }}\n" for n in wanted)
        complaints = UNDECLARED.findall(compile_c(probe, "-fsyntax-only").stderr)
        missing = {gcc or clang for gcc, clang in complaints}
        assert all(wanted[name] > installed for name in missing), f"{header} lacks {sorted(missing)}"
        checks = "".join(
            f'_Static_assert((long long)({name}) == {getattr(values, name)}LL, "{name}");\n'
            for name in wanted
            if name not in missing
        )
        result = compile_c(include + checks, "-fsyntax-only")
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("machine", "header"), [("x86_64", "asm/unistd_64.h"), ("aarch64", "asm-generic/unistd.h")]
)
def test_system_call_numbers_are_those_of_the_installed_headers(machine: str, header: str) -> None:
    if machine == "x86_64" and os.uname().machine != "x86_64":
        pytest.skip("asm/unistd_64.h exists on x86-64 only")
    options = (
        "-E",
        "-dM",
        "-D__ARCH_WANT_NEW_STAT",
        "-D__ARCH_WANT_SET_GET_RLIMIT",
        "-D__ARCH_WANT_SYS_CLONE3",
    )
    text = compile_c(f"#include <{header}>\n", *options).stdout
    known = {name: int(nr) for name, nr in re.findall(r"#define __NR_(\w+) (\d+)$", text, re.MULTILINE)}
    ours = sysnum.TABLES[machine]
    assert {name: known.get(name) for name in ours} == ours


def test_the_bit_of_every_capability_is_its_position() -> None:
    text = compile_c("#include <linux/capability.h>\n", "-E", "-dM").stdout
    known = {n: int(v) for n, v in re.findall(r"#define (CAP_\w+) (\d+)$", text, re.MULTILINE)}
    known.pop("CAP_LAST_CAP", None)
    assert known
    assert all(capabilities.BITS[name] == bit for name, bit in known.items())
