"""What runs: argument vector, environment and working directory from image configuration and options."""

from __future__ import annotations

import os

from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_ENV_FILE_BYTES = 1 << 20


def own_ids() -> str | None:
    """``uid:gid`` of an ordinary user, whom ``keep-id`` keeps; None for root, whose containers have ranges."""
    return f"{os.geteuid()}:{os.getegid()}" if os.geteuid() else None


def build_argv(
    image_entrypoint: Sequence[str] | None,
    image_cmd: Sequence[str] | None,
    *,
    entrypoint: Sequence[str] | None,
    argv: Sequence[str] | None,
) -> list[str]:
    """Entry point and arguments by docker's rules: a given entry point also discards the image's CMD.

    Raises: Invalid when nothing is left to run.
    """
    if entrypoint is not None:
        head = [] if list(entrypoint) == [""] else list(entrypoint)
        tail = list(argv or ())
    else:
        head = list(image_entrypoint or ())
        tail = list(argv) if argv else list(image_cmd or ())
    command = [*head, *tail]
    if not command or not command[0]:
        raise Invalid("create container", "", "no command specified", hint="name a program after the image")
    for word in command:
        if "\0" in word:
            raise Invalid("create container", "", "an argument contains a NUL byte")
    return command


def build_env(
    image_env: Sequence[str] | None, *, given: Sequence[str], hostname: str, tty: bool, home: str
) -> list[str]:
    """The environment, docker's order: PATH, HOSTNAME, TERM, the image's, the caller's, HOME.

    The caller's environment is never copied: an image's entry without ``=`` is dropped (it must not name our
    secrets).
    """
    merged = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if tty:
        merged["TERM"] = "xterm"
    for entry in (*(image_env or ()), *given):
        name, equals, value = entry.partition("=")
        if name and equals and "\0" not in entry:
            merged[name] = value
    merged.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in merged.items()]


def expand_env(env: Sequence[str], env_files: Sequence[str], outside: Mapping[str, str]) -> list[str]:
    """``NAME=value`` entries of files and flags.

    A bare ``NAME`` takes its value from ``outside`` or is left out.

    Raises: Invalid (an empty name, white space in a name, a file that cannot be read).
    """
    found = []
    for path in env_files:
        for number, line in enumerate(_read_text(path).splitlines(), 1):
            text = line.lstrip()
            if text and not text.startswith("#"):
                found.append(_expand(text, outside, f"{path}:{number}"))
    found.extend(_expand(entry, outside, repr(entry)) for entry in env)
    return [entry for entry in found if entry]


def _expand(entry: str, outside: Mapping[str, str], where: str) -> str:
    name, equals, _ = entry.partition("=")
    if not name.strip():
        raise Invalid("set environment variable", where, "the name is empty")
    if any(c.isspace() for c in name):
        raise Invalid("set environment variable", where, "the name contains white space")
    if "\0" in entry:
        raise Invalid("set environment variable", where, "a NUL byte")
    if equals:
        return entry
    return f"{name}={outside[name]}" if name in outside else ""


def _read_text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_ENV_FILE_BYTES + 1)
    except OSError as error:
        raise Invalid("read environment file", path, error.strerror or error) from None
    if len(data) > MAX_ENV_FILE_BYTES:
        raise Invalid("read environment file", path, f"larger than {MAX_ENV_FILE_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Invalid("read environment file", path, "not UTF-8 text") from None


def build_cwd(image_workdir: str | None, workdir: str | None) -> str:
    """The absolute working directory.

    Raises: Invalid for a relative one or one below /proc (it would name our descriptors).
    """
    path = workdir or image_workdir or "/"
    if not path.startswith("/"):
        raise Invalid("use working directory", repr(path), "it needs to be an absolute path")
    if "\0" in path:
        raise Invalid("use working directory", repr(path), "a NUL byte")
    clean = os.path.normpath(path)
    clean = "/" + clean.lstrip("/")
    if clean == "/proc" or clean.startswith("/proc/"):
        raise Invalid("use working directory", repr(path), "a program may not start below /proc")
    return clean
