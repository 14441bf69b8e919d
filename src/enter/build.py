# ruff: noqa: INP001, S603, T201 - a script beside C files, that runs compilers and says so
"""Build ``enter``: one static binary without libc, from the C files beside this one.

``python src/enter/build.py`` puts it at ``src/casemate/bin/enter`` unless it is newer than its sources;
``--force`` always builds, ``--output PATH`` elsewhere, ``--hosted PATH`` builds the sanitized test program
instead. The compiler is $CC, else cc, else the one that ``pip install ziglang`` brings.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "casemate" / "bin" / "enter"
TESTS = HERE.parent.parent / "tests" / "fuzz"
MACHINES = ("x86_64", "aarch64")

WARNINGS = (
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wshadow",
    "-Wconversion",
    "-Wno-sign-conversion",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wvla",
    "-Wundef",
)
FREESTANDING = (
    "-std=gnu11",
    "-Os",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-stack-protector",
    "-fno-pie",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-ffunction-sections",
    "-fdata-sections",
)
LINKING = (
    "-nostdlib",
    "-static",
    "-no-pie",
    "-s",
    "-Wl,--gc-sections",
    "-Wl,-z,noexecstack",
    "-Wl,--build-id=none",
)
HOSTED = (
    "-std=gnu11",
    "-O1",
    "-g",
    "-DENTER_HOSTED",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)


def compiler(machine: str | None = None) -> list[str]:
    """The command of a C compiler for ``machine`` (None: this one). Raises: RuntimeError, there is none."""
    machine = machine or os.uname().machine
    if machine not in MACHINES:
        raise RuntimeError(f"enter is written for {' and '.join(MACHINES)}, not for {machine}")
    if machine == os.uname().machine:
        chosen = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if chosen:
            return shlex.split(chosen)
    zig = [sys.executable, "-m", "ziglang"]
    if subprocess.run([*zig, "version"], capture_output=True, check=False).returncode == 0:
        return [*zig, "cc", "-target", f"{machine}-linux-musl", "-fno-sanitize=all", *_zig_headers(machine)]
    raise RuntimeError("no C compiler: install one (apt install gcc) or the package ziglang")


def _zig_headers(machine: str) -> list[str]:
    """Options that name the kernel's headers, which zig leaves out when there is no libc."""
    package = importlib.util.find_spec("ziglang")
    include = Path(package.origin or "").parent / "lib" / "libc" / "include" if package else HERE
    short = "x86" if machine == "x86_64" else machine
    return [f"-isystem{include / name}" for name in (f"{short}-linux-any", "any-linux-any")]


def sources() -> list[Path]:
    """The C files, in a fixed order so that equal sources give an equal binary."""
    return sorted(HERE.glob("*.c"))


def is_fresh(output: Path) -> bool:
    """Whether ``output`` is newer than every source, header and this file."""
    if not output.exists():
        return False
    made = output.stat().st_mtime_ns
    return all(
        path.stat().st_mtime_ns <= made
        for path in HERE.iterdir()
        if path.suffix in (".c", ".h", ".def", ".py")
    )


def build(output: Path = OUTPUT, *, force: bool = False, machine: str | None = None) -> Path:
    """Build the binary unless it is fresh; its path. Raises RuntimeError with the compiler's words."""
    if not force and is_fresh(output):
        return output
    command = [*compiler(machine), *FREESTANDING, *WARNINGS, *LINKING, *map(str, sources())]
    _compile(command, output)
    return output


def build_hosted(output: Path) -> Path:
    """Build the program of tests/fuzz: the same sources over a fake kernel, with ASan and UBSan."""
    files = [path for path in sources() if path.name != "sys.c"]
    harness = sorted(TESTS.glob("*.c"))
    command = [*compiler(), *HOSTED, *WARNINGS, f"-I{HERE}", *map(str, files), *map(str, harness)]
    _compile(command, output)
    return output


def _compile(command: list[str], output: Path) -> None:
    """Compile to a temporary name, so that a running or half-written binary is never seen."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    result = subprocess.run([*command, "-o", str(temporary)], capture_output=True, text=True, check=False)
    if result.returncode:
        temporary.unlink(missing_ok=True)
        raise RuntimeError(f"enter was not compiled:\n{result.stderr}")
    temporary.chmod(0o755)
    temporary.rename(output)


def main() -> int:
    """Build as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--machine", choices=MACHINES, help="cross-compile (needs ziglang)")
    parser.add_argument("--hosted", type=Path, metavar="PATH", help="build the fuzzing program instead")
    options = parser.parse_args()
    try:
        made = (
            build_hosted(options.hosted)
            if options.hosted
            else build(options.output, force=options.force, machine=options.machine)
        )
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{made} ({made.stat().st_size} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
