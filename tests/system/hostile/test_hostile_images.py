"""An image that lies about its user, its program, its environment or its own files gets a clear refusal."""

from __future__ import annotations

import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.system, pytest.mark.needs_root]  # the user's half becomes that user itself

BAD_USERS = (
    *("nosuch", "1x", "-1", "4294967295", "4294967296", "99999999999", " 1", "0x1", "1:", ":1", "1:nosuch"),
    *("1:2:3", "a\nb", "..", "/etc/passwd", "\x1b[31m", "\N{ARABIC-INDIC DIGIT ONE}"),
)


@pytest.mark.parametrize("user", BAD_USERS)
def test_a_user_that_is_none_is_refused(box: Any, busybox_layer: bytes, user: str) -> None:
    loaded = box.load("bad-user", [busybox_layer], config={"User": user})
    before = box.print_of_store()
    if loaded.code == 0:
        box.refused("run", "--rm", "bad-user", "id")
    else:
        assert "E-INVALID" in loaded.err
    box.refused("run", "--rm", "-u", user, "busybox", "id")
    assert box.print_of_store() == before


ELF_OF_ANOTHER_MACHINE = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x08\x00" + bytes(100)
PROGRAMS: dict[str, tuple[Any, int, str]] = {
    "missing": ("/nonesuch", 127, "No such file"),
    "dangling": ("nonesuch", 127, "No such file"),
    "interpreter-missing": (b"#!/nonesuch\n", 127, "No such file"),
    "not-executable": (b"#!/bin/sh\n", 126, "Permission denied"),
    "directory": (None, 126, "Is a directory"),
    "fifo": (tarfile.FIFOTYPE, 126, "Permission denied"),
    "device": (tarfile.CHRTYPE, 127, "No such file"),  # device nodes are not unpacked
    "another-machine": (ELF_OF_ANOTHER_MACHINE, 126, "Exec format error"),
    "cut-elf": (b"\x7fELF", 126, "Exec format error"),
    "empty": (b"", 126, "Exec format error"),
    "no-format": (b"echo hi\n", 126, "Exec format error"),
    "loop": ("program", 126, "symbolic links"),
    "self": ("/proc/self/exe", 126, "Permission denied"),
    "first-process": ("/proc/1/exe", 126, "Permission denied"),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_an_entrypoint_that_cannot_run_is_126_or_127_and_says_why(  # noqa: PLR0917 - fixtures
    box: Any,
    busybox_layer: bytes,
    make_layer: Callable[..., bytes],
    make_special: Callable[..., Any],
    kind: str,
) -> None:
    content, code, why = PROGRAMS[kind]
    if content in (tarfile.FIFOTYPE, tarfile.CHRTYPE):
        content = make_special(content, device=(1, 5))
    modes = {} if kind == "not-executable" else {"program": 0o755}
    loaded = box.load("bad", [busybox_layer, make_layer({"program": content}, modes=modes)])
    assert loaded.code == 0, loaded
    before = box.print_of_store()
    assert why in box.refused("run", "--rm", "--entrypoint", "/program", "bad", code=code)
    assert box.print_of_store() == before
    name = box.fine("run", "-d", "--name", f"exec-{kind}", "bad", "sleep", "60").strip()
    assert why in box.refused("exec", name, "/program", code=code)
    box.fine("rm", "-f", name)


def test_enter_is_no_interpreter(
    root_box: Any, busybox_layer: bytes, make_layer: Callable[..., bytes]
) -> None:
    """A program that names /proc/self/exe as its interpreter would run the runtime under the container's id."""
    root_box.load("self", [busybox_layer, make_layer({"bin/program": b"#!/proc/self/exe\n"})])
    assert "Permission denied" in root_box.refused("run", "--rm", "self", "program", code=126)


WORKING_DIRECTORIES = (
    *(f"/proc/self/fd/{number}" for number in (3, 7, 9, 12)),
    *("/proc/thread-self/cwd/..", "/proc/1/cwd/../..", "/proc/self/root", "/to-proc", "/to-fd", "/loop"),
    *("/etc/passwd", "/dev/null", "/sys/made", "/" + "n" * 256, "relative", "/nul\0nul"),
)


@pytest.mark.parametrize("path", WORKING_DIRECTORIES)
def test_a_working_directory_that_is_no_plain_directory_is_refused(
    box: Any, busybox_layer: bytes, make_layer: Callable[..., bytes], path: str
) -> None:
    links = {"to-proc": "/proc/self/cwd", "to-fd": "/proc/self/fd/7", "loop": "loop"}
    layers = [busybox_layer, make_layer(links)]
    loaded = box.load("cwd", layers, config={"WorkingDir": path})
    before = box.print_of_store()
    if loaded.code:
        assert "E-INVALID" in loaded.err, loaded
    elif path != "relative":  # of an image it is below the root, as docker reads it
        box.refused("run", "--rm", "cwd", "pwd")
    if "\0" not in path:
        box.refused("run", "--rm", "-w", path, "cwd", "pwd")
    assert box.print_of_store() == before


def test_a_working_directory_cannot_leave_the_root(
    box: Any, busybox_layer: bytes, make_layer: Callable[..., bytes], canary: Any
) -> None:
    links = {"absolute": canary.directory, "relative": "../" * 12 + canary.directory[1:]}
    assert box.load("cwd", [busybox_layer, make_layer(links)]).code == 0
    for path in links:
        answer = box(
            "run", "--rm", "-w", f"/{path}", "cwd", "sh", "-c", "pwd; ls -a; cat file; echo x > file"
        )
        canary.check(answer)


BAD_CONFIGS: tuple[dict[str, Any], ...] = (
    *({"Env": value} for value in (["FOO"], ["*"], ["=x"], ["A\0=1"], [1], "A=1", {"A": "1"}, ["A=\udc80"])),
    *({"Labels": value} for value in ({"a": 1}, ["a"], {"a": "\0"})),
    *({"Volumes": {path: {}}} for path in ("/../../etc", "relative", "/", "/a\0b", "")),
    *({"Volumes": value} for value in (["/a"], {"/a": 1})),
    *({name: value} for name in ("Cmd", "Entrypoint", "Shell") for value in ({"a": 1}, [1], ["a\0b"])),
    {"User": 5},
    {"WorkingDir": 5},
    {"ExposedPorts": {"x": {}}},
    {"Healthcheck": {"Test": ["CMD", "true"], "Interval": -5}},
)


@pytest.mark.parametrize("config", BAD_CONFIGS, ids=repr)
def test_a_configuration_that_is_not_to_the_letter_is_not_loaded(
    root_box: Any, busybox_layer: bytes, config: dict[str, Any]
) -> None:
    before = root_box.print_of_store()
    loaded = root_box.load("bad-config", [busybox_layer], config=config)
    assert loaded.code == 1, loaded
    assert "E-INVALID" in loaded.err, loaded
    assert root_box.print_of_store() == before


@pytest.mark.parametrize(
    "path", ["/proc", "/proc/self/fd/1", "/sys", "/sys/fs/cgroup", "/dev", "/dev/pts", "/dev/null", "/dev/fd"]
)
def test_a_volume_of_an_image_cannot_cover_the_kernels_own(box: Any, busybox_layer: bytes, path: str) -> None:
    assert box.load("covers", [busybox_layer], config={"Volumes": {path: {}}}).code == 0
    before = box.print_of_store()
    box.refused("run", "--rm", "covers", "true")
    assert box.print_of_store() == before


POISON = [
    *(
        "LD_PRELOAD=/trap.so",
        "LD_LIBRARY_PATH=/trap",
        "LD_AUDIT=/trap.so",
        "GLIBC_TUNABLES=glibc.malloc.check=3",
    ),
    *(
        "PYTHONPATH=/trap",
        "PYTHONHOME=/trap",
        "PYTHONSTARTUP=/trap.py",
        "PYTHONINSPECT=1",
        "GCONV_PATH=/trap",
    ),
    *(
        "PATH=/bin",
        "HOME=/trap",
        "TMPDIR=/trap",
        "CASEMATE_ROOT=/trap",
        "CASEMATE_DEBUG=1",
        "TZ=/trap",
        "BASH_ENV=/trap",
    ),
]


def test_the_environment_of_an_image_reaches_its_program_and_nobody_else(
    box: Any, busybox_layer: bytes
) -> None:
    assert box.load("poison", [busybox_layer], config={"Env": POISON}).code == 0
    assert set(box.fine("run", "--rm", "poison", "env").splitlines()) >= set(POISON)


def test_the_callers_environment_neither_reaches_the_container_nor_a_helper(box: Any) -> None:
    """The caller's own Python obeys PYTHON*, as any program's does; no loader of a helper sees the rest."""
    poison = {"LD_PRELOAD": "/nonesuch/trap.so", "SECRET": "s3cr3t", "LD_AUDIT": "/nonesuch/audit.so"}
    answer = box("run", "--rm", "busybox", "env", env=poison)
    assert answer.code == 0
    assert not set(poison) & {line.split("=")[0] for line in answer.out.splitlines()}
    name = box.fine("run", "-d", "busybox", "sleep", "60", env={"SECRET": "s3cr3t"}).strip()
    pid = box.fine("inspect", "-f", "{{.State.Pid}}", name).strip()
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        keeper = file.read().rpartition(")")[2].split()[1]
    with open(f"/proc/{keeper}/environ", "rb") as file:
        environment = file.read()
    box.fine("rm", "-f", name)
    assert environment == b""


ACCOUNTS: dict[str, Any] = {
    "fifo": tarfile.FIFOTYPE,
    "zeroes": tarfile.CHRTYPE,
    "directory": None,
    "loop": "passwd",
    "kernel": "/proc/self/environ",
    "huge": b"x" * (2 << 20),
    "many": b"a:x:0:\n" * 300_000,
    "sparse-line": b"user:" + b"y" * 1_000_000,
    "numbers": b"user:x:4294967296:0::/:/\nuser:x:-1:0::/:/\nuser:x::::\n",
    "binary": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("kind", ACCOUNTS)
@pytest.mark.parametrize("name", ["passwd", "group"])
def test_account_files_of_an_image_are_read_as_data_or_not_at_all(  # noqa: PLR0917 - fixtures
    root_box: Any,
    make_layer: Callable[..., bytes],
    make_special: Callable[..., Any],
    busybox_layer: bytes,
    name: str,
    kind: str,
) -> None:
    content = ACCOUNTS[kind]
    if content in (tarfile.FIFOTYPE, tarfile.CHRTYPE):
        content = make_special(content, device=(1, 5))
    if kind == "loop":
        content = name
    layers = [busybox_layer, make_layer({f"etc/.wh.{name}": b""}), make_layer({f"etc/{name}": content})]
    loaded = root_box.load("accounts", layers)
    if loaded.code:
        assert "E-INVALID" in loaded.err, loaded
        return
    before = root_box.print_of_store()
    began = time.monotonic()
    asked = "user" if name == "passwd" else "0:extra"
    answer = root_box("run", "--rm", "-u", asked, "accounts", "id", "-u")
    assert time.monotonic() - began < 5
    assert answer.code == 125, answer
    assert root_box.print_of_store() == before


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_account_files_are_never_those_of_the_host(  # noqa: PLR0917 - fixtures
    box: Any, make_layer: Callable[..., bytes], busybox_layer: bytes, canary: Any, name: str
) -> None:
    for target in (canary.file, "../" * 12 + canary.file[1:], f"/proc/self/root{canary.file}"):
        assert box.load("accounts", [busybox_layer, make_layer({f"etc/{name}": target})]).code == 0
        canary.check(
            box("run", "--rm", "-u", "user:extra", "accounts", "id"),
            box("run", "--rm", "accounts", "cat", f"/etc/{name}"),
        )
