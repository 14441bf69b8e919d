"""What `casemate-oci VERB --help` says. Read only for help: the quick path knows names, not words."""

from __future__ import annotations

from casemate.runtime.cli.args import FLAG
from casemate.runtime.cli.main import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ID = "CONTAINER"
OPERANDS = {
    "exec": f"{ID} PROGRAM [ARGUMENT...]",
    "kill": f"{ID} [SIGNAL]",
    "list": "",
    "ps": f"{ID} [PS-OPTION...]",
    "spec": "",
    "features": "",
}

_BUNDLE = "directory of config.json (default: the current one)"
_CONSOLE = "socket that receives the master of the new terminal"
_PID_FILE = "write the process id to this file"
_FORMAT = "table (default) or json"
_PRESERVE = "hand on N descriptors from number 3 on, after those of LISTEN_FDS"
_NO_EFFECT = "accepted, has no effect: "
_NO_PIVOT = "refused: without pivot_root a container could reach the host's files"
_DETACH = "return as soon as the program runs"
_CREATE = {
    "bundle": _BUNDLE,
    "console-socket": _CONSOLE,
    "pidfd-socket": "socket that receives a pidfd of the new process",
    "pid-file": _PID_FILE,
    "preserve-fds": _PRESERVE,
    "no-pivot": _NO_PIVOT,
    "no-new-keyring": "keep the caller's session keyring",
    "no-subreaper": f"{_NO_EFFECT}the parent stays until the program has ended",
    "detach": _DETACH,
    "keep": "keep the state of the container after its end",
}
_CRIU = {
    "image-path": "directory of the images (default: checkpoint)",
    "work-path": "directory of the log and the work files (default: that of the images)",
    "tcp-established": "allow established TCP connections",
    "ext-unix-sk": "allow connections to sockets outside of the container",
    "shell-job": "allow a terminal that the container has from outside",
    "file-locks": "keep file locks",
    "manage-cgroups-mode": "soft (default), full, strict or ignore",
    "empty-ns": "make this namespace without what is in it (network)",
    "auto-dedup": "store each page once",
    "lazy-pages": "copy memory when it is first used",
}

HELP: dict[str, dict[str, str]] = {
    "checkpoint": {
        **_CRIU,
        "parent-path": "images of an earlier --pre-dump, relative to --image-path",
        "leave-running": "let the container run on",
        "status-fd": "descriptor that gets a byte when the lazy pages can be fetched",
        "page-server": "ADDRESS:PORT that memory is sent to",
        "pre-dump": "write memory only and let the container run on",
    },
    "create": _CREATE,
    "delete": {"force": "kill it first; no error when there is nothing"},
    "events": {
        "stats": "show resource use once",
        "interval": "time between two lines, as 5s or 500ms (default: 5s)",
    },
    "exec": {
        "console-socket": _CONSOLE,
        "pidfd-socket": _CREATE["pidfd-socket"],
        "cwd": "working directory",
        "env": "NAME=VALUE, also several times",
        "tty": "give the program a terminal",
        "user": "UID[:GID]",
        "additional-gids": "one more group, also several times",
        "process": "file with the runtime-spec's process object",
        "detach": _DETACH,
        "pid-file": _PID_FILE,
        "process-label": "SELinux label",
        "apparmor": "AppArmor profile",
        "no-new-privs": "set no_new_privs",
        "cap": "one more capability, also several times",
        "preserve-fds": _PRESERVE,
        "cgroup": "[CONTROLLER[,...]:]PATH of a group below the container's that exists",
        "ignore-paused": "wait in a paused container until it goes on",
        "no-subreaper": _CREATE["no-subreaper"],
    },
    "features": {},
    "kill": {"all": "every process of the container"},
    "list": {"format": _FORMAT, "quiet": "only the ids"},
    "pause": {},
    "ps": {"format": _FORMAT},
    "restore": {
        **_CRIU,
        "bundle": _BUNDLE,
        "console-socket": _CONSOLE,
        "detach": _DETACH,
        "pid-file": _PID_FILE,
        "no-subreaper": _CREATE["no-subreaper"],
        "no-pivot": _NO_PIVOT,
        "lsm-profile": "TYPE:NAME of the profile to restore into",
        "lsm-mount-context": "SELinux context of the restored mounts",
    },
    "resume": {},
    "run": _CREATE,
    "spec": {"bundle": _BUNDLE, "rootless": "for an ordinary user"},
    "start": {},
    "state": {},
    "update": {
        "resources": "file with the runtime-spec's resources object, - for standard input; other options then do not count",
        "blkio-weight": "weight for the disks, 10 to 1000",
        "cpu-period": "period of the processor limit in microseconds",
        "cpu-quota": "processor time in each period in microseconds, -1: no limit",
        "cpu-burst": "time that may be saved up for later periods in microseconds",
        "cpu-share": "weight against other containers",
        "cpu-rt-period": "period of the realtime limit in microseconds",
        "cpu-rt-runtime": "realtime processor time in each period in microseconds",
        "cpu-idle": "1: runs only when nobody else wants to (version 2)",
        "cpuset-cpus": "processors, as 0-2,7",
        "cpuset-mems": "memory nodes, as 0-2,7",
        "kernel-memory": f"{_NO_EFFECT}kernels have no such limit any more",
        "kernel-memory-tcp": f"{_NO_EFFECT}kernels have no such limit any more",
        "memory": "memory in bytes, or as 512m; -1: no limit",
        "memory-reservation": "memory that is left to it under pressure",
        "memory-swap": "memory and swap together, -1: no limit",
        "pids-limit": "number of processes and threads, -1: no limit",
        "l3-cache-schema": "refused: resctrl is not managed",
        "mem-bw-schema": "refused: resctrl is not managed",
    },
}

GLOBAL = {
    "root": "directory for the state of containers",
    "log": "file for errors and warnings",
    "log-format": "text (default) or json",
    "debug": "write debug lines too",
    "cgroup-manager": "cgroupfs (default) or systemd, as crun writes it",
    "systemd-cgroup": "cgroupsPath is slice:prefix:name, and systemd makes the group",
    "rootless": "true, false or auto: accepted; who runs this decides what must be limited",
    "criu": "program for checkpoint and restore (default: criu)",
    "version": "show the version",
    "help": "show this",
}


def options_of(verb: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return a verb's options, name to kind, and its letters, letter to name."""
    module = __import__(f"casemate.runtime.cli.{VERBS[verb][0]}", fromlist=[verb])
    if hasattr(module, "OPTIONS_OF"):
        return module.OPTIONS_OF[verb], module.SHORT
    return getattr(module, "OPTIONS", {}), getattr(module, "SHORT", {})


def verb_help(verb: str) -> str:
    """Return the help of a verb."""
    options, letters = options_of(verb)
    operands = OPERANDS.get(verb, ID)
    usage = " ".join(filter(None, ["casemate-oci", verb, "[OPTION...]" if options else "", operands]))
    lines = [f"Usage: {usage}", "", f"{VERBS[verb][1][0].upper()}{VERBS[verb][1][1:]}.", ""]
    return "\n".join(lines + _option_lines(options, letters, HELP[verb])).rstrip() + "\n"


def main_help(options: Mapping[str, str], letters: Mapping[str, str]) -> str:
    """Return the help of the program itself."""
    lines = ["Usage: casemate-oci [OPTION...] COMMAND ...", "", "Commands (COMMAND --help says more):"]
    lines += [f"  {verb:<12}{about}" for verb, (_, about) in sorted(VERBS.items())]
    return "\n".join([*lines, "", *_option_lines(options, letters, GLOBAL)]) + "\n"


def _option_lines(
    options: Mapping[str, str], letters: Mapping[str, str], words: Mapping[str, str]
) -> list[str]:
    if not options:
        return []
    letter_of = {name: letter for letter, name in letters.items()}
    shown = {
        name: f"{f'-{letter_of[name]}, ' if name in letter_of else '    '}--{name}{'' if kind == FLAG else ' VALUE'}"
        for name, kind in sorted(options.items())
    }
    width = max(map(len, shown.values()))
    return ["Options:", *(f"  {text:<{width}}  {words[name]}" for name, text in shown.items())]
