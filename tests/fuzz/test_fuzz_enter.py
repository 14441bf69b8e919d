"""``enter`` over a fake kernel, with AddressSanitizer and UBSan: hostile plans are refused or do no harm.

CASEMATE_FUZZ_SECONDS (default 3) says for how long random plans are made, CASEMATE_FUZZ_SEED which.
"""

from __future__ import annotations

import importlib.util
import os
import struct
import subprocess
from pathlib import Path

import pytest

from casemate.runtime.plan import HEADER, OPERATION, Plan

ENTER = Path(__file__).parents[2] / "src" / "enter"
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
REFUSED = "kind=4 "
STRING, OPERATIONS_AT = 1, HEADER.size


@pytest.fixture(scope="session")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location("enter_build", ENTER / "build.py")
    assert spec
    assert spec.loader
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    made: Path = build.build_hosted(tmp_path_factory.mktemp("fuzz") / "fuzz")
    return made


def run(fuzz: Path, *arguments: str) -> str:
    result = subprocess.run(
        [fuzz, *arguments], capture_output=True, text=True, timeout=3600, check=False, env=ENVIRONMENT
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


def valid_plan() -> bytearray:
    plan = Plan()
    slot = plan.new_slot()
    plan.add("inside", "OPENAT2", slot, -1, "/", 0, 0, 0)
    plan.add("inside", "MKDIR", slot, "name", 0o755)
    plan.add("inside", "GROUPS", b"\0" * 8)
    plan.add("inside", "EXEC", ["/bin/true"], [])
    return bytearray(plan.encode())


def broken(offset: int, form: str, value: int) -> bytes:
    data = valid_plan()
    struct.pack_into(form, data, offset, value)
    return bytes(data)


def argument(index: int, number: int) -> int:
    return OPERATIONS_AT + index * OPERATION.size + 8 + 8 * number


HOSTILE = {
    "empty": b"",
    "cut header": bytes(valid_plan()[:100]),
    "cut pool": bytes(valid_plan()[:-1]),
    "wrong magic": broken(0, "<I", 0),
    "wrong version": broken(4, "<I", 2),
    "size too big": broken(8, "<I", 1 << 30),
    "operations outside": broken(12, "<I", 1 << 31),
    "operation count overflows": broken(16, "<I", 0xFFFFFFFF),
    "pool outside": broken(20, "<I", 0xFFFFFFF0),
    "pool size overflows": broken(24, "<I", 0xFFFFFFFF),
    "too many slots": broken(32, "<I", 4096),
    "program outside": broken(40, "<I", 0xFFFFFFFF),
    "clone flags that are not namespaces": broken(72, "<Q", 0x100),
    "keeper slot out of range": broken(88, "<i", 5),
    "keeper slot that is not filled": broken(88, "<i", 0),
    "unknown mode": broken(84, "<I", 3),
    "unknown operation": broken(OPERATIONS_AT, "<H", 999),
    "operation zero": broken(OPERATIONS_AT, "<H", 0),
    "operation in the wrong program": broken(OPERATIONS_AT, "<H", 59),
    "reserved bits": broken(OPERATIONS_AT + 4, "<I", 1),
    "unused argument": broken(argument(3, 5), "<Q", 1),
    "slot out of range": broken(argument(0, 0), "<Q", 1 << 40),
    "slot before it is filled": broken(argument(0, 1), "<Q", 0),
    "string outside": broken(argument(0, 2), "<Q", 0xFFFFFFFF << 32 | 2),
    "string without end": broken(argument(0, 2), "<Q", 8 << 32 | 1),
    "string of no length": broken(argument(0, 2), "<Q", 8 << 32),
    "name with a slash": broken(argument(1, 1), "<Q", 8 << 32 | 2),
    "odd groups": broken(argument(2, 0), "<Q", 0 << 32 | 3),
    "no argv": broken(argument(3, 0), "<Q", 0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_plan_is_refused_before_its_first_operation(fuzz: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "plan").write_bytes(HOSTILE[name])
    line = run(fuzz, str(tmp_path / "plan"))
    assert REFUSED in line or "kind=0" in line, line
    if "kind=4" in line:
        assert "check=0" not in line


def test_random_plans_do_no_harm(fuzz: Path) -> None:
    seconds = os.environ.get("CASEMATE_FUZZ_SECONDS", "3")
    words = run(fuzz, "-r", seconds, os.environ.get("CASEMATE_FUZZ_SEED", "1")).split()
    assert int(words[0]) > 1000
    assert int(words[2]) > 100, "enough of them are valid to reach the operations"
