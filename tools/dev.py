"""What ``./dev TASK`` does: set up whatever is missing, then run the task. Standard library only."""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
CACHE = os.path.join(ROOT, ".cache")


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"dev: {text}", flush=True)


def run(argv: list[str], **options: object) -> None:
    """Run a command; a failure ends this program with the command's own status."""
    status = subprocess.call(argv, cwd=ROOT, **options)  # type: ignore[call-overload]
    if status:
        sys.exit(status if status > 0 else 128 - status)


# ------------------------------------------------------------------ setting up


def package_groups() -> dict[str, list[str]]:
    """Read tools/packages.txt: group -> Debian package names."""
    groups: dict[str, list[str]] = {}
    with open(os.path.join(ROOT, "tools", "packages.txt"), encoding="utf-8") as file:
        for line in file:
            name, colon, packages = line.partition(":")
            if colon and not line.startswith("#"):
                groups[name] = packages.split()
    return groups


def missing_packages(wanted: list[str]) -> list[str]:
    """Return those of ``wanted`` that dpkg does not have installed."""
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *wanted]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    have = {line.split()[0] for line in answer.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in have]


def ensure_packages(*groups: str) -> None:
    """Install what is missing of the groups as root; an ordinary user is shown the one line to run."""
    if shutil.which("dpkg-query") is None:
        say("not a Debian system: install the equivalents of tools/packages.txt yourself")
        return
    table = package_groups()
    wanted = sorted({name for group in groups for name in table[group]})
    missing = missing_packages(wanted)
    if not missing:
        return
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        say("these Debian packages are missing; run this once, then ./dev again:")
        print("  sudo apt-get update && sudo " + " ".join(a for a in install if a != "-qq"))
        sys.exit(1)
    say("installing Debian packages: " + " ".join(missing))
    # Peers bring services (docker): an installation for tests must not start daemons on anybody's machine.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    with open(os.path.join(cache_directory(), "apt.log"), "ab") as log:
        if subprocess.call(install, stdout=log, stderr=log, env=environment) == 0:
            return
        subprocess.call(["apt-get", "update", "-qq"], stdout=log, stderr=log)
        if subprocess.call(install, stdout=log, stderr=log, env=environment):
            say(f"apt-get failed; its output is in {log.name}")
            sys.exit(1)


def cache_directory() -> str:
    """Make and return the cache directory of this checkout."""
    os.makedirs(CACHE, exist_ok=True)
    return CACHE


def fingerprint(paths: list[str]) -> str:
    """Hash the files (and everything below directories) that an installation step depends on."""
    digest = hashlib.sha256(sys.version.encode())
    files = []
    for path in (os.path.join(ROOT, p) for p in paths):
        if os.path.isdir(path):
            for folder, _, names in os.walk(path):
                files += [os.path.join(folder, name) for name in names if not name.endswith(".pyc")]
        else:
            files.append(path)
    for path in sorted(files):
        with open(path, "rb") as file:
            digest.update(path.encode() + b"\0" + file.read())
    return digest.hexdigest()


def once(stamp: str, key: str) -> bool:
    """Tell whether the step ``stamp`` was already done for ``key``."""
    try:
        with open(os.path.join(cache_directory(), stamp), encoding="utf-8") as file:
            return file.read() == key
    except FileNotFoundError:
        return False


def done(stamp: str, key: str) -> None:
    """Remember that ``stamp`` is done for ``key``."""
    with open(os.path.join(cache_directory(), stamp), "w", encoding="utf-8") as file:
        file.write(key)


def ensure_environment() -> None:
    """Make the virtual environment with casemate and the developer's tools in it, and compile ``enter``."""
    key = fingerprint(["pyproject.toml", "src/casemate/__init__.py"])
    if not (os.path.exists(PYTHON) and once("environment", key)):
        say("setting up the virtual environment in .venv")
        started = time.monotonic()
        run([sys.executable, "-m", "venv", "--clear", VENV])
        # Debian 12's pip writes start scripts that import `re`: 5 ms at every start of casemate.
        pip("install", "--upgrade", "pip")
        pip("install", "--editable", ".[dev]")
        # Python 3.11's venv brings setuptools, whose .pth file runs code at every start.
        pip("uninstall", "--yes", "setuptools")
        done("environment", key)
        say(f"virtual environment ready ({time.monotonic() - started:.0f} s)")
    write_start_scripts()
    key = fingerprint(["src/enter"])
    if not once("enter", key) or not os.path.exists(os.path.join(ROOT, "src/casemate/bin/enter")):
        say("compiling enter")
        run([PYTHON, "src/enter/build.py"])
        done("enter", key)


START = """#!{python} -IS
import sys

sys.path.insert(0, {source!r})
sys.path.append({packages!r})
from casemate.quickstart import {function}

sys.exit({function}())
"""
SHEBANG_BYTES = 250  # the kernel reads 256


def write_start_scripts() -> None:
    """Start our commands isolated from PYTHON* variables and the user's site, and 1 ms sooner than pip's scripts do.

    A path that the kernel would not take in a first line keeps pip's script, which works everywhere.
    """
    library = f"python{sys.version_info.major}.{sys.version_info.minor}"
    places = {
        "source": os.path.join(ROOT, "src"),
        "packages": os.path.join(VENV, "lib", library, "site-packages"),
    }
    if " " in PYTHON or len(PYTHON) > SHEBANG_BYTES:
        return
    for name in ("casemate", "casemate-oci"):
        path = os.path.join(VENV, "bin", name)
        text = START.format(python=PYTHON, **places, function=name.replace("-", "_"))
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                continue
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def pip(*arguments: str) -> None:
    """Run pip in the virtual environment; its own words go to a log that a failure names."""
    argv = [PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments]
    with open(os.path.join(cache_directory(), "pip.log"), "ab") as log:
        if subprocess.call(argv, cwd=ROOT, stdout=log, stderr=log):
            say(f"pip failed; its output is in {log.name}")
            sys.exit(1)


# ------------------------------------------------------------------------ tasks


def link_command() -> None:
    """Put ``casemate`` and ``casemate-oci`` on the user's PATH, unless something else is there."""
    where = "/usr/local/bin" if os.geteuid() == 0 else os.path.expanduser("~/.local/bin")
    os.makedirs(where, exist_ok=True)
    for name in ("casemate", "casemate-oci"):
        link, target = os.path.join(where, name), os.path.join(VENV, "bin", name)
        if os.path.islink(link) and os.path.basename(os.path.realpath(link)) == name:
            os.unlink(link)
        if os.path.lexists(link):
            say(f"{link} exists and is not ours: use {target}")
            continue
        os.symlink(target, link)
    if where not in os.environ.get("PATH", "").split(os.pathsep):
        say(f'add casemate to your PATH: export PATH="{where}:$PATH"')


def task_setup(arguments: list[str]) -> None:
    """Install what a developer needs and compile enter."""
    del arguments
    ensure_packages("run", "build", "images")
    ensure_environment()


def task_demo(arguments: list[str]) -> None:
    """Make a Debian image from Debian's own packages and run programs in it."""
    task_setup(arguments)
    link_command()
    casemate = os.path.join(VENV, "bin", "casemate")
    python = 'import os; print("uid", os.getuid(), "on", os.uname().nodename)'
    isolated = ["run", "--rm", "--network", "none"]
    steps = [
        ["image", "bootstrap", "busybox"],
        ["image", "bootstrap", "debian:bookworm", "--include", "python3"],
        ["images"],
        [*isolated, "busybox", "echo", "hello from a container"],
        [*isolated, "debian:bookworm", "cat", "/etc/os-release"],
        [*isolated, "debian:bookworm", "python3", "-c", python],
    ]
    for step in steps:
        print("$ casemate " + shlex.join(step), flush=True)
        run([casemate, *step])
    say("ready. Now try: casemate run --rm -it debian:bookworm bash")


def task_lint(arguments: list[str]) -> None:
    """Check style, types and layers."""
    task_setup(arguments)
    bin_directory = os.path.join(VENV, "bin")
    run([os.path.join(bin_directory, "ruff"), "check", "."])
    run([os.path.join(bin_directory, "ruff"), "format", "--check", "."])
    run([os.path.join(bin_directory, "mypy")])
    run([os.path.join(bin_directory, "lint-imports")])


def task_test(arguments: list[str]) -> None:
    """Run every lane (unit, system as root and as an ordinary user, lab), or what is given to pytest."""
    ensure_packages("run", "build", "images", "peers", "tests", *(() if arguments else ("lab",)))
    ensure_environment()
    if arguments:
        run([PYTHON, "-m", "pytest", *arguments])
        return
    run([PYTHON, "tools/lanes.py"])


def task_bench(arguments: list[str]) -> None:
    """Measure casemate beside runc, crun, podman and docker in one run."""
    ensure_packages("run", "build", "images", "peers", "bench")
    ensure_environment()
    run([PYTHON, "-m", "bench", *arguments])


def task_lab(arguments: list[str]) -> None:
    """Run tests in a virtual machine of ours with systemd, cgroup v2 and AppArmor."""
    if os.uname().machine != "x86_64":
        say("the lab's guest is x86-64, this machine is not: run ./dev lab on one that is")
        sys.exit(1)
    ensure_packages("run", "build", "images", "lab")
    ensure_environment()
    run([PYTHON, "-m", "tools.lab", *arguments])


TASKS = {
    "demo": task_demo,
    "test": task_test,
    "lint": task_lint,
    "bench": task_bench,
    "lab": task_lab,
    "setup": task_setup,
}


def main() -> None:
    """Parse ``./dev TASK [ARGUMENT...]`` and run it."""
    listing = "\n".join(f"  {name:6} {(task.__doc__ or '').strip()}" for name, task in TASKS.items())
    parser = argparse.ArgumentParser(
        prog="./dev", epilog="tasks:\n" + listing, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=TASKS, metavar="TASK")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to the task's program")
    options = parser.parse_args()
    TASKS[options.task](options.arguments)


if __name__ == "__main__":
    main()
