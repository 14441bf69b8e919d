"""`pause`, `resume`, `ps`, `update` and `events --stats`: what the control group of a container tells and does."""

from __future__ import annotations

import sys

from casemate.errors import Conflict, Invalid, Unsupported
from casemate.oci.quick_json import dumps
from casemate.runtime.cli.args import FLAG, VALUE, parse
from casemate.runtime.cli.main import warn
from casemate.runtime.cli.record import load_record, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from casemate.cgroups.manager import Cgroup
    from casemate.runtime.cli.args import Arguments
    from casemate.runtime.cli.main import Settings
    from casemate.runtime.cli.record import Record

# option of runc -> (object of linux.resources, key)
_LIMITS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-share": ("cpu", "shares"),
    "cpuset-cpus": ("cpu", "cpus"),
    "cpuset-mems": ("cpu", "mems"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "pids-limit": ("pids", "limit"),
}
_TEXT = frozenset({"cpuset-cpus", "cpuset-mems"})


def _open(settings: Settings, arguments: Arguments) -> tuple[Record, Cgroup]:
    if not arguments.operands:
        raise Invalid("read command line", "", "one container id is expected")
    record = load_record(settings.root, arguments.operands[0])
    group = record.cgroup()
    if group is None or not record.is_alive():
        raise Conflict("use control group", record.id, "container not running")
    return record, group


def pause(settings: Settings, words: list[str]) -> int:
    """Freeze every process of a container."""
    _open(settings, parse(words, {}, {}))[1].freeze()
    return 0


def resume(settings: Settings, words: list[str]) -> int:
    """Let a frozen container go on."""
    _open(settings, parse(words, {}, {}))[1].thaw()
    return 0


def ps(settings: Settings, words: list[str]) -> int:
    """Show the processes: a JSON list of pids, or what the ps program says of them."""
    arguments = parse(words, {"format": VALUE}, {"f": "format"})
    pids = _open(settings, arguments)[1].pids()
    if arguments.value("format", "table") == "json":
        sys.stdout.write(dumps(pids) + "\n")
        return 0
    from casemate.kernel.process import find_helper, run_helper

    program = find_helper("ps")
    if program is None:
        raise Unsupported("show processes", "ps", "it is not installed", hint="use --format json")
    code, text = run_helper(program, ["ps", *(arguments.operands[1:] or ["-ef"])], limit_bytes=1 << 20)
    sys.stdout.write(_filter(text, {str(pid) for pid in pids}))
    return code


def _filter(text: str, pids: set[str]) -> str:
    lines = text.splitlines(keepends=True)
    if not lines:
        return ""
    titles = lines[0].split()
    column = titles.index("PID") if "PID" in titles else 1
    kept = [line for line in lines[1:] if len(line.split()) > column and line.split()[column] in pids]
    return lines[0] + "".join(kept)


def update(settings: Settings, words: list[str]) -> int:
    """Change limits, given as options or as a JSON file (--resources, - for standard input)."""
    arguments = parse(words, dict.fromkeys(_LIMITS, VALUE) | {"resources": VALUE}, {"r": "resources"})
    group = _open(settings, arguments)[1]
    resources: dict[str, Any] = {}
    path = arguments.value("resources")
    if path:
        from casemate.runtime.schema.check import check_resources
        from casemate.runtime.schema.document import read

        resources = read(sys.stdin.buffer.read(1 << 20) if path == "-" else read_file(path), what=path)
        check_resources(resources, what=path)
    for option, (name, key) in _LIMITS.items():
        text = arguments.value(option)
        if text:
            resources.setdefault(name, {})[key] = text if option in _TEXT else _number(option, text)
    absent = group.apply(resources, strict=not settings.rootless)
    warn(settings, [f"{name} could not be limited" for name in absent])
    return 0


def _number(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Invalid(f"read --{option}", text, "it is not a number") from None


def events(settings: Settings, words: list[str]) -> int:
    """Print resource use once (--stats), or every --interval seconds, as one JSON object a line."""
    arguments = parse(words, {"stats": FLAG, "interval": VALUE}, {})
    record, group = _open(settings, arguments)
    while True:
        sys.stdout.write(dumps({"type": "stats", "id": record.id, "data": group.stats()}) + "\n")
        sys.stdout.flush()
        if arguments.flag("stats"):
            return 0
        _wait(record, float(arguments.value("interval", "5").removesuffix("s")))
        if not record.is_alive():
            return 0


def _wait(record: Record, seconds: float) -> None:
    """Wait for the time to pass or the container to end."""
    from casemate.kernel.pidfd import open_same, wait_ended

    pidfd = open_same(record.pid, int(record.data.get("start_time") or 0))
    if pidfd is not None:
        with pidfd:
            wait_ended(pidfd.fileno(), seconds)
