"""criu: whether it works here, and one run of it. Its own log is the authority on what went wrong."""

from __future__ import annotations

import os

from casemate.errors import Denied, Internal, Invalid, Unsupported
from casemate.kernel.process import find_helper, run_helper, spawn
from casemate.runtime.cli.args import FLAG, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.runtime.cli.args import Arguments
    from casemate.runtime.cli.main import Settings

DESCRIPTORS = "descriptors.json"
SHARED_OPTIONS = {
    "image-path": VALUE,
    "work-path": VALUE,
    "tcp-established": FLAG,
    "ext-unix-sk": FLAG,
    "shell-job": FLAG,
    "file-locks": FLAG,
    "manage-cgroups-mode": VALUE,
    "empty-ns": VALUE,
    "auto-dedup": FLAG,
    "lazy-pages": FLAG,
}
_PLAIN = ("tcp-established", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "lazy-pages")
_MODES = ("soft", "full", "strict", "ignore")


def require_criu(settings: Settings, doing: str, container_id: str) -> str:
    """Return the path of a criu that works on this kernel. Raises: Denied, Unsupported with the remedy."""
    if os.geteuid() != 0:
        raise Denied(doing, container_id, "criu needs root", hint="run casemate-oci as root")
    program = settings.criu if settings.criu.startswith("/") else find_helper(settings.criu)
    if program is None or not os.access(program, os.X_OK):
        raise Unsupported(
            doing,
            container_id,
            f"the program {settings.criu} is not installed",
            hint="install the package criu, or name the program with --criu",
        )
    code, said = run_helper(program, [program, "check"], limit_bytes=1 << 16)
    if code:
        first = next((line for line in said.splitlines() if "Error" in line), f"exit status {code}")
        raise Unsupported(
            doing,
            container_id,
            f"criu does not work on this kernel: {first.strip()}",
            hint="`criu check` must pass: another version of criu (name it with --criu), or a kernel that this one knows",
        )
    return program


def shared_arguments(arguments: Arguments, *, images: str, log: str) -> list[str]:
    """Return criu's words for the options that checkpoint and restore share. Raises: Invalid."""
    mode = arguments.value("manage-cgroups-mode", "soft")
    if mode not in _MODES:
        raise Invalid(
            "read command line", f"--manage-cgroups-mode {mode}", f"it is one of {', '.join(_MODES)}"
        )
    empty = arguments.value("empty-ns")
    if empty not in ("", "network"):
        raise Invalid("read command line", f"--empty-ns {empty}", "only network is supported")
    words = ["--images-dir", images, "--work-dir", arguments.value("work-path") or images]
    words += ["--log-file", log, "-v4", "--manage-cgroups", mode]
    words += [f"--{name}" for name in _PLAIN if arguments.flag(name)]
    return [*words, "--empty-ns", "net"] if empty else words


def image_directory(arguments: Arguments) -> str:
    """Return the directory of the images, absolute."""
    return os.path.realpath(arguments.value("image-path") or "checkpoint")


def external_mounts(spec: dict[str, Any]) -> list[str]:
    """Return the places whose mounts come from outside of the container: criu is told to leave them to us."""
    places = []
    for mount in spec.get("mounts") or ():
        options = mount.get("options") or ()
        if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
            places.append(str(mount["destination"]))
    return places


def run_criu(program: str, argv: list[str], doing: str, container_id: str, *, log: str) -> None:
    """Run criu to its end with our standard streams. Raises: Internal with the first error of its log."""
    pid = spawn(program, [program, *argv])
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise Internal(
            doing, container_id, f"criu failed ({code}): {_first_error(log)}", hint=f"its log is {log}"
        )


def _first_error(log: str) -> str:
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            return next((line.strip() for line in file if "Error" in line), "it says no reason")
    except OSError:
        return "it wrote no log"
