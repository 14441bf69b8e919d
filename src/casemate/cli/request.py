"""A parsed line of run, create or exec as the engine's options."""

from __future__ import annotations

import os

from casemate.cli.usage import UsageError, ValueProblem
from casemate.engine.options import ContainerOptions, ExecOptions, MountOption, TmpfsOption
from casemate.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.cli.args import Parsed

# option of the table -> field of ContainerOptions
SCALARS = {
    "cidfile": "cidfile",
    "cpu-shares": "cpu_shares",
    "cpus": "cpus",
    "cpuset-cpus": "cpuset_cpus",
    "domainname": "domainname",
    "explain": "explain",
    "hostname": "hostname",
    "init": "init",
    "interactive": "interactive",
    "memory": "memory_bytes",
    "memory-reservation": "memory_reservation_bytes",
    "memory-swap": "memory_swap_bytes",
    "name": "name",
    "net": "network",
    "network": "network",
    "oom-score-adj": "oom_score_adj",
    "pids-limit": "pids_limit",
    "platform": "platform",
    "privileged": "privileged",
    "pull": "pull",
    "read-only": "read_only",
    "restart": "restart",
    "rm": "auto_remove",
    "shm-size": "shm_size_bytes",
    "stop-signal": "stop_signal",
    "stop-timeout": "stop_timeout_s",
    "tty": "tty",
    "user": "user",
    "userns": "userns",
    "workdir": "workdir",
}
LISTS = {
    "add-host": "extra_hosts",
    "cap-add": "cap_add",
    "cap-drop": "cap_drop",
    "dns": "dns",
    "dns-option": "dns_options",
    "dns-search": "dns_search",
    "env": "env",
    "env-file": "env_files",
    "group-add": "groups",
    "security-opt": "security_opt",
}
LOG_OPTIONS = ("max-size", "max-file")


def container_options(parsed: Parsed) -> ContainerOptions:
    """Return what the line asks of the container. Raises: UsageError, Invalid."""
    given: dict[str, Any] = {}
    for option, field in SCALARS.items():
        if option in parsed.values:
            given[field] = parsed.values[option]
    for option, field in LISTS.items():
        if option in parsed.values:
            given[field] = parsed.values[option]
    given["argv"] = parsed.operands[1:] or None
    given["detach"] = parsed.flag("detach")
    if "entrypoint" in parsed.values:
        entrypoint = parsed.text("entrypoint")
        given["entrypoint"] = [entrypoint] if entrypoint else []
    if parsed.flag("rootfs"):
        given["rootfs"] = os.path.abspath(parsed.operands[0])
    given["devices"] = [":".join(device) for device in parsed.all("device")]
    given["ulimits"] = {name: [soft, hard] for name, soft, hard in parsed.all("ulimit")}
    given["sysctls"] = dict(parsed.all("sysctl"))
    if "relax" in parsed.values:
        given["relax"] = [word for words in parsed.all("relax") for word in words]
    given["annotations"] = dict(parsed.all("annotation"))
    given["labels"] = _labels(parsed)
    given.update(_mounts(parsed), **_log(parsed))
    _check(parsed)
    return ContainerOptions(**given)


def exec_options(parsed: Parsed) -> ExecOptions:
    """Return what the line asks of another program in a container."""
    names = {"env": "env", "env-file": "env_files"}
    given: dict[str, Any] = {
        field: parsed.values[option] for option, field in names.items() if option in parsed.values
    }
    for option in ("detach", "interactive", "privileged", "tty"):
        given[option] = parsed.flag(option)
    for option in ("user", "workdir"):
        given[option] = parsed.get(option)
    return ExecOptions(**given)


def _mounts(parsed: Parsed) -> dict[str, Any]:
    """Return the fields mounts and tmpfs; ``-v`` makes a missing source, ``--mount`` does not (docker)."""
    mounts: list[MountOption] = []
    for option in ("volume", "mount"):
        for kind, source, target, read_only, words in parsed.all(option):
            mounts.append(
                MountOption(
                    kind=kind,
                    source=source,
                    target=target,
                    read_only=read_only,
                    options=words,
                    create_source=option == "volume" and kind == "bind",
                )
            )
    tmpfs = [
        TmpfsOption(target=target, options=[*words, "ro"] if read_only else words)
        for _, _, target, read_only, words in parsed.all("tmpfs")
    ]
    targets = [
        target.rstrip("/") for target in (*(one.target for one in mounts), *(one.target for one in tmpfs))
    ]
    for target in targets:
        if targets.count(target) > 1:
            raise UsageError(
                f"mount at {target}",
                "two mounts have this target",
                hint="give each its own path in the container",
            )
    return {"mounts": mounts, "tmpfs": tmpfs}


def _labels(parsed: Parsed) -> dict[str, str]:
    """Return labels of the files first, then those of the line."""
    labels: dict[str, str] = {}
    for path in parsed.all("label-file"):
        for line in _lines(path):
            key, _, value = line.partition("=")
            labels[key.strip()] = value
    labels.update(parsed.all("label"))
    return labels


def _lines(path: str) -> list[str]:
    """Return the lines of a file that are neither empty nor comments. Raises: Invalid."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise Invalid("read the file of labels", path, (error.strerror or str(error)).lower()) from None
    except UnicodeDecodeError:
        raise Invalid("read the file of labels", path, "it is not UTF-8 text") from None
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _log(parsed: Parsed) -> dict[str, Any]:
    """Return the fields of the log."""
    from casemate.cli.values import natural, size_bytes  # only few lines set the log

    given: dict[str, Any] = {}
    for key, value in parsed.all("log-opt"):
        if key not in LOG_OPTIONS:
            raise UsageError(
                f"use {key} for --log-opt",
                "casemate's log has no such option",
                hint="there are max-size and max-file",
            )
        try:
            if key == "max-size":
                given["log_max_bytes"] = size_bytes(value)
            else:
                given["log_files"] = natural(value)
        except ValueProblem as problem:
            raise UsageError(f'use "{value}" for --log-opt {key}', problem.why, hint=problem.fix) from None
    if parsed.text("log-driver") == "none":
        given["log_files"] = 0
    return given


def _check(parsed: Parsed) -> None:
    """Refuse options that contradict each other, as docker does."""
    if parsed.flag("detach") and parsed.all("attach"):
        raise UsageError(
            "use --detach with --attach",
            "a container in the background shows nothing",
            hint="leave one of them away",
        )
    memory, both = parsed.get("memory"), parsed.get("memory-swap")
    if both is not None and both >= 0 and (memory is None or both < memory):
        why = "memory plus swap is less than memory" if memory is not None else "--memory is missing"
        raise UsageError(
            "use --memory-swap",
            why,
            hint="--memory-swap counts memory and swap together: -m 512m --memory-swap 1g",
        )
    adjust = parsed.get("oom-score-adj")
    if adjust is not None and not -1000 <= adjust <= 1000:  # noqa: PLR2004 - proc(5), oom_score_adj
        raise UsageError(f'use "{adjust}" for --oom-score-adj', "it is outside -1000 to 1000")
